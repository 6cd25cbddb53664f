"""Post-training quantization: a float graph and calibration photos become int8 graphs.

float graph -> fold the normalization -> plan -> observe -> choose ranges -> correct biases -> write QDQ -> count
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from onnx import ModelProto

from sightline.runtime.preprocess import Image, InputSpec
from sightline.runtime.reporter import QuietReporter, Reporter

from .calibration import CalibrationSet
from .fusion import Fusion, check_fusion, inspect_fusion
from .onnx_graph import serialize
from .photos import prepared
from .quantize_choose import Choice, choose_ranges
from .quantize_input import fold_normalization
from .quantize_plan import QuantizationPlan, make_plan
from .quantize_ranges import METHODS, Observation, observe
from .quantize_repair import correct_bias
from .quantize_sensitivity import LayerSensitivity, rank_layers, ranked_nodes
from .quantize_writer import WeightFormat, write_qdq

# Four photos of MobileNetV2 with all its inner tensors are 110 MB.
_BATCH = 4
# Every sixth calibration photo judges between methods, and a layer's cost is seen on half as many.
_HELD_OUT = 6
_RANKED_BATCHES = 6
# Bias correction averages over photos and places; its memory grows with the photos.
_REPAIR_BATCHES = 16


@dataclass(frozen=True, slots=True)
class QuantizationOptions:
    """How a model is quantized.

    Attributes:
        methods: The ways of finding ranges to try, see `quantize_ranges.METHODS`; the best is taken.
        correct_bias: Whether biases take back the mean shift of rounding.
    """

    methods: tuple[str, ...] = METHODS
    correct_bias: bool = True


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """An int8 graph with the proof that it runs in int8.

    Attributes:
        model: The graph.
        plan: What was made int8.
        choice: Its ranges, and which ways of finding them were tried.
        fusion: What ONNX Runtime runs in integers.
        kept_float: Names of nodes that were left in float on purpose.
    """

    model: ModelProto
    plan: QuantizationPlan
    choice: Choice
    fusion: Fusion
    kept_float: tuple[str, ...]


class Quantizer:
    """A float graph with what its tensors were seen to hold; makes int8 graphs of it.

    Calibration photos pass once for all targets and all repairs.
    """

    def __init__(
        self,
        model: ModelProto,
        calibration: CalibrationSet,
        spec: InputSpec,
        options: QuantizationOptions | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        """Observe the model on the calibration photos.

        Args:
            model: The float graph; left as it is.
            calibration: The photos.
            spec: Size and crop.
            options: How.
            reporter: Where progress goes.

        Raises:
            InputError: The model's values are not finite.
        """
        self.options = options or QuantizationOptions()
        self._reporter = reporter or QuietReporter()
        self._spec = spec
        self.folded = fold_normalization(model)
        self.plan = make_plan(self.folded)
        paths = [image.path for image in calibration.images]
        choosing = len(self.options.methods) > 1 and len(paths) >= 2 * _HELD_OUT
        held = paths[::_HELD_OUT] if choosing else []
        seen = [path for path in paths if path not in set(held)]
        self._held_out = list(prepared(held, spec, _BATCH))
        self._repair = list(islice(prepared(seen, spec, _BATCH), _REPAIR_BATCHES))
        with self._reporter.task("calibrating", 2 * len(seen)) as task:

            def batches() -> Iterator[Image]:
                for batch in prepared(seen, spec, _BATCH):
                    task.advance(len(batch))
                    yield batch

            self._observations: dict[str, Observation] = observe(
                self.folded, batches, self.plan.rounded, self.plan.audible
            )

    def make(self, weights: WeightFormat, keep_float: Collection[str] = ()) -> QuantizedModel:
        """Write one int8 graph.

        Args:
            weights: How weights are rounded.
            keep_float: Names of nodes that stay float.

        Raises:
            BundleError: A node that was meant to run in int8 does not in this ONNX Runtime.
        """
        plan = make_plan(self.folded, keep_float)
        choice = self._choose(plan, weights)
        repaired = self.folded
        if self.options.correct_bias:
            repaired = correct_bias(self.folded, plan, choice.ranges, weights, self._repair)
        written = write_qdq(repaired, plan, choice.ranges, weights)
        fusion = inspect_fusion(serialize(written))
        weighted = plan.weighted(self.folded)
        convolutions = sum(node.op_type == "Conv" for node in weighted)
        every = sum(node.op_type == "Conv" for node in self.folded.graph.node)
        check_fusion(fusion, convolutions, len(weighted) - convolutions, every - convolutions)
        return QuantizedModel(written, plan, choice, fusion, tuple(sorted(keep_float)))

    def rank(self, weights: WeightFormat) -> tuple[LayerSensitivity, ...]:
        """Rank the layers by what rounding each alone does to the logits, the costliest first."""
        choice = self._choose(self.plan, weights)
        images = self._repair[:_RANKED_BATCHES]
        with self._reporter.task("ranking layers", len(ranked_nodes(self.folded, self.plan))) as task:
            advance: Callable[[], None] = task.advance
            return rank_layers(self.folded, self.plan, choice.ranges, weights, images, advance)

    def _choose(self, plan: QuantizationPlan, weights: WeightFormat) -> Choice:
        observations = {name: seen for name, seen in self._observations.items() if name in plan.rounded}
        return choose_ranges(self.folded, plan, observations, weights, self._held_out, self.options.methods)


def quantize(
    model: ModelProto,
    calibration: CalibrationSet,
    spec: InputSpec,
    options: QuantizationOptions | None = None,
    weights: WeightFormat | None = None,
) -> QuantizedModel:
    """Quantize a float graph in one go; see `Quantizer`."""
    return Quantizer(model, calibration, spec, options).make(weights or WeightFormat())
