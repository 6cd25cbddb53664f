"""An ONNX graph as a torch module that rounds where the QDQ writer will: what quantization-aware training trains.

The module follows the graph node by node and the plan that the writer follows, so that what was trained is what
is written. Batch norm is folded into the weights by then, which freezes it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto
from torch import Tensor, nn
from torch.nn import functional

from sightline.runtime.errors import InputError

from .onnx_graph import INPUT_NAME
from .onnx_view import GraphView, attribute, copy_model, set_constants
from .qat_rounding import RoundedTensor, RoundedWeight
from .quantize_plan import WEIGHTED, QuantizationPlan
from .quantize_ranges import Range
from .quantize_writer import WeightFormat

Inputs = list[Any]


class TrainedGraph(nn.Module):
    """A float graph that computes as its int8 form does, with gradients.

    `forward` maps uint8 [batch, height, width, 3] RGB to the graph's outputs by name.
    """

    def __init__(
        self, model: ModelProto, plan: QuantizationPlan, ranges: dict[str, Range], weights: WeightFormat
    ) -> None:
        """Build the module.

        Args:
            model: The float graph that the plan was made for.
            plan: What becomes int8.
            ranges: Of every tensor that the plan rounds; where training begins.
            weights: How weights are rounded.

        Raises:
            InputError: The graph has an operator that cannot be trained.
        """
        super().__init__()
        self._model, self._plan = model, plan
        self._view = GraphView(model)
        self._order = self._view.nodes
        check_trainable(model)
        tied = set(plan.same_range)
        self._rounding = nn.ModuleDict(
            {_key(name): RoundedTensor(ranges[name]) for name in plan.rounded if name not in tied}
        )
        self._weights, self._biases = nn.ModuleDict(), nn.ParameterDict()
        for node in plan.weighted(model):
            axis = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
            weight = self._tensor(node.input[1])
            self._weights[_key(node.name)] = RoundedWeight(weight, axis, weights.steps_of(node, weight.shape))
            if len(node.input) > 2 and node.input[2]:
                self._biases[_key(node.name)] = nn.Parameter(self._tensor(node.input[2]).clone())
        self._constants = {
            name: self._tensor(name)
            for node in self._order
            for name in node.input
            if name and self._view.is_constant(name)
        }

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Compute the outputs of a batch; see the class."""
        exact: dict[str, Tensor] = {INPUT_NAME: image}
        rounded: dict[str, Tensor] = {}
        for node in self._order:
            if node.name in self._plan.absorbed:
                value = exact[node.input[0]]
            else:
                value = _OPERATORS[node.op_type](node, self._inputs(node, exact, rounded))
            name = node.output[0]
            exact[name] = value
            if _key(name) in self._rounding:
                rounded[name] = self._rounding[_key(name)](value)
        return {name: exact[name] for name in self._view.outputs}

    def scales(self) -> list[nn.Parameter]:
        """The learned step widths."""
        return list(self._rounding.parameters())

    def layers(self) -> list[nn.Parameter]:
        """The learned weights and biases."""
        return [*self._weights.parameters(), *self._biases.parameters()]

    def is_finite(self) -> bool:
        """Whether every learned value is a number."""
        return all(bool(torch.isfinite(one).all()) for one in self.parameters())

    def learned(self) -> tuple[ModelProto, dict[str, Range]]:
        """Give the float graph with the weights as they are now, and the ranges, for `write_qdq`."""
        model = copy_model(self._model)
        values: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
        for node in self._plan.weighted(self._model):
            weight = self._weights[_key(node.name)]
            assert isinstance(weight, RoundedWeight)
            values[node.input[1]] = weight.value.detach().numpy()
            if _key(node.name) in self._biases:
                values[node.input[2]] = self._biases[_key(node.name)].detach().numpy()
        set_constants(model, values)
        found: dict[str, Range] = {}
        for name in self._plan.rounded:
            source = self._plan.moved_from(name)
            if _key(source) in self._rounding:
                step = self._rounding[_key(source)]
                assert isinstance(step, RoundedTensor)
                found[name] = step.range
        return model, found

    def _inputs(self, node: NodeProto, exact: dict[str, Tensor], rounded: dict[str, Tensor]) -> Inputs:
        int8 = node.name in self._plan.int8
        values: Inputs = []
        for name in node.input:
            if not name:
                values.append(None)
            elif name in self._constants:
                values.append(self._constants[name])
            else:
                values.append(rounded[name] if name in rounded and self._reads_rounded(name, int8) else exact[name])
        if int8 and node.op_type in WEIGHTED:
            values[1] = self._weights[_key(node.name)]()
            if _key(node.name) in self._biases:
                values[2] = self._biases[_key(node.name)]
        return values

    def _reads_rounded(self, name: str, int8_reader: bool) -> bool:
        producer = self._view.producer.get(name)
        made_in_int8 = producer is not None and producer.name in self._plan.int8 | self._plan.absorbed
        return int8_reader or made_in_int8

    def _tensor(self, name: str) -> Tensor:
        return torch.from_numpy(np.array(self._view.constant(name)))


def check_trainable(model: ModelProto) -> None:
    """Check that every operator of a graph can be trained; takes no time.

    Raises:
        InputError: One cannot.
    """
    unknown = next((node.op_type for node in model.graph.node if node.op_type not in _OPERATORS), None)
    if unknown is not None:
        raise InputError(f"quantization-aware training does not know the operator {unknown}: export without --qat")


def _key(name: str) -> str:
    # torch reads a dot in a module's name as a path.
    return name.replace(".", "/")


def _conv(node: NodeProto, x: Inputs) -> Tensor:
    top, left, bottom, right = attribute(node, "pads", (0, 0, 0, 0))
    strides, dilations = (tuple(attribute(node, name, (1, 1))) for name in ("strides", "dilations"))
    bias = x[2] if len(x) > 2 else None
    value, pads = x[0], (top, left)
    if (top, left) != (bottom, right):
        value, pads = functional.pad(value, (left, right, top, bottom)), (0, 0)
    return functional.conv2d(value, x[1], bias, strides, pads, dilations, attribute(node, "group", 1))


def _gemm(node: NodeProto, x: Inputs) -> Tensor:
    left = x[0].T if attribute(node, "transA", 0) else x[0]
    right = x[1].T if attribute(node, "transB", 0) else x[1]
    product: Tensor = attribute(node, "alpha", 1.0) * (left @ right)
    return product if len(x) < 3 or x[2] is None else product + attribute(node, "beta", 1.0) * x[2]


def _clip(node: NodeProto, x: Inputs) -> Tensor:
    low, high = (float(one) if one is not None else None for one in (*x[1:], None, None)[:2])
    value: Tensor = x[0].clamp(low, high)
    return value


def _max_pool(node: NodeProto, x: Inputs) -> Tensor:
    top, left, bottom, right = attribute(node, "pads", (0, 0, 0, 0))
    padded = functional.pad(x[0], (left, right, top, bottom), value=-torch.inf)
    strides = tuple(attribute(node, "strides", (1, 1)))
    ceil = bool(attribute(node, "ceil_mode", 0))
    return functional.max_pool2d(padded, tuple(attribute(node, "kernel_shape", ())), strides, ceil_mode=ceil)


def _reshape(node: NodeProto, x: Inputs) -> Tensor:
    shape = [x[0].shape[place] if size == 0 else size for place, size in enumerate(x[1].tolist())]
    value: Tensor = x[0].reshape(shape)
    return value


def _flatten(node: NodeProto, x: Inputs) -> Tensor:
    value: Tensor = x[0].flatten(attribute(node, "axis", 1))
    return value


def _dequantize(node: NodeProto, x: Inputs) -> Tensor:
    value: Tensor = (x[0].to(torch.float32) - (x[2].to(torch.float32) if len(x) > 2 else 0.0)) * x[1]
    return value


def _axes(node: NodeProto, x: Inputs) -> list[int]:
    # An input since opset 18, an attribute before.
    given = x[1].tolist() if len(x) > 1 and x[1] is not None else attribute(node, "axes", None)
    return list(range(x[0].ndim)) if given is None else list(given)


def _norm(node: NodeProto, x: Inputs) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x[0], dim=_axes(node, x), keepdim=bool(attribute(node, "keepdims", 1)))
    return norm


def _mean(node: NodeProto, x: Inputs) -> Tensor:
    mean: Tensor = x[0].mean(dim=_axes(node, x), keepdim=bool(attribute(node, "keepdims", 1)))
    return mean


def _unit(node: NodeProto, x: Inputs) -> Tensor:
    return functional.normalize(x[0], float(attribute(node, "p", 2)), attribute(node, "axis", -1))


def _hard_sigmoid(node: NodeProto, x: Inputs) -> Tensor:
    value: Tensor = (attribute(node, "alpha", 0.2) * x[0] + attribute(node, "beta", 0.5)).clamp(0, 1)
    return value


def _squeeze(node: NodeProto, x: Inputs) -> Tensor:
    value: Tensor = x[0].squeeze(tuple(x[1].tolist()))
    return value


def _unsqueeze(node: NodeProto, x: Inputs) -> Tensor:
    value: Tensor = x[0]
    for axis in sorted(x[1].tolist()):
        value = value.unsqueeze(axis)
    return value


_OPERATORS: dict[str, Callable[[NodeProto, Inputs], Tensor]] = {
    "Add": lambda node, x: x[0] + x[1],
    "Cast": lambda node, x: x[0].to(torch.float32),
    "Clip": _clip,
    "Concat": lambda node, x: torch.cat(x, attribute(node, "axis", 1)),
    "Conv": _conv,
    "DequantizeLinear": _dequantize,
    "Div": lambda node, x: x[0] / x[1],
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda node, x: x[0].mean(dim=(2, 3), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node, x: functional.hardswish(x[0]),
    "Identity": lambda node, x: x[0],
    "LpNormalization": _unit,
    "MatMul": lambda node, x: x[0] @ x[1],
    "Max": lambda node, x: torch.maximum(x[0], x[1]),
    "MaxPool": _max_pool,
    "Mul": lambda node, x: x[0] * x[1],
    "ReduceL2": _norm,
    "ReduceMean": _mean,
    "Relu": lambda node, x: functional.relu(x[0]),
    "Reshape": _reshape,
    "Sigmoid": lambda node, x: torch.sigmoid(x[0]),
    "Softmax": lambda node, x: functional.softmax(x[0], attribute(node, "axis", -1)),
    "Squeeze": _squeeze,
    "Sub": lambda node, x: x[0] - x[1],
    "Transpose": lambda node, x: x[0].permute(*attribute(node, "perm", ())),
    "Unsqueeze": _unsqueeze,
}
