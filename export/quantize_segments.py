"""The integer graph in parts, from one layer to the next, so that what a layer gives can be changed on its way.

Between two parts only bytes are kept. Bias correction and the saturation audit both walk a net this way: each
layer's output is looked at and moved before it is rounded, and the next part reads the moved bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from .onnx_graph import INPUT_NAME
from .onnx_probe import Probe
from .onnx_view import GraphView

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of an integer graph from stored bytes to one tensor.

    Attributes:
        target: The tensor, before it is rounded.
        nodes: What has to run.
        inputs: Stored tensors that it reads.
        stores: Rounded tensors that it makes on the way.
        spared: Stored tensors that no later part reads.
    """

    target: str
    nodes: tuple[NodeProto, ...]
    inputs: tuple[str, ...]
    stores: tuple[str, ...]
    spared: tuple[str, ...]


def cut(written: ModelProto, targets: Sequence[str]) -> tuple[Segment, ...]:
    """Cut an integer graph at tensors, in graph order.

    Args:
        written: What `write_qdq` gave.
        targets: Tensors whose rounded form, where there is one, is given to the parts behind.
    """
    view = GraphView(written)
    known = {INPUT_NAME}
    parts: list[tuple[str, tuple[NodeProto, ...], tuple[str, ...], tuple[str, ...]]] = []
    for target in targets:
        needed, inputs = _back_to(view, target, known)
        nodes = tuple(node for node in view.nodes if node.name in needed)
        stores = tuple(node.output[0] for node in nodes if node.op_type == "QuantizeLinear")
        parts.append((target, nodes, tuple(sorted(inputs)), stores))
        known.update(stores, [f"{target}.q"])
    last = {name: number for number, (_, _, inputs, _) in enumerate(parts) for name in inputs}
    return tuple(
        Segment(*part, tuple(sorted(name for name, use in last.items() if use == number)))
        for number, part in enumerate(parts)
    )


class SegmentRunner:
    """Runs one part; opened at its first batch, whose shapes it needs."""

    def __init__(self, written: ModelProto, segment: Segment, also: Sequence[str] = (), integers: bool = True) -> None:
        """Choose what to look at.

        Args:
            written: The graph that the part was cut from.
            segment: The part.
            also: More tensors of the part to give.
            integers: False computes in float what the file says in integers: the same on every CPU.
        """
        self._written, self._segment, self._integers = written, segment, integers
        self._names = (segment.target, *segment.stores, *also)
        self._probe: Probe | None = None

    def run(self, stored: Mapping[str, Bytes]) -> dict[str, NDArray[Any]]:
        """Run the part on stored bytes; gives the target, what is to be stored, and `also`."""
        if self._probe is None:
            self._probe = Probe(self._part(stored), self._names, self._integers)
        return self._probe.run_named({name: stored[name] for name in self._segment.inputs})

    def _part(self, stored: Mapping[str, Bytes]) -> ModelProto:
        read = {name for node in self._segment.nodes for name in node.input}
        constants = [tensor for tensor in self._written.graph.initializer if tensor.name in read]
        graph = helper.make_graph(self._segment.nodes, "segment", [], [], constants)
        part = helper.make_model(graph, opset_imports=self._written.opset_import, ir_version=self._written.ir_version)
        for name in self._segment.inputs:
            shape = ["batch", *stored[name].shape[1:]]
            part.graph.input.append(helper.make_tensor_value_info(name, TensorProto.UINT8, shape))
        return part


def round_to(value: NDArray[np.float32], scale: np.float32, zero_point: int) -> Bytes:
    """Round values to steps, as QuantizeLinear does."""
    return np.asarray(np.clip(np.rint(value / scale) + np.float32(zero_point), 0, 255), np.uint8)


def _back_to(view: GraphView, target: str, known: set[str]) -> tuple[set[str], set[str]]:
    needed: set[str] = set()
    inputs: set[str] = set()
    waiting = [target]
    while waiting:
        name = waiting.pop()
        node = view.producer.get(name)
        if name in known:
            inputs.add(name)
        elif node is not None and node.name not in needed:
            needed.add(node.name)
            waiting.extend(node.input)
    return needed, inputs
