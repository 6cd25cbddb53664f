"""A foreign classifier or embedding net brought to the contract: uint8 RGB image in, logits and embedding out.

    file -> heads -> free batch, normalization in front -> tidy -> features of calibration photos
         -> embedding head (a classifier's) or class means (an embedding net's) -> graph

The file as it came stays open beside it: its own answers are what the adopted graph is proven against.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from sightline.runtime.errors import InputError, first_line
from sightline.runtime.preprocess import Image
from sightline.runtime.providers import ORT_ERRORS

from .onnx_file import OnnxFile
from .onnx_graph import INPUT_NAME, OUTPUT_NAMES, remove_dead, replace_nodes
from .onnx_heads import Heads, find_heads
from .onnx_probe import Probe
from .onnx_session import open_graph
from .onnx_settings import Preprocessing
from .onnx_tidy import copy_for, tidy_foreign
from .onnx_view import GraphView, attribute, copy_model, set_constants

FEATURES = "features"
LOGITS, EMBEDDING = OUTPUT_NAMES
# Cosines lie close together; a softmax tells them apart at this sharpness, and the temperature refines it.
SHARPNESS = 16.0

Floats = NDArray[np.float32]


class OriginalFile:
    """A foreign file as it came, fed the way its notes say."""

    def __init__(self, file: OnnxFile, preprocessing: Preprocessing, tensors: Sequence[str]) -> None:
        """Open it with some of its tensors as outputs.

        Raises:
            InputError: ONNX Runtime cannot open it.
        """
        self._file, self._preprocessing = file, preprocessing
        self._names = tuple(tensors)
        self._batch = file.shape[0]
        model = copy_for(file.original, list(self._names)).SerializeToString()
        self._session = open_graph(model, name=f"model '{file.path}'", failure=InputError)

    def run(self, images: Image) -> dict[str, Floats]:
        """Run photos, uint8 (photos, height, width, 3) RGB, one by one, and give each tensor by name."""
        size = self._batch or 1
        rows: list[Sequence[Floats]] = []
        for image in images:
            try:
                fed = np.repeat(self._feed(image[None]), size, axis=0)
                rows.append([value[:1] for value in self._session.run(list(self._names), {self._file.image: fed})])
            except ORT_ERRORS as error:
                raise InputError(f"model '{self._file.path}' cannot run: {first_line(error)}") from error
        return {name: np.concatenate([row[place] for row in rows]) for place, name in enumerate(self._names)}

    def _feed(self, images: Image) -> NDArray[Any]:
        how = self._preprocessing
        ordered = images[..., ::-1] if how.bgr else images
        if how.pixels:
            fed: NDArray[Any] = ordered
        else:
            mean, std = np.asarray(how.mean, np.float32), np.asarray(how.std, np.float32)
            fed = (ordered.astype(np.float32) * np.float32(how.scale) - mean) / std
        return np.ascontiguousarray(fed if how.nhwc else fed.transpose(0, 3, 1, 2))


@dataclass(frozen=True, slots=True)
class Trunk:
    """A foreign graph that takes camera pixels.

    Attributes:
        model: `image` uint8 [batch, height, width, 3] RGB to `features` and, of a classifier, `logits`.
        heads: Where the file keeps them.
        original: The file as it came.
        classifier: Whether it has logits.
    """

    model: ModelProto
    heads: Heads
    original: OriginalFile
    classifier: bool

    def features(self, images: Image) -> Floats:
        """Give float32 (photos, features)."""
        return np.asarray(Probe(self.model, [FEATURES]).run(images)[FEATURES], np.float32)


def adopt_trunk(file: OnnxFile, how: Preprocessing, labels: int | None) -> Trunk:
    """Bring a file to the contract's input.

    Args:
        file: The file.
        how: What it expects of an image.
        labels: How many classes a classifier tells apart; None for a net whose output is an embedding.

    Raises:
        InputError: Its outputs do not fit, its batch cannot be freed, or ONNX Runtime cannot run it.
    """
    heads, shapes = _heads(file, how, labels)
    original = OriginalFile(file, how, list(dict.fromkeys([heads.logits, heads.features])))
    model = copy_for(file.model, [])
    _rename_inner(model)
    nodes = [*_normalize(file, how), *model.graph.node]
    nodes += _rows(_inner(heads.features), shapes[heads.features], FEATURES)
    if labels is not None:
        nodes += _rows(_inner(heads.logits), shapes[heads.logits], LOGITS)
    replace_nodes(model, nodes)
    set_constants(model, _figures(how))
    _free_batch(model, file, how)
    outputs = [FEATURES, LOGITS] if labels is not None else [FEATURES]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    tidied = tidy_foreign(model, file.path)
    if how.bgr:
        _absorb_channel_swap(tidied)
    return Trunk(tidied, heads, original, labels is not None)


def add_embedding_head(trunk: Trunk, mean: Floats, matrix: Floats) -> ModelProto:
    """Complete a classifier: `embedding` is its features, projected and brought to unit length."""
    model = copy_for(trunk.model, [])
    set_constants(model, {"projection.mean": mean, "projection.matrix": matrix})
    model.graph.node.extend(
        (
            helper.make_node("Sub", [FEATURES, "projection.mean"], ["centred"], name="projection_centre"),
            helper.make_node("MatMul", ["centred", "projection.matrix"], ["projected"], name="projection_product"),
            helper.make_node("LpNormalization", ["projected"], [EMBEDDING], name="projection_norm", axis=1, p=2),
        )
    )
    classes = _width(trunk, LOGITS)
    return _finish(model, classes, matrix.shape[1])


def add_class_means(trunk: Trunk, means: Floats) -> ModelProto:
    """Complete an embedding net: `logits` are cosines to the class means (classes, dim), sharpened."""
    model = copy_for(trunk.model, [])
    _keep_last_product_float(model)
    set_constants(model, {"classes.means": np.ascontiguousarray(SHARPNESS * means.T)})
    model.graph.node.extend(
        (
            helper.make_node("LpNormalization", [FEATURES], [EMBEDDING], name="embedding_norm", axis=1, p=2),
            helper.make_node("MatMul", [EMBEDDING, "classes.means"], [LOGITS], name="classes_product"),
        )
    )
    return _finish(model, *means.shape)


def _heads(file: OnnxFile, how: Preprocessing, labels: int | None) -> tuple[Heads, dict[str, tuple[int, ...]]]:
    outputs = [value.name for value in file.original.graph.output]
    shapes = _shapes(file, how, outputs)
    widths = {name: int(np.prod(shape[1:])) for name, shape in shapes.items()}
    if labels is not None:
        heads = find_heads(file.original, widths, labels, file.path)
    elif len(outputs) == 1:
        heads = Heads(outputs[0], outputs[0], "", outputs[0])
    else:
        raise InputError(f"model '{file.path}' has {len(outputs)} outputs, expected one embedding: export it with one")
    return heads, _shapes(file, how, [heads.logits, heads.features])


def _shapes(file: OnnxFile, how: Preprocessing, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    blank = np.zeros((1, how.spec.height, how.spec.width, 3), np.uint8)
    values = OriginalFile(file, how, list(dict.fromkeys(names))).run(blank)
    for name, value in values.items():
        if value.dtype != np.float32 or value.ndim not in (2, 4):
            raise InputError(
                f"output '{name}' of model '{file.path}' is {value.dtype} with {value.ndim} dimensions, expected "
                f"float32 [batch, values]"
            )
    return {name: value.shape for name, value in values.items()}


_INNER = {name: f"{name}.inner" for name in (INPUT_NAME, LOGITS, EMBEDDING, FEATURES, "planes", "pixels", "normal")}


def _inner(name: str) -> str:
    return _INNER.get(name, name)


def _rename_inner(model: ModelProto) -> None:
    # What the contract calls `image` or `logits` may be another tensor's name in the file.
    for node in model.graph.node:
        node.input[:] = [_inner(name) for name in node.input]
        node.output[:] = [_inner(name) for name in node.output]
    for value in (*model.graph.initializer, *model.graph.input):
        value.name = _inner(value.name)


def _figures(how: Preprocessing) -> dict[str, NDArray[Any]]:
    std = np.asarray(how.std, np.float64)
    return {
        "swap.order": np.asarray([2, 1, 0], np.int64),
        "normalize.slope": (how.scale / std).reshape(1, 3, 1, 1).astype(np.float32),
        "normalize.shift": (np.asarray(how.mean) / std).reshape(1, 3, 1, 1).astype(np.float32),
    }


def _normalize(file: OnnxFile, how: Preprocessing) -> list[Any]:
    nodes, source, image = [], INPUT_NAME, _inner(file.image)
    if how.bgr:
        nodes.append(helper.make_node("Gather", [source, "swap.order"], ["swapped"], name="swap", axis=3))
        source = "swapped"
    if how.pixels:
        if how.nhwc:
            return [*nodes, helper.make_node("Identity", [source], [image], name="planes")]
        return [*nodes, helper.make_node("Transpose", [source], [image], name="planes", perm=[0, 3, 1, 2])]
    normal = "normal" if how.nhwc else image
    nodes += [
        helper.make_node("Transpose", [source], ["planes"], name="planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["pixels"], name="pixels", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "normalize.slope"], ["pixels_scaled"], name="normalize_scale"),
        helper.make_node("Sub", ["pixels_scaled", "normalize.shift"], [normal], name="normalize_shift"),
    ]
    if how.nhwc:
        nodes.append(helper.make_node("Transpose", [normal], [image], name="planes_last", perm=[0, 2, 3, 1]))
    return nodes


def _rows(source: str, shape: tuple[int, ...], target: str) -> list[Any]:
    if len(shape) == 2:
        return [helper.make_node("Identity", [source], [target], name=f"{target}_rows")]
    if max(shape[1:]) == np.prod(shape[1:]):
        return [helper.make_node("Flatten", [source], [target], name=f"{target}_rows", axis=1)]
    pooled = f"{target}_pooled"
    return [
        helper.make_node("GlobalAveragePool", [source], [pooled], name=pooled),
        helper.make_node("Flatten", [pooled], [target], name=f"{target}_rows", axis=1),
    ]


def _free_batch(model: ModelProto, file: OnnxFile, how: Preprocessing) -> None:
    del model.graph.input[:]
    shape: list[str | int | None] = ["batch", how.spec.height, how.spec.width, 3]
    model.graph.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, shape))
    del model.graph.value_info[:]
    fixed = file.shape[0]
    view = GraphView(model)
    if fixed is None:
        return
    freed: dict[str, NDArray[Any]] = {}
    for number, node in enumerate(model.graph.node):
        wanted = view.constant(node.input[1]) if node.op_type == "Reshape" and view.is_constant(node.input[1]) else None
        if wanted is not None and wanted.size > 1 and wanted[0] == fixed:
            name = f"reshape.{number}.shape"
            freed[name] = np.asarray([0 if -1 in wanted else -1, *wanted[1:]], np.int64)
            node.input[1] = name
    set_constants(model, freed)


def _absorb_channel_swap(model: ModelProto) -> None:
    # Swapped channels are free when the first convolution's weights are swapped instead.
    view = GraphView(model)
    swap = next((node for node in view.nodes if node.op_type == "Gather" and node.input[0] == INPUT_NAME), None)
    chain = _chain_to_convolution(view, swap.output[0]) if swap is not None else []
    if swap is None or not chain or attribute(chain[-1], "group", 1) != 1 or not view.is_constant(chain[-1].input[1]):
        return
    swapped: dict[str, NDArray[Any]] = {}
    for node in chain:
        for place, name in enumerate(node.input):
            if not view.is_constant(name) or (node.op_type == "Conv" and place > 1):
                continue
            value = view.constant(name)
            if value.ndim == 4 and value.shape[1] == 3:
                swapped[f"{name}.swapped"] = np.ascontiguousarray(value[:, ::-1])
                node.input[place] = f"{name}.swapped"
    for node in view.consumers[swap.output[0]]:
        node.input[0] = INPUT_NAME
    set_constants(model, swapped)
    remove_dead(model)


def _chain_to_convolution(view: GraphView, name: str) -> list[Any]:
    chain: list[Any] = []
    while (node := view.only_consumer(name)) is not None:
        chain.append(node)
        if node.op_type == "Conv":
            return chain
        if node.op_type not in ("Transpose", "Cast", "Mul", "Sub"):
            return []
        name = node.output[0]
    return []


def _keep_last_product_float(model: ModelProto) -> None:
    # Quantization takes Gemm and leaves MatMul: the product that makes the embedding carries its cosines.
    view = GraphView(model)
    node = view.producer.get(FEATURES)
    plain = node is not None and node.op_type == "Gemm" and not attribute(node, "transA", 0)
    if node is None or not plain or attribute(node, "alpha", 1.0) != 1 or attribute(node, "beta", 1.0) != 1:
        return
    matrix = view.constant(node.input[1])
    set_constants(
        model, {"embedding.matrix": np.ascontiguousarray(matrix.T if attribute(node, "transB", 0) else matrix)}
    )
    bias = node.input[2] if len(node.input) > 2 else ""
    product = "features_product" if bias else FEATURES
    made = [helper.make_node("MatMul", [node.input[0], "embedding.matrix"], [product], name="embedding_product")]
    if bias:
        made.append(helper.make_node("Add", [product, bias], [FEATURES], name="embedding_bias"))
    replace_nodes(model, [one for each in view.nodes for one in (made if each.name == node.name else [each])])


def _width(trunk: Trunk, name: str) -> int:
    spec = [dim.dim_value for dim in trunk.model.graph.input[0].type.tensor_type.shape.dim][1:]
    return int(Probe(trunk.model, [name]).run(np.zeros((1, *spec), np.uint8))[name].shape[1])


def _finish(model: ModelProto, classes: int, dim: int) -> ModelProto:
    finished = copy_model(model)
    for name, width in ((LOGITS, classes), (EMBEDDING, dim)):
        finished.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]))
    remove_dead(finished)
    return finished
