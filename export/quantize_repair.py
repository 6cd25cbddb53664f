"""Takes back what rounding shifts: bias correction (Nagel et al. 2019, arXiv 1906.04721, section 4.2).

Rounded weights and clipped activations move the mean of a layer's outputs, and the shifts add up through the
net. The fast form moves every bias by what its own layer's rounding shifts, worked out from the mean of its
inputs. The sequential form goes layer by layer, from input to output: the mean output of the integer graph
(repaired so far) is compared with the float graph's on calibration photos, and the difference goes into the bias.

For it the integer graph is run in segments, from one layer to the next, on stored bytes: the whole repair costs
about one pass over the photos, where running the graph from its start for each layer took 55 s for MobileNetV2.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from sightline.runtime.preprocess import Image

from .onnx_graph import INPUT_NAME
from .onnx_probe import Probe
from .onnx_view import GraphView, attribute, copy_model, set_constants
from .quantize_plan import QuantizationPlan
from .quantize_ranges import Range
from .quantize_segments import Bytes, Segment, SegmentRunner, cut, round_to
from .quantize_writer import WeightFormat, tied_ranges, write_qdq


def correct_bias_fast(
    model: ModelProto,
    plan: QuantizationPlan,
    ranges: dict[str, Range],
    weights: WeightFormat,
    images: Sequence[Image],
) -> ModelProto:
    """Move each layer's bias by what rounding its own weights and inputs shifts; see `correct_bias`.

    A window's places are taken to see the same mean, which is exact but for the border.
    """
    layers = plan.weighted(model)
    written = GraphView(write_qdq(model, plan, ranges, weights))
    view = GraphView(model)
    means = _input_means(model, {node.input[0] for node in layers}, tied_ranges(plan, ranges), images)
    corrected = copy_model(model)
    for node in layers:
        true, rounded = means[node.input[0]]
        integers, scale = (written.constant(f"{node.name}.weight.{what}") for what in ("q", "scale"))
        exact = by_channel(view.constant(node.input[1]), node)
        coarse = by_channel(integers.astype(np.float64), node) * scale.astype(np.float64)[:, None]
        _add_to_bias(corrected, node.name, _mean_product(exact, true) - _mean_product(coarse, rounded))
    return corrected


def correct_bias(
    model: ModelProto,
    plan: QuantizationPlan,
    ranges: dict[str, Range],
    weights: WeightFormat,
    images: Sequence[Image],
) -> ModelProto:
    """Move each layer's bias so that its mean output is the float graph's, from input to output.

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
    by_name = {node.name: node for node in written.graph.node}
    segments = cut(written, [by_name[node.name].output[0] for node in layers])
    stored: list[dict[str, Bytes]] = [{INPUT_NAME: batch} for batch in images]
    corrected = copy_model(model)
    for node, segment in zip(layers, segments, strict=True):
        outputs = _run(SegmentRunner(written, segment), segment, stored)
        shift = expected[node.output[0]] - _mean(outputs)
        _add_to_bias(corrected, node.name, shift)
        for kept, value in zip(stored, outputs, strict=True):
            if segment.target in plan.rounded:
                to = ranges[segment.target]
                kept[f"{segment.target}.q"] = round_to(_moved(value, shift), to.scale, int(to.zero_point))
            for name in segment.spared:
                del kept[name]
    return corrected


def _run(runner: SegmentRunner, segment: Segment, stored: list[dict[str, Bytes]]) -> list[NDArray[np.float32]]:
    outputs: list[NDArray[np.float32]] = []
    for kept in stored:
        values = runner.run(kept)
        outputs.append(values[segment.target])
        kept.update({name: values[name] for name in segment.stores})
    return outputs


def by_channel(weight: NDArray[Any], node: NodeProto) -> NDArray[np.float64]:
    """Sum a layer's weights over the window: (outputs, inputs a group)."""
    if node.op_type == "Gemm" and not attribute(node, "transB", 0):
        weight = weight.T
    return np.asarray(weight.reshape(*weight.shape[:2], -1).sum(axis=2, dtype=np.float64))


def _mean_product(weight: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    groups = len(means) // weight.shape[1]
    grouped = weight.reshape(groups, -1, weight.shape[1])
    return np.asarray(np.einsum("goi,gi->go", grouped, means.reshape(groups, -1)).reshape(-1))


def _input_means(
    model: ModelProto, names: set[str], ranges: dict[str, Range], images: Sequence[Image]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Give the channel means of tensors, as they are and rounded."""
    probe = Probe(model, sorted(names))
    sums: dict[str, NDArray[np.float64]] = {}
    for batch in images:
        for name, value in probe.run(batch).items():
            rounded = _rounded(value, ranges[name]) if name in ranges else value
            both = np.stack([_channel_sums(value), _channel_sums(rounded)])
            sums[name] = sums.get(name, np.zeros(both.shape)) + both
    count = sum(len(batch) for batch in images)
    return {name: (total[0] / count, total[1] / count) for name, total in sums.items()}


def _rounded(value: NDArray[np.float32], to: Range) -> NDArray[np.float32]:
    steps = round_to(value, to.scale, int(to.zero_point)).astype(np.float32)
    return np.asarray((steps - np.float32(to.zero_point)) * to.scale)


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


def _moved(value: NDArray[np.float32], shift: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(value + shift.astype(np.float32).reshape(1, -1, *([1] * (value.ndim - 2))))


def _add_to_bias(model: ModelProto, name: str, shift: NDArray[np.float64]) -> None:
    node: NodeProto = next(one for one in model.graph.node if one.name == name)
    has_bias = len(node.input) > 2 and bool(node.input[2])
    old = GraphView(model).constant(node.input[2]) if has_bias else np.zeros(len(shift))
    bias = f"{name}.corrected_bias"
    set_constants(model, {bias: (old + shift).astype(np.float32)})
    node.input[:] = [*node.input[:2], bias]
