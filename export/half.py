"""The fp16 form of a float graph, for GPUs: weights and matrix work in half precision, the ends as they are.

ONNX Runtime's own converter gives nodes with several float inputs one name for two casts, and asks for a
symbolic shape pass; the rule needed here is short. What an operator of the list below computes becomes half;
pixels before the first convolution, pooling, softmax and the embedding's norm stay float, because they add up
or divide more than half precision has digits for. Casts stand where the two meet.
"""

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, shape_inference

from .onnx_graph import remove_dead, replace_nodes
from .onnx_view import GraphView, copy_model, set_constants

# Largest finite value of fp16 is 65,504.
MOST_HALF = 65_504.0
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_EACH = frozenset({"Add", "BatchNormalization", "Clip", "Div", "Max", "Min", "Mul", "Sub"})
_ACTIVATIONS = frozenset({"HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})
_MOVES = frozenset({"Concat", "Flatten", "MaxPool", "Pad", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
_HALF = _PRODUCTS | _EACH | _ACTIVATIONS | _MOVES


def to_half(model: ModelProto) -> ModelProto:
    """Convert a float graph; its inputs and outputs keep their types.

    Args:
        model: A float graph, left as it is.
    """
    half = copy_model(model)
    inferred = shape_inference.infer_shapes(half)
    _Converter(half, inferred).convert()
    remove_dead(half)
    return half


class _Converter:
    def __init__(self, model: ModelProto, inferred: ModelProto) -> None:
        self.model = model
        self.view = GraphView(model)
        self.floats = _float_tensors(inferred)
        self.half = _half_nodes(self.view, self.floats)
        self.made: set[str] = set()

    def convert(self) -> None:
        nodes = [one for node in self.view.nodes for one in self._convert(node)]
        replace_nodes(self.model, nodes)
        del self.model.graph.value_info[:]

    def _convert(self, node: NodeProto) -> Iterator[NodeProto]:
        written = NodeProto()
        written.CopyFrom(node)
        inside = node.name in self.half
        for index, name in enumerate(node.input):
            if name in self.floats and inside != self._is_half(name):
                yield from self._cast(name, inside)
                written.input[index] = _renamed(name, inside)
        if inside:
            written.output[:] = [self._own_name(name) for name in node.output]
        yield written
        for name in node.output:
            if inside and name in self.view.outputs and name in self.floats:
                yield helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.to_float", to=TensorProto.FLOAT)

    def _own_name(self, name: str) -> str:
        # A graph output keeps its name for the float form.
        return f"{name}.half" if name in self.view.outputs and name in self.floats else name

    def _is_half(self, name: str) -> bool:
        if name in self.view.outputs:
            return False
        producer = self.view.producer.get(name)
        return producer is not None and producer.name in self.half

    def _cast(self, name: str, to_half: bool) -> Iterator[NodeProto]:
        made = _renamed(name, to_half)
        if made in self.made or (to_half and name in self.view.outputs and self._made_in_half(name)):
            return
        self.made.add(made)
        if to_half and self.view.is_constant(name):
            set_constants(self.model, {made: self.view.constant(name).astype(np.float16)})
            return
        kind = TensorProto.FLOAT16 if to_half else TensorProto.FLOAT
        yield helper.make_node("Cast", [name], [made], name=f"{made}.cast", to=kind)

    def _made_in_half(self, name: str) -> bool:
        producer = self.view.producer.get(name)
        return producer is not None and producer.name in self.half


def _renamed(name: str, to_half: bool) -> str:
    return f"{name}.half" if to_half else f"{name}.float"


def _float_tensors(inferred: ModelProto) -> set[str]:
    graph = inferred.graph
    typed = [*graph.input, *graph.output, *graph.value_info]
    found = {value.name for value in typed if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def _half_nodes(view: GraphView, floats: set[str]) -> set[str]:
    norm = view.ancestors("embedding") - view.ancestors("logits") if "embedding" in view.outputs else set()
    first = next((node for node in view.nodes if node.op_type == "Conv"), None)
    before = view.ancestors(first.input[0]) if first is not None else set()
    chosen = (node for node in view.nodes if node.op_type in _HALF and node.name not in norm | before)
    return {node.name for node in chosen if all(name in floats for name in node.output) and _fits(view, node, floats)}


def _fits(view: GraphView, node: NodeProto, floats: set[str]) -> bool:
    constants = (view.constant(name) for name in node.input if name in floats and view.is_constant(name))
    return all(np.abs(value[np.isfinite(value)]).max(initial=0.0) <= MOST_HALF for value in constants)
