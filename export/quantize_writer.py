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


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How weights are rounded: int8, symmetric, one scale for each output channel.

    Attributes:
        steps: The largest magnitude. 64 keeps the sum of two products of a byte and a weight within 16 bits
            (2 · 255 · 64 = 32,640), so that CPUs without VNNI cannot saturate; 127 uses the full range.
        depthwise_steps: That of depthwise convolutions, which every CPU sums in 32 bits (see `saturation`); `steps`
            where there is none.
    """

    steps: int = 64
    depthwise_steps: int | None = None

    def largest(self, node: NodeProto, shape: Sequence[int]) -> int:
        """Give the largest magnitude in one layer.

        Args:
            node: The layer.
            shape: Of its weight.
        """
        depthwise = node.op_type == "Conv" and shape[1] == 1 and attribute(node, "group", 1) == shape[0]
        return self.steps if self.depthwise_steps is None or not depthwise else self.depthwise_steps


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
    weight: NDArray[np.float32], axis: int, least_scale: NDArray[np.float64], steps: int
) -> QuantizedWeight:
    """Round a weight tensor, one scale for each output channel.

    Args:
        weight: float32, any shape.
        axis: The dimension of the output channels.
        least_scale: float64, one for each channel: scales are not made smaller than this.
        steps: The largest magnitude.
    """
    others = tuple(dim for dim in range(weight.ndim) if dim != axis)
    largest = np.abs(weight.astype(np.float64)).max(axis=others)
    scale = np.maximum(np.maximum(largest / steps, least_scale), 1e-12).astype(np.float32)
    shape = [1] * weight.ndim
    shape[axis] = -1
    values = np.clip(np.round(weight / scale.reshape(shape)), -steps, min(steps, 127))
    return QuantizedWeight(values.astype(np.int8), scale, axis)


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
        quantized = quantize_weight(weight, axis, least, self.weights.largest(node, weight.shape))
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
