"""Post-training quantization: a float graph and calibration photos become an int8 graph.

float graph -> fold the normalization -> plan -> observe ranges -> correct biases -> write QDQ -> count int8
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice

from onnx import ModelProto

from sightline.runtime.preprocess import Image, InputSpec
from sightline.runtime.reporter import QuietReporter, Reporter

from .calibration import CalibrationSet
from .fusion import Fusion, check_fusion, inspect_fusion
from .onnx_graph import serialize
from .photos import prepared
from .quantize_input import fold_normalization
from .quantize_plan import QuantizationPlan, make_plan
from .quantize_ranges import observe
from .quantize_repair import correct_bias
from .quantize_writer import WeightFormat, write_qdq

# Four photos of MobileNetV2 with all its inner tensors are 110 MB.
_BATCH = 4
# Bias correction averages over photos and places; its memory grows with the photos.
_REPAIR_BATCHES = 16


@dataclass(frozen=True, slots=True)
class QuantizationOptions:
    """How a model is quantized.

    Attributes:
        method: How ranges are found, see `quantize_ranges.METHODS`.
        weights: How weights are rounded.
        keep_float: Names of nodes that stay float.
        correct_bias: Whether biases take back the mean shift of rounding.
    """

    method: str = "mse"
    weights: WeightFormat = field(default_factory=WeightFormat)
    keep_float: Collection[str] = ()
    correct_bias: bool = True


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """An int8 graph with the proof that it runs in int8.

    Attributes:
        model: The graph.
        plan: What was made int8.
        fusion: What ONNX Runtime runs in integers.
    """

    model: ModelProto
    plan: QuantizationPlan
    fusion: Fusion


def quantize(
    model: ModelProto,
    calibration: CalibrationSet,
    spec: InputSpec,
    options: QuantizationOptions | None = None,
    reporter: Reporter | None = None,
) -> QuantizedModel:
    """Quantize a float graph.

    Args:
        model: The float graph; left as it is.
        calibration: The photos that ranges are measured on.
        spec: Size and crop.
        options: How.
        reporter: Where progress goes.

    Raises:
        InputError: The model's values are not finite.
        BundleError: A node that was meant to run in int8 does not in this ONNX Runtime.
    """
    options = options or QuantizationOptions()
    reporter = reporter or QuietReporter()
    paths = [image.path for image in calibration.images]
    folded = fold_normalization(model)
    plan = make_plan(folded, options.keep_float)
    passes = 1 if options.method == "minmax" else 2
    with reporter.task("calibrating", passes * len(paths)) as task:

        def batches() -> Iterator[Image]:
            for batch in prepared(paths, spec, _BATCH):
                task.advance(len(batch))
                yield batch

        ranges = observe(folded, batches, plan.rounded, options.method, plan.audible)
    repaired = folded
    if options.correct_bias:
        images = list(islice(prepared(paths, spec, _BATCH), _REPAIR_BATCHES))
        repaired = correct_bias(folded, plan, ranges, options.weights, images)
    written = write_qdq(repaired, plan, ranges, options.weights)
    fusion = inspect_fusion(serialize(written))
    weighted = plan.weighted(folded)
    convolutions = sum(node.op_type == "Conv" for node in weighted)
    every = sum(node.op_type == "Conv" for node in folded.graph.node)
    check_fusion(fusion, convolutions, len(weighted) - convolutions, every - convolutions)
    return QuantizedModel(written, plan, fusion)
