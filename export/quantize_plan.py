"""Which nodes run in int8 and which tensors are rounded: decided from the float graph alone.

The embedding head (what only the embedding depends on) stays float: it is below one percent of the work and
carries the cosine distances of the gallery. A Relu or Clip behind an int8 node is absorbed: rounding to the
range it leaves does the same, and ONNX Runtime would otherwise run it, and the convolution before it, in float.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from .onnx_view import GraphView, attribute

# Operators with an int8 kernel in ONNX Runtime's CPU provider that are worth it.
WEIGHTED = frozenset({"Conv", "Gemm"})
_PLAIN = frozenset({"Add", "Concat", "GlobalAveragePool", "AveragePool"})
# Operators that only move values: what comes out has the range of what went in.
MOVING = frozenset({"MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})
_CLIPPING = frozenset({"Relu", "Clip"})


@dataclass(frozen=True, slots=True)
class QuantizationPlan:
    """What the writer does to each node.

    Attributes:
        int8: Names of the nodes that run in int8.
        rounded: The activations that are rounded to uint8, in graph order, each once.
        absorbed: Names of the Relu and Clip nodes that rounding replaces.
        same_range: For a tensor that only moves another's values, the tensor whose range it shares.
        audible: For a tensor all of whose readers saturate, the values between which they do not.
    """

    int8: frozenset[str]
    rounded: tuple[str, ...]
    absorbed: frozenset[str]
    same_range: dict[str, str]
    audible: dict[str, tuple[float, float]]

    def moved_from(self, name: str) -> str:
        """The tensor whose values another one holds, and whose range it shares; the same where it holds its own."""
        while name in self.same_range:
            name = self.same_range[name]
        return name

    def weighted(self, model: ModelProto) -> list[NodeProto]:
        """The int8 nodes with weights (convolutions and matrix products), in graph order."""
        return [node for node in model.graph.node if node.name in self.int8 and node.op_type in WEIGHTED]


def make_plan(model: ModelProto, keep_float: Collection[str] = ()) -> QuantizationPlan:
    """Decide what runs in int8.

    Args:
        model: A float graph, see `fold_normalization`.
        keep_float: Names of nodes that stay float.
    """
    view = GraphView(model)
    wanted = view.ancestors("logits") if "logits" in view.outputs else {node.name for node in view.nodes}
    candidates = {name for name in wanted if name not in set(keep_float)}
    shapes = _shape_tensors(view)
    core = {
        node.name
        for node in view.nodes
        if node.name in candidates and not shapes.intersection(node.input) and _runs_in_int8(view, node)
    }
    absorbed = {node.name for node in view.nodes if node.op_type in _CLIPPING and _is_absorbed(view, node, core)}
    moving = _moving(view, core, absorbed)
    int8 = core | moving
    rounded = _rounded(view, int8, absorbed)
    same = {node.output[0]: node.input[0] for node in view.nodes if node.name in moving}
    audible = {name: heard for name in rounded if (heard := _audible(view, name)) is not None}
    return QuantizationPlan(frozenset(int8), rounded, frozenset(absorbed), same, audible)


def _shape_tensors(view: GraphView) -> set[str]:
    """Name the integers that a graph computes about its own shapes: transformers add and join them like activations."""
    found: set[str] = set()
    for node in view.nodes:
        carried = node.input if node.op_type == "Concat" else node.input[:1]
        if node.op_type in ("Shape", "Size") or (node.op_type != "Cast" and found.intersection(carried)):
            found.update(node.output)
    return found


def _runs_in_int8(view: GraphView, node: NodeProto) -> bool:
    if node.op_type in WEIGHTED:
        return all(view.is_constant(name) for name in node.input[1:] if name)
    return node.op_type in _PLAIN and len(view.activations(node)) == len(node.input)


def _is_absorbed(view: GraphView, node: NodeProto, core: set[str]) -> bool:
    producer = view.producer.get(node.input[0])
    if producer is None or producer.name not in core or view.only_consumer(node.input[0]) is None:
        return False
    constant_limits = all(view.is_constant(name) for name in node.input[1:] if name)
    return constant_limits and node.output[0] not in view.outputs


def _moving(view: GraphView, core: set[str], absorbed: set[str]) -> set[str]:
    found: set[str] = set()
    for node in view.nodes:
        # A shape that is computed from the batch is no activation to round.
        settled = all(view.is_constant(name) for name in node.input[1:] if name)
        if node.op_type in MOVING and settled and _comes_from(view, node.input[0], core | found, absorbed):
            found.add(node.name)
    return found


def _comes_from(view: GraphView, name: str, int8: set[str], absorbed: set[str]) -> bool:
    producer = view.producer.get(name)
    if producer is not None and producer.name in absorbed:
        producer = view.producer.get(producer.input[0])
    return producer is not None and producer.name in int8


def _rounded(view: GraphView, int8: set[str], absorbed: set[str]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for node in view.nodes:
        if node.name not in int8:
            continue
        for name in view.activations(node):
            # Already bytes: the pixels behind a DequantizeLinear.
            producer = view.producer.get(name)
            if producer is None or producer.op_type != "DequantizeLinear":
                names[name] = None
        names[result_name(view, node, absorbed)] = None
    return tuple(name for name in names if name not in view.outputs)


def _audible(view: GraphView, name: str) -> tuple[float, float] | None:
    # HardSwish gives zero for all below -3, HardSigmoid is flat on both sides: steps beyond are wasted. On
    # MobileNetV3-small this takes the error that rounding one tensor brings to the logits from 4.3 % to 0.4 %.
    heard = [_hears(node) for node in view.consumers[name]]
    known = [limits for limits in heard if limits is not None]
    if not known or len(known) < len(heard) or name in view.outputs:
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _hears(node: NodeProto) -> tuple[float, float] | None:
    if node.op_type == "HardSwish":
        return -3.0, np.inf
    if node.op_type == "HardSigmoid":
        alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
        return -beta / alpha, (1 - beta) / alpha
    return None


def result_name(view: GraphView, node: NodeProto, absorbed: Collection[str]) -> str:
    """Name what an int8 node writes: its own output, or that of the Relu or Clip that rounding replaces."""
    reader = view.only_consumer(node.output[0])
    last = reader if reader is not None and reader.name in absorbed else node
    return str(last.output[0])
