"""Takes back what rounding shifts: bias correction (Nagel et al. 2019, arXiv 1906.04721, section 4.2).

Rounded weights and clipped activations move the mean of a layer's outputs, and the shifts add up through the
net. Layer by layer, from input to output, the mean output of the integer graph (repaired so far) is compared
with the float graph's on calibration photos, and the difference goes into the bias.

The integer graph is run in segments, from one layer to the next, on stored bytes: the whole repair costs about
one pass over the photos, where running the graph from its start for each layer took 55 s for MobileNetV2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from sightline.runtime.preprocess import Image

from .onnx_graph import INPUT_NAME
from .onnx_probe import Probe
from .onnx_view import GraphView, copy_model, set_constants
from .quantize_plan import QuantizationPlan
from .quantize_ranges import Range
from .quantize_writer import WeightFormat, write_qdq


@dataclass(frozen=True, slots=True)
class _Segment:
    """The part of the integer graph from stored tensors to one layer.

    Attributes:
        layer: Name of the layer's node.
        target: The layer's output, before rounding.
        nodes: What has to run.
        inputs: Stored tensors that it reads.
        stores: Rounded tensors that it makes on the way.
    """

    layer: str
    target: str
    nodes: tuple[NodeProto, ...]
    inputs: tuple[str, ...]
    stores: tuple[str, ...]


def correct_bias(
    model: ModelProto,
    plan: QuantizationPlan,
    ranges: dict[str, Range],
    weights: WeightFormat,
    images: Sequence[Image],
) -> ModelProto:
    """Move each layer's bias so that its mean output is the float graph's.

    Args:
        model: The float graph; left as it is.
        plan: What becomes int8.
        ranges: As observed on the float graph.
        weights: How weights are rounded.
        images: Batches of prepared calibration photos; the largest layer's output for all of them has to fit in
            memory (64 photos of MobileNetV2: 310 MB).

    Returns:
        A float graph to write with the same plan and ranges.
    """
    layers = plan.weighted(model)
    expected = _float_means(model, [node.output[0] for node in layers], images)
    written = write_qdq(model, plan, ranges, weights)
    segments = _segments(written, [node.name for node in layers])
    last_use = {name: number for number, segment in enumerate(segments) for name in segment.inputs}
    stored: dict[str, list[NDArray[np.uint8]]] = {INPUT_NAME: list(images)}
    corrected = copy_model(model)
    for number, (node, segment) in enumerate(zip(layers, segments, strict=True)):
        outputs = _run(written, segment, stored)
        shift = expected[node.output[0]] - _mean(outputs)
        _add_to_bias(corrected, node.name, shift)
        if segment.target in plan.rounded:
            stored[f"{segment.target}.q"] = [_round(value, shift, ranges[segment.target]) for value in outputs]
        stored = {name: values for name, values in stored.items() if last_use.get(name, -1) > number}
    return corrected


def _segments(written: ModelProto, layers: Sequence[str]) -> list[_Segment]:
    view = GraphView(written)
    by_name = {node.name: node for node in view.nodes}
    known = {INPUT_NAME}
    found: list[_Segment] = []
    for layer in layers:
        target = by_name[layer].output[0]
        needed, inputs = _back_to(view, target, known)
        nodes = tuple(node for node in view.nodes if node.name in needed)
        stores = tuple(node.output[0] for node in nodes if node.op_type == "QuantizeLinear")
        found.append(_Segment(layer, target, nodes, tuple(sorted(inputs)), stores))
        known.update(stores, [f"{target}.q"])
    return found


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


def _run(
    written: ModelProto, segment: _Segment, stored: dict[str, list[NDArray[np.uint8]]]
) -> list[NDArray[np.float32]]:
    probe = Probe(_cut(written, segment, stored), (segment.target, *segment.stores))
    outputs: list[NDArray[np.float32]] = []
    made: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in segment.stores}
    for number in range(len(next(iter(stored.values())))):
        values = probe.run_named({name: stored[name][number] for name in segment.inputs})
        outputs.append(values[segment.target])
        for name, kept in made.items():
            kept.append(values[name])
    stored.update(made)
    return outputs


def _cut(written: ModelProto, segment: _Segment, stored: dict[str, list[NDArray[np.uint8]]]) -> ModelProto:
    read = {name for node in segment.nodes for name in node.input}
    constants = [tensor for tensor in written.graph.initializer if tensor.name in read]
    graph = helper.make_graph(segment.nodes, "segment", [], [], constants)
    part = helper.make_model(graph, opset_imports=written.opset_import, ir_version=written.ir_version)
    for name in segment.inputs:
        shape = ["batch", *stored[name][0].shape[1:]]
        part.graph.input.append(helper.make_tensor_value_info(name, TensorProto.UINT8, shape))
    return part


def _float_means(model: ModelProto, names: list[str], images: Sequence[Image]) -> dict[str, NDArray[np.float64]]:
    probe = Probe(model, names)
    sums: dict[str, NDArray[np.float64]] = {}
    for batch in images:
        for name, value in probe.run(batch).items():
            sums[name] = sums.get(name, np.zeros(value.shape[1])) + _channel_sums(value)
    count = sum(len(batch) for batch in images)
    return {name: total / count for name, total in sums.items()}


def _mean(outputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    total = np.sum([_channel_sums(value) for value in outputs], axis=0)
    return np.asarray(total / sum(len(value) for value in outputs))


def _channel_sums(value: NDArray[np.float32]) -> NDArray[np.float64]:
    # (batch, channels) or (batch, channels, rows, columns): the place within a photo is averaged out.
    means = value.reshape(*value.shape[:2], -1).mean(axis=2, dtype=np.float64)
    return np.asarray(means.sum(axis=0))


def _round(value: NDArray[np.float32], shift: NDArray[np.float64], to: Range) -> NDArray[np.uint8]:
    moved = value + shift.astype(np.float32).reshape(1, -1, *([1] * (value.ndim - 2)))
    steps = np.rint(moved / to.scale) + np.float32(to.zero_point)
    return np.asarray(np.clip(steps, 0, 255), np.uint8)


def _add_to_bias(model: ModelProto, name: str, shift: NDArray[np.float64]) -> None:
    node: NodeProto = next(one for one in model.graph.node if one.name == name)
    has_bias = len(node.input) > 2 and bool(node.input[2])
    old = GraphView(model).constant(node.input[2]) if has_bias else np.zeros(len(shift))
    bias = f"{name}.corrected_bias"
    set_constants(model, {bias: (old + shift).astype(np.float32)})
    node.input[:] = [*node.input[:2], bias]
