"""Small classifiers as other tools write them: layouts, opsets, normalizations and endings of their own."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sightline.runtime.dataset import LabelledImage
from sightline.runtime.preprocess import prepare, read_image
from tests.export.nets import LABELS, SPEC

SIZE = SPEC.height
CHANNELS = 24


@dataclass(frozen=True, slots=True)
class Style:
    """How a tool writes its nets."""

    nhwc: bool = False
    opset: int = 13
    batch: int | str = 1
    softmax: bool = True
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    scale: float = 1 / 255
    bgr: bool = False
    head: bool = True
    size: int | str = SIZE

    def feed(self, image_rgb: np.ndarray) -> np.ndarray:
        """What the net expects of one prepared photo."""
        ordered = image_rgb[..., ::-1] if self.bgr else image_rgb
        fed = ((ordered.astype(np.float32) * np.float32(self.scale) - self.mean) / self.std).astype(np.float32)
        return np.ascontiguousarray((fed if self.nhwc else fed.transpose(2, 0, 1))[None])


TIMM = Style()
TENSORFLOW = Style(nhwc=True, opset=12, batch="unk__12", mean=(0.5,) * 3, std=(0.5,) * 3)
CAFFE = Style(bgr=True, opset=9, softmax=True, mean=(104.0, 117.0, 123.0), std=(1.0,) * 3, scale=1.0)
EMBEDDER = Style(opset=18, batch="N", softmax=False, head=False)


def net(style: Style = TIMM, classes: int = 4, matrix: np.ndarray | None = None, seed: int = 0) -> ModelProto:
    """Two convolutions with batch norm and hard-swish, pooling, a product and a softmax."""
    random = np.random.default_rng(seed)
    weights = {
        "conv1": random.normal(0, 0.35, (CHANNELS, 3, 3, 3)),
        "gamma": random.uniform(0.5, 1.5, CHANNELS),
        "beta": random.normal(0, 0.3, CHANNELS),
        "mean": random.normal(0, 0.2, CHANNELS),
        "var": random.uniform(0.5, 2, CHANNELS),
        "conv2": random.normal(0, 0.15, (CHANNELS, CHANNELS, 3, 3)),
        "matrix": random.normal(0, 1, (CHANNELS, classes)) if matrix is None else matrix,
        "bias": np.zeros(classes),
        "three": np.asarray(3.0),
        "sixth": np.asarray(1 / 6),
        "zero": np.asarray(0.0),
        "six": np.asarray(6.0),
    }
    image = [style.batch, style.size, style.size, 3] if style.nhwc else [style.batch, 3, style.size, style.size]
    output = ["output"] if style.softmax else ["scores"]
    width = classes if style.head else CHANNELS
    graph = helper.make_graph(
        _nodes(style),
        "net",
        [helper.make_tensor_value_info("image" if style.nhwc else "input", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, [style.batch, width])],
        [
            *(numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()),
            numpy_helper.from_array(np.array([1 if style.batch == 1 else -1, CHANNELS], np.int64), "rows"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", style.opset)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def _nodes(style: Style) -> list[NodeProto]:
    node = helper.make_node
    first = [node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2])] if style.nhwc else []
    # Older opsets keep the bounds of Clip as attributes.
    clip = (
        node("Clip", ["raised"], ["clipped"], min=0.0, max=6.0)
        if style.opset < 11
        else node("Clip", ["raised", "zero", "six"], ["clipped"])
    )
    trunk = [
        node("Conv", ["planes" if style.nhwc else "input", "conv1"], ["first"], pads=[1] * 4, strides=[2, 2]),
        node("BatchNormalization", ["first", "gamma", "beta", "mean", "var"], ["normed"]),
        node("Add", ["normed", "three"], ["raised"]),
        clip,
        node("Mul", ["clipped", "sixth"], ["gate"]),
        node("Mul", ["normed", "gate"], ["swished"]),
        node("Conv", ["swished", "conv2"], ["second"], pads=[1] * 4),
        node("Relu", ["second"], ["features"]),
        node("GlobalAveragePool", ["features"], ["pooled"]),
        node("Reshape", ["pooled", "rows"], ["flat" if style.head else "scores"]),
    ]
    head = [
        node("MatMul", ["flat", "matrix"], ["product"]),
        node("Add", ["product", "bias"], ["scores"]),
        node("Softmax", ["scores"], ["output"], axis=1),
    ]
    return [*first, *trunk, *head[: 3 if style.softmax else 2 if style.head else 0]]


def fitted(style: Style, photos: list[LabelledImage]) -> ModelProto:
    """A net whose last product is fitted to photos by ridge regression."""
    import onnxruntime as ort

    probe = net(Style(**{**{name: getattr(style, name) for name in Style.__slots__}, "batch": "N", "size": SIZE}))
    del probe.graph.output[:]
    probe.graph.output.append(helper.make_empty_tensor_value_info("flat"))
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: style.feed(prepare(read_image(one.path), SPEC))})[0] for one in photos]
    features = np.concatenate(rows).astype(np.float64)
    truth = 8.0 * (np.eye(len(LABELS))[[LABELS.index(one.label) for one in photos]] - 0.25)
    matrix = np.linalg.solve(features.T @ features + 1e-3 * np.eye(CHANNELS), features.T @ truth)
    return net(style, matrix=matrix)


def save(model: ModelProto, place: Path) -> Path:
    """Write it as one file."""
    onnx.save(model, place)
    return place
