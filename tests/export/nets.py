"""A small real net with weights that tell drawn pictures apart, and graphs of a few nodes."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sightline.export.calibration import choose_calibration
from sightline.export.features import extract_features, fit_projection
from sightline.export.onnx_graph import export_onnx
from sightline.export.source import ExportSource
from sightline.export.warmstart import fit_head
from sightline.models import RecognitionModel, build_model
from sightline.runtime.dataset import LabelledImage, read_dataset
from sightline.runtime.preprocess import InputSpec

SPEC = InputSpec(32, 32, 1.0)
LABELS = ("circle", "cross", "square", "stripe")


def draw(label: str, seed: int) -> np.ndarray:
    """A noisy BGR frame with one shape somewhere, in some colour."""
    random = np.random.default_rng([seed, *label.encode()])
    frame = np.full((56, 64, 3), random.integers(60, 120), np.uint8)
    colour = tuple(int(value) for value in random.integers(150, 255, 3))
    x, y = (int(value) for value in random.integers(20, 36, 2))
    if label == "circle":
        cv2.circle(frame, (x, y), 13, colour, -1)
    elif label == "cross":
        cv2.line(frame, (x - 13, y - 13), (x + 13, y + 13), colour, 4)
        cv2.line(frame, (x - 13, y + 13), (x + 13, y - 13), colour, 4)
    elif label == "square":
        cv2.rectangle(frame, (x - 12, y - 12), (x + 12, y + 12), colour, -1)
    else:
        frame[y % 8 :: 8] = colour
    return np.clip(frame + random.normal(0, 8, frame.shape), 0, 255).astype(np.uint8)


def draw_folder(folder: Path, per_class: int, first_seed: int = 0) -> list[LabelledImage]:
    """Class folders of PNG pictures."""
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for number in range(per_class):
            cv2.imwrite(str(folder / label / f"{number:02}.png"), draw(label, first_seed + number))
    return read_dataset(folder)


def small_net(name: str = "resnet18", classes: int = 4) -> RecognitionModel:
    """A net with random trunk; seeded, the caller's own."""
    torch.manual_seed(0)
    return build_model(name, classes, 32).eval()


def small_graph(name: str = "resnet18") -> ModelProto:
    """Its float ONNX graph at 32 pixels, the caller's own."""
    copy = ModelProto()
    copy.CopyFrom(_small_graph(name))
    return copy


@cache
def _small_graph(name: str) -> ModelProto:
    return export_onnx(small_net(name), SPEC)


@cache
def lively_graph(name: str) -> ModelProto:
    """The float graph of a net whose batch norms have seen data, so that signals neither fade nor explode."""
    torch.manual_seed(0)
    model = build_model(name, 4, 32).train()
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.5, 0.5)
    with torch.no_grad():
        for seed in range(3):
            model(torch.from_numpy(images(16, 100 + seed)))
    return export_onnx(model.eval(), SPEC)


def trained_source(folder: Path, per_class: int = 12) -> ExportSource:
    """A net whose head is fitted to drawn pictures, with its photos."""
    train = draw_folder(folder / "train", per_class)
    val = draw_folder(folder / "val", 8, first_seed=1000)
    torch.manual_seed(0)
    model = build_model("resnet18", len(LABELS), 32).eval()
    features = extract_features(model, train, SPEC)
    fit_projection(model, features)
    fit_head(model, features, np.array([LABELS.index(image.label) for image in train]), 0.05)
    return ExportSource(
        model, LABELS, SPEC, choose_calibration(train, val), tuple(val), tuple(train), {"data": str(folder)}
    )


def images(count: int, seed: int = 0) -> np.ndarray:
    """Random prepared photos, uint8 (count, 32, 32, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def conv_graph(weight: np.ndarray, bias: np.ndarray, pads: int = 0, relu: bool = True) -> ModelProto:
    """uint8 image -> normalize -> Conv -> Relu -> mean, as `logits`."""
    mean = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
    std = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], name="planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["float"], name="float", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"], name="scaled"),
        helper.make_node("Sub", ["scaled", "shift"], ["normal"], name="normal"),
        helper.make_node("Conv", ["normal", "weight", "bias"], ["conv"], name="conv", pads=[pads] * 4),
        helper.make_node("Relu", ["conv"], ["relu"], name="relu"),
        helper.make_node("GlobalAveragePool", ["relu" if relu else "conv"], ["pooled"], name="pooled"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "matrix", "offset"], ["logits"], name="gemm", transB=1),
    ]
    outputs = weight.shape[0]
    constants = {
        "scale": 1 / (255 * std),
        "shift": mean / std,
        "weight": weight,
        "bias": bias,
        "matrix": np.eye(outputs, dtype=np.float32),
        "offset": np.zeros(outputs, np.float32),
    }
    graph = helper.make_graph(
        [node for node in nodes if relu or node.name != "relu"],
        "conv",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 32, 32, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", outputs])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model
