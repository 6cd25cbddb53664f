"""The one writer of int8 graphs: a float graph, a plan and ranges become standard ONNX QDQ.

It does not ask where the ranges come from: calibration and quantization-aware training feed the same writer.
Around an int8 node the file says, in operators every runtime knows,

    x -> QuantizeLinear -> DequantizeLinear -> Conv(DequantizeLinear(int8 weight), DequantizeLinear(int32 bias))

and ONNX Runtime fuses each such group into one integer operator.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from .onnx_graph import remove_dead, replace_nodes
from .onnx_view import GraphView, attribute, copy_model, set_constants
from .quantize_plan import WEIGHTED, QuantizationPlan
from .quantize_ranges import Range

SUM_OF_TWO = 128
# Two values that together reach the most exactly round to no more: only where both end in a half would both go up, and
# numpy rounds such to even numbers, one up and one down. This much more keeps float32's own rounding away from it.
ABOVE_ROUNDING = 1 + 2**-20


@dataclass(frozen=True, slots=True)
class Steps:
    """How large the integers of one layer's weights may become.

    Attributes:
        most: The largest magnitude.
        most_of_two: The largest magnitude that two neighbouring inputs of one sign have together, neighbours being 0
            and 1, 2 and 3 and so on; None where they may have any.
    """

    most: int
    most_of_two: int | None = None


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How weights are rounded: int8, symmetric, one scale for each output channel.

    Attributes:
        steps: The largest magnitude.
        unsaturated: Whether no CPU may cut a sum off. Without VNNI the sum of two neighbouring products of a byte and
            a weight has 16 bits, which hold it while two weights of one sign have 128 together (255 · 128 = 32,640).
    """

    steps: int = 64
    unsaturated: bool = False

    def steps_of(self, node: NodeProto, shape: Sequence[int]) -> Steps:
        """Give the largest magnitudes in one layer.

        Args:
            node: The layer.
            shape: Of its weight.
        """
        if not self.unsaturated:
            return Steps(self.steps)
        if node.op_type == "Conv" and shape[1] == 1 and attribute(node, "group", 1) == shape[0]:
            return Steps(self.steps)  # every CPU sums a depthwise convolution in 32 bits, see `saturation`
        if all(side == 1 for side in shape[2:]):
            return Steps(self.steps, SUM_OF_TWO)
        # In a larger window each kernel, and `space_to_depth`, has its own order: no two weights may be too much.
        return Steps(min(self.steps, SUM_OF_TWO // 2))


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A weight tensor in integers.

    Attributes:
        values: int8, the shape of the float weight.
        scale: float32, one for each output channel.
        axis: The dimension of the output channels.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    axis: int


def write_qdq(
    model: ModelProto, plan: QuantizationPlan, ranges: dict[str, Range], weights: WeightFormat | None = None
) -> ModelProto:
    """Write the int8 form of a float graph.

    Args:
        model: The float graph that the plan was made for.
        plan: What becomes int8.
        ranges: The range of every tensor of `plan.rounded`.
        weights: How weights are rounded.

    Returns:
        A new model; the same arguments always give the same bytes.
    """
    return _Writer(model, plan, ranges, weights or WeightFormat()).write()


def tied_ranges(plan: QuantizationPlan, ranges: dict[str, Range]) -> dict[str, Range]:
    """Give the ranges as they are written: what only moves another tensor's values has that one's."""
    tied = dict(ranges)
    for name, source in plan.same_range.items():
        if name in plan.rounded:
            tied[name] = tied[source]
    return tied


def quantize_weight(
    weight: NDArray[np.float32], axis: int, least_scale: NDArray[np.float64], steps: Steps
) -> QuantizedWeight:
    """Round a weight tensor, one scale for each output channel.

    Args:
        weight: float32, any shape; shape (outputs, inputs, 1, 1), or two dimensions, where `steps` minds two.
        axis: The dimension of the output channels.
        least_scale: float64, one for each channel: scales are not made smaller than this.
        steps: The largest magnitudes.
    """
    rows = np.moveaxis(weight.astype(np.float64), axis, 0).reshape(weight.shape[axis], -1)
    scale = np.abs(rows).max(axis=1) / steps.most
    if steps.most_of_two is not None:
        scale = np.maximum(scale, largest_of_two(rows) / steps.most_of_two * ABOVE_ROUNDING)
    scale = np.maximum(np.maximum(scale, least_scale), 1e-12).astype(np.float32)
    shape = [1] * weight.ndim
    shape[axis] = -1
    values = np.clip(np.round(weight / scale.reshape(shape)), -steps.most, min(steps.most, 127))
    return QuantizedWeight(values.astype(np.int8), scale, axis)


def largest_of_two(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the largest magnitude that neighbouring values of one sign have together: (rows, inputs) to (rows,)."""
    padded = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    pairs = padded.reshape(len(rows), -1, 2)
    above, below = np.maximum(pairs, 0).sum(axis=2), np.minimum(pairs, 0).sum(axis=2)
    return np.asarray(np.maximum(above, -below).max(axis=1))


class _Writer:
    def __init__(
        self, model: ModelProto, plan: QuantizationPlan, ranges: dict[str, Range], weights: WeightFormat
    ) -> None:
        self.model = copy_model(model)
        self.view = GraphView(self.model)
        self.plan = plan
        self.weights = weights
        self.ranges = tied_ranges(plan, ranges)
        # The tensor that an int8 node writes when the Relu behind it is absorbed.
        self.renamed = {node.input[0]: node.output[0] for node in self.view.nodes if node.name in plan.absorbed}
        self.constants: dict[str, NDArray[np.generic]] = {}

    def write(self) -> ModelProto:
        graph_inputs = [value.name for value in self.model.graph.input]
        nodes = [made for name in graph_inputs for made in self._round(name)]
        for node in self.view.nodes:
            if node.name not in self.plan.absorbed:
                nodes.extend(self._write(node))
        replace_nodes(self.model, nodes)
        set_constants(self.model, self.constants)
        del self.model.graph.value_info[:]
        remove_dead(self.model)
        return self.model

    def _write(self, node: NodeProto) -> Iterator[NodeProto]:
        written = NodeProto()
        written.CopyFrom(node)
        int8 = node.name in self.plan.int8
        for index, name in enumerate(node.input):
            written.input[index] = self._source(name, int8)
        if not int8 and node.op_type in WEIGHTED and self._reads_integers(node):
            yield self._guard(written)
        written.output[:] = [self.renamed.get(name, name) for name in node.output]
        if int8 and node.op_type in WEIGHTED:
            yield from self._integer_weights(node, written)
        yield written
        for name in written.output:
            yield from self._round(name)

    def _source(self, name: str, int8_reader: bool) -> str:
        if name not in self.plan.rounded:
            return name
        producer = self.view.producer.get(name)
        made_in_int8 = producer is not None and (producer.name in self.plan.int8 or producer.name in self.plan.absorbed)
        # A float node behind a float node takes the exact values; behind an int8 node only rounded ones exist.
        return f"{name}.dq" if int8_reader or made_in_int8 else name

    def _reads_integers(self, node: NodeProto) -> bool:
        producer = self.view.producer.get(node.input[0])
        pixels = producer is not None and producer.op_type == "DequantizeLinear"
        return pixels or self._source(node.input[0], int8_reader=False) != node.input[0]

    def _guard(self, written: NodeProto) -> NodeProto:
        # ONNX Runtime 1.31 quantizes the weights of a float convolution by itself (per tensor, from their extremes)
        # where it finds it between Dequantize and Quantize. A bound that nothing reaches keeps it in float.
        bounds = [f"{written.name}.{end}" for end in ("lowest", "highest")]
        limits = np.finfo(np.float32)
        self.constants.update(zip(bounds, (np.asarray(limits.min), np.asarray(limits.max)), strict=True))
        source, written.input[0] = written.input[0], f"{written.name}.guarded"
        return helper.make_node("Clip", [source, *bounds], [written.input[0]], name=f"{written.name}.guard")

    def _round(self, name: str) -> Iterator[NodeProto]:
        if name not in self.plan.rounded:
            return
        scale, zero = f"{name}.scale", f"{name}.zero_point"
        self.constants[scale] = np.asarray(self.ranges[name].scale)
        self.constants[zero] = np.asarray(self.ranges[name].zero_point)
        yield helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}.q"], name=f"{name}.quantize")
        yield helper.make_node(
            "DequantizeLinear", [f"{name}.q", scale, zero], [f"{name}.dq"], name=f"{name}.dequantize"
        )

    def _integer_weights(self, node: NodeProto, written: NodeProto) -> Iterator[NodeProto]:
        axis = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
        weight = self.view.constant(node.input[1])
        input_scale = float(self._scale_of(node.input[0]))
        bias = self.view.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        least = np.zeros(weight.shape[axis])
        if bias is not None:
            # A channel of almost no weight would need a bias beyond 32 bits.
            least = np.abs(bias.astype(np.float64)) / (input_scale * (2**31 - 2**8))
        quantized = quantize_weight(weight, axis, least, self.weights.steps_of(node, weight.shape))
        name = f"{node.name}.weight"
        self.constants[f"{name}.zero_point"] = np.zeros(quantized.scale.shape, np.int8)
        yield self._dequantize_constant(name, quantized.values, quantized.scale, axis)
        written.input[1] = f"{name}.dq"
        if bias is not None:
            scale = (quantized.scale.astype(np.float64) * input_scale).astype(np.float32)
            steps = np.round(bias.astype(np.float64) / scale).astype(np.int32)
            self.constants[f"{node.name}.bias.zero_point"] = np.zeros(scale.shape, np.int32)
            yield self._dequantize_constant(f"{node.name}.bias", steps, scale, 0)
            written.input[2] = f"{node.name}.bias.dq"

    def _dequantize_constant(
        self, name: str, values: NDArray[np.generic], scale: NDArray[np.float32], axis: int
    ) -> NodeProto:
        self.constants[f"{name}.q"] = values
        self.constants[f"{name}.scale"] = scale
        inputs = [f"{name}.q", f"{name}.scale", f"{name}.zero_point"]
        return helper.make_node("DequantizeLinear", inputs, [f"{name}.dq"], name=f"{name}.dequantize", axis=axis)

    def _scale_of(self, name: str) -> np.float32:
        if name in self.ranges and name in self.plan.rounded:
            return self.ranges[name].scale
        producer = self.view.producer[name]
        assert producer.op_type == "DequantizeLinear", f"{name} is not rounded"
        return np.float32(self.view.constant(producer.input[1]))
