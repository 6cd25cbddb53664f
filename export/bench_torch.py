"""A bundle's float ONNX file rebuilt as a torch module, so that torch and what converts from torch can run it.

Only the operators that this package's own float graphs use; batch normalization is folded in them already, so
torch runs no more than the others do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx import NodeProto
from torch import Tensor, fx
from torch.nn import functional

from sightline.runtime.errors import SightlineError

from .onnx_graph import INPUT_NAME, OUTPUT_NAMES
from .onnx_view import GraphView, attribute


class RebuildError(SightlineError):
    """A graph has something that is not rebuilt here; the peer is left out and the sentence says why."""


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def rebuild(model: bytes, planes: bool = False) -> fx.GraphModule:
    """Rebuild a float graph.

    Args:
        model: The bytes of the ONNX file.
        planes: Whether the module takes float32 [batch, 3, height, width] of 0 to 255 instead of the image, for
            runtimes that split channels on their own.

    Returns:
        A module from uint8 [batch, height, width, 3] RGB to logits and embedding.

    Raises:
        RebuildError: The graph uses an operator that is not known here.
    """
    view = GraphView(onnx.load_from_string(model))
    builder = _Builder(view)
    pixels = next((node.output[0] for node in view.nodes if node.op_type == "Cast"), "") if planes else INPUT_NAME
    builder.values[pixels] = builder.graph.placeholder("image")
    for node in view.nodes:
        if node.output[0] not in builder.values and not (planes and _before(node)):
            builder.add(node)
    builder.graph.output(tuple(builder.values[name] for name in OUTPUT_NAMES))
    return fx.GraphModule(builder.root, builder.graph).eval()


def _before(node: NodeProto) -> bool:
    return INPUT_NAME in node.input


class _Builder:
    def __init__(self, view: GraphView) -> None:
        self.view = view
        self.root = torch.nn.Module()
        self.graph = fx.Graph()
        self.values: dict[str, fx.Node] = {}

    def add(self, node: NodeProto) -> None:
        if node.op_type not in _CALLS:
            raise RebuildError(f"{node.op_type} is not rebuilt in torch")
        call = _CALLS[node.op_type](node, self)
        self.values[node.output[0]] = self.graph.call_function(call.function, call.arguments)

    def inputs(self, node: NodeProto) -> list[fx.Node | None]:
        return [self._value(name) if name else None for name in node.input]

    def figure(self, name: str) -> float:
        return float(self.view.constant(name).reshape(-1)[0])

    def figures(self, name: str) -> list[int]:
        return [int(value) for value in self.view.constant(name).reshape(-1)]

    def _value(self, name: str) -> fx.Node:
        if name not in self.values:
            place = f"weight_{len(self.values)}"
            self.root.register_buffer(place, torch.from_numpy(self.view.constant(name).copy()))
            self.values[name] = self.graph.get_attr(place)
        return self.values[name]


_Make = Callable[[NodeProto, _Builder], _Call]


def _plain(function: Callable[..., Any]) -> _Make:
    return lambda node, builder: _Call(function, tuple(builder.inputs(node)))


def _convolution(node: NodeProto, builder: _Builder) -> _Call:
    pads = attribute(node, "pads", [0] * 4)
    if attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or pads[:2] != pads[2:]:
        raise RebuildError("a convolution with uneven padding is not rebuilt in torch")
    data, weight, *bias = builder.inputs(node)
    strides, dilations = attribute(node, "strides", [1, 1]), attribute(node, "dilations", [1, 1])
    settings = (list(strides), list(pads[:2]), list(dilations), attribute(node, "group", 1))
    return _Call(functional.conv2d, (data, weight, bias[0] if bias else None, *settings))


def _product(node: NodeProto, builder: _Builder) -> _Call:
    data, weight, *bias = builder.inputs(node)
    plain = (
        attribute(node, "alpha", 1.0) == 1 and attribute(node, "beta", 1.0) == 1 and not attribute(node, "transA", 0)
    )
    if not plain:
        raise RebuildError("a scaled or transposed Gemm is not rebuilt in torch")
    if not attribute(node, "transB", 0):
        weight = builder.graph.call_function(torch.t, (weight,))
    return _Call(functional.linear, (data, weight, bias[0] if bias else None))


def _clip(node: NodeProto, builder: _Builder) -> _Call:
    bounds = [builder.figure(name) if name else None for name in node.input[1:]]
    return _Call(torch.clamp, (builder.inputs(node)[0], *bounds))


def _hard_sigmoid(node: NodeProto, builder: _Builder) -> _Call:
    alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    if abs(alpha - 1 / 6) > 1e-4 or beta != 0.5:
        raise RebuildError("a HardSigmoid of another slope is not rebuilt in torch")
    return _Call(functional.hardsigmoid, tuple(builder.inputs(node)))


def _pooling(function: Callable[..., Any]) -> _Make:
    def make(node: NodeProto, builder: _Builder) -> _Call:
        pads, kernel = attribute(node, "pads", [0] * 4), list(attribute(node, "kernel_shape", []))
        even = pads[:2] == pads[2:] and not attribute(node, "ceil_mode", 0)
        if not even or (function is functional.avg_pool2d and any(pads)):
            raise RebuildError(f"a {node.op_type} with such padding is not rebuilt in torch")
        return _Call(
            function, (builder.inputs(node)[0], kernel, list(attribute(node, "strides", [1, 1])), list(pads[:2]))
        )

    return make


def _transpose(node: NodeProto, builder: _Builder) -> _Call:
    return _Call(torch.permute, (builder.inputs(node)[0], list(attribute(node, "perm", []))))


def _reduce_norm(node: NodeProto, builder: _Builder) -> _Call:
    axes = attribute(node, "axes", None) or builder.figures(node.input[1])
    return _Call(
        torch.linalg.vector_norm, (builder.inputs(node)[0], 2, list(axes), bool(attribute(node, "keepdims", 1)))
    )


def _unit(node: NodeProto, builder: _Builder) -> _Call:
    return _Call(functional.normalize, (builder.inputs(node)[0], 2.0, attribute(node, "axis", -1)))


def _flatten(node: NodeProto, builder: _Builder) -> _Call:
    return _Call(torch.flatten, (builder.inputs(node)[0], attribute(node, "axis", 1)))


def _reshape(node: NodeProto, builder: _Builder) -> _Call:
    return _Call(torch.reshape, (builder.inputs(node)[0], builder.figures(node.input[1])))


def _concat(node: NodeProto, builder: _Builder) -> _Call:
    return _Call(torch.cat, (builder.inputs(node), attribute(node, "axis", 0)))


def _global_pool(node: NodeProto, builder: _Builder) -> _Call:
    return _Call(functional.adaptive_avg_pool2d, (builder.inputs(node)[0], 1))


_CALLS: dict[str, _Make] = {
    "Conv": _convolution,
    "Gemm": _product,
    "MatMul": _plain(torch.matmul),
    "Add": _plain(torch.add),
    "Sub": _plain(torch.sub),
    "Mul": _plain(torch.mul),
    "Div": _plain(torch.div),
    "Max": _plain(torch.maximum),
    "Relu": _plain(functional.relu),
    "Sigmoid": _plain(torch.sigmoid),
    "HardSwish": _plain(functional.hardswish),
    "HardSigmoid": _hard_sigmoid,
    "Clip": _clip,
    "Cast": lambda node, builder: _Call(Tensor.float, tuple(builder.inputs(node))),
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Concat": _concat,
    "GlobalAveragePool": _global_pool,
    "AveragePool": _pooling(functional.avg_pool2d),
    "MaxPool": _pooling(functional.max_pool2d),
    "ReduceL2": _reduce_norm,
    "LpNormalization": _unit,
    "Identity": _plain(torch.clone),
}
