"""Foreign graphs brought to the forms that quantization knows.

ONNX Runtime's own basic optimizations fold batch normalization, constants, padding and transposes. What is
left is spelled as this package's exporter spells it: padding in figures, hard-swish and global pooling as one node
each, products with a constant matrix as Gemm, reshapes to rows as Flatten. Every rewrite keeps the function;
`check_parity` proves it on photos.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper

from sightline.runtime.errors import InputError

from .onnx_graph import PRODUCER, remove_dead, replace_nodes
from .onnx_session import open_graph, session_options
from .onnx_view import GraphView, attribute, copy_model

import onnxruntime as ort  # isort: skip

_SIXTH = 1 / 6


def tidy_foreign(model: ModelProto, path: object) -> ModelProto:
    """Give an optimized copy in the forms that quantization knows.

    Args:
        model: A float graph with fixed height and width.
        path: What messages call it.

    Raises:
        InputError: ONNX Runtime cannot open it.
    """
    tidied = _fold(model, path)
    for rewrite in (_explicit_pads, _hard_sigmoids, _hard_swishes, _pools, _products, _flattens):
        _apply(tidied, rewrite)
    _drop_identities(tidied)
    remove_dead(tidied)
    _name_nodes(tidied)
    tidied.ir_version = min(tidied.ir_version, 10)
    tidied.producer_name, tidied.producer_version, tidied.doc_string = PRODUCER, "", ""
    tidied.graph.name, tidied.graph.doc_string = PRODUCER, ""
    del tidied.metadata_props[:], tidied.graph.value_info[:]
    return tidied


def _fold(model: ModelProto, path: object) -> ModelProto:
    with tempfile.TemporaryDirectory(prefix="sightline-") as folder:
        file = Path(folder) / "folded.onnx"
        options = session_options()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(file)
        open_graph(model.SerializeToString(), options, f"model '{path}'", InputError)
        folded = onnx.load(file)
    version = next(entry.version for entry in folded.opset_import if entry.domain in ("", "ai.onnx"))
    del folded.opset_import[:]
    folded.opset_import.append(helper.make_opsetid("", version))
    return folded


_Rewrite = Callable[["_Editor", NodeProto], list[NodeProto] | None]


class _Editor:
    """A graph under rewriting: what a tensor is made of, and its shape."""

    def __init__(self, model: ModelProto) -> None:
        self.view = GraphView(model)
        inferred = onnx.shape_inference.infer_shapes(model)
        known = [*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input]
        self._shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in known
            if value.type.tensor_type.HasField("shape")
        }

    def shape(self, name: str) -> list[int] | None:
        """Dimensions, 0 where one is open; None where the rank is unknown."""
        return self._shapes.get(name)

    def made_by(self, name: str, kind: str) -> NodeProto | None:
        node = self.view.producer.get(name)
        return node if node is not None and node.op_type == kind else None

    def figure(self, name: str) -> float | None:
        """The value of a constant of one element."""
        value = self.view.constant(name) if name and self.view.is_constant(name) else None
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def with_figure(self, node: NodeProto) -> tuple[str, float] | None:
        """The computed input and the single constant of a node of two inputs; of a division, the divisor."""
        for index in (1,) if node.op_type == "Div" else (0, 1):
            if len(node.input) == 2 and (value := self.figure(node.input[index])) is not None:
                return node.input[1 - index], value
        return None


def _apply(model: ModelProto, rewrite: _Rewrite) -> None:
    editor = _Editor(model)
    nodes = [rewrite(editor, node) or [node] for node in editor.view.nodes]
    replace_nodes(model, [node for group in nodes for node in group])
    remove_dead(model)


def _explicit_pads(editor: _Editor, node: NodeProto) -> list[NodeProto] | None:
    # Quantization-aware training and the saturation audit read the figures; TensorFlow says "same as the input".
    how = attribute(node, "auto_pad", b"NOTSET").decode()
    known = [*(editor.shape(node.input[0]) or []), 0][2:4]
    if node.op_type not in ("Conv", "MaxPool", "AveragePool") or not how.startswith("SAME") or 0 in known:
        return None
    kernel = attribute(node, "kernel_shape", None) or editor.view.constant(node.input[1]).shape[2:]
    strides, dilations = (attribute(node, name, (1, 1)) for name in ("strides", "dilations"))
    reaches = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    wanted = [
        max(0, (-(-side // stride) - 1) * stride + reach - side)
        for side, stride, reach in zip(known, strides, reaches, strict=True)
    ]
    less = [total // 2 for total in wanted]
    more = [total - half for total, half in zip(wanted, less, strict=True)]
    written = NodeProto()
    written.CopyFrom(node)
    kept = [entry for entry in node.attribute if entry.name not in ("auto_pad", "pads")]
    del written.attribute[:]
    written.attribute.extend(kept)
    pads = [*less, *more] if how == "SAME_UPPER" else [*more, *less]
    written.attribute.append(helper.make_attribute("pads", pads))
    return [written]


def _hard_sigmoids(editor: _Editor, node: NodeProto) -> list[NodeProto] | None:
    # TensorFlow writes relu6(x + 3) / 6.
    sixth = editor.with_figure(node) if node.op_type in ("Mul", "Div") else None
    if sixth is None or not np.isclose(sixth[1] if node.op_type == "Mul" else 1 / sixth[1], _SIXTH, rtol=1e-4):
        return None
    source = _relu6_of_three_more(editor, sixth[0])
    return None if source is None else [_hard_sigmoid(source, node)]


def _relu6_of_three_more(editor: _Editor, name: str) -> str | None:
    clip = editor.made_by(name, "Clip")
    if clip is None or [editor.figure(bound) for bound in clip.input[1:]] != [0.0, 6.0]:
        return None
    add = editor.made_by(clip.input[0], "Add")
    three = editor.with_figure(add) if add is not None else None
    return three[0] if three is not None and three[1] == 3.0 else None


def _hard_sigmoid(source: str, node: NodeProto) -> NodeProto:
    return helper.make_node("HardSigmoid", [source], node.output, name=node.name, alpha=_SIXTH, beta=0.5)


def _hard_swishes(editor: _Editor, node: NodeProto) -> list[NodeProto] | None:
    source = _gated(editor, node) if node.op_type in ("Mul", "Div") else None
    return None if source is None else [helper.make_node("HardSwish", [source], node.output, name=node.name)]


def _gated(editor: _Editor, node: NodeProto) -> str | None:
    for index in (0, 1) if node.op_type == "Mul" else ():
        gate, other = editor.made_by(node.input[index], "HardSigmoid"), node.input[1 - index]
        if gate is not None and gate.input[0] == other:
            usual = np.isclose(attribute(gate, "alpha", 0.2), _SIXTH, rtol=1e-4) and attribute(gate, "beta", 0.5) == 0.5
            return other if usual else None
    sixth = editor.with_figure(node)
    product = editor.made_by(sixth[0], "Mul") if sixth is not None else None
    if sixth is None or product is None:
        return None
    factor = sixth[1] if node.op_type == "Mul" else 1 / sixth[1]
    for index in (0, 1):
        if np.isclose(factor, _SIXTH, rtol=1e-4):
            source = _relu6_of_three_more(editor, product.input[index])
            if source is not None and source == product.input[1 - index]:
                return source
    return None


def _pools(editor: _Editor, node: NodeProto) -> list[NodeProto] | None:
    # ONNX Runtime has an int8 kernel for GlobalAveragePool and none for ReduceMean.
    if node.op_type != "ReduceMean" or len(editor.shape(node.input[0]) or []) != 4:
        return None
    given = attribute(node, "axes", None)
    if given is None and len(node.input) > 1 and editor.view.is_constant(node.input[1]):
        given = editor.view.constant(node.input[1]).tolist()
    if given is None or sorted(axis % 4 for axis in given) != [2, 3]:
        return None
    if attribute(node, "keepdims", 1):
        return [helper.make_node("GlobalAveragePool", [node.input[0]], node.output, name=node.name)]
    pooled = f"{node.output[0]}.pooled"
    return [
        helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=f"{node.name}.pool"),
        helper.make_node("Flatten", [pooled], node.output, name=node.name, axis=1),
    ]


def _products(editor: _Editor, node: NodeProto) -> list[NodeProto] | None:
    if node.op_type != "MatMul" or not editor.view.is_constant(node.input[1]):
        return None
    rows = len(editor.shape(node.input[0]) or []) == 2 and editor.view.constant(node.input[1]).ndim == 2
    return [helper.make_node("Gemm", list(node.input), node.output, name=node.name)] if rows else None


def _flattens(editor: _Editor, node: NodeProto) -> list[NodeProto] | None:
    if node.op_type not in ("Reshape", "Squeeze"):
        return None
    before, after = editor.shape(node.input[0]), editor.shape(node.output[0])
    if before is None or after is None or len(after) != 2 or len(before) != 4 or 0 in before[1:]:
        return None
    row = int(np.prod(before[1:]))
    if after[1] not in (0, row) or (before[0] and after[0] not in (0, before[0])):
        return None
    return [helper.make_node("Flatten", [node.input[0]], node.output, name=node.name, axis=1)]


def _drop_identities(model: ModelProto) -> None:
    for node in GraphView(model).nodes:
        view = GraphView(model)
        source, target = (node.input[0], node.output[0]) if node.op_type == "Identity" else ("", "")
        if not source or source in view.outputs or source not in view.producer:
            continue
        for other in model.graph.node:
            other.input[:] = [target if name == source else name for name in other.input]
            other.output[:] = [target if name == source else name for name in other.output]
        replace_nodes(model, [one for one in model.graph.node if one.op_type != "Identity" or one.output[0] != target])


def _name_nodes(model: ModelProto) -> None:
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        node.doc_string = ""
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
        taken.add(node.name)


def copy_for(model: ModelProto, outputs: list[str]) -> ModelProto:
    """Give a copy whose outputs are the tensors named, their shapes left open."""
    copied = copy_model(model)
    del copied.graph.output[:]
    copied.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    return copied
