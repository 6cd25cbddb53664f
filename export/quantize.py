"""Post-training quantization: a float graph and calibration photos become int8 graphs.

float graph -> fold the normalization -> plan -> observe -> (equalize, observe) -> choose form and ranges
            -> choose how biases are corrected -> (train) -> write QDQ -> read blocks of pixels -> count
"""

import gc
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from onnx import ModelProto

from sightline.runtime.preprocess import Image, InputSpec
from sightline.runtime.reporter import QuietReporter, Reporter

from .calibration import CalibrationSet
from .fusion import Fusion, check_fusion, inspect_fusion
from .onnx_graph import serialize
from .onnx_view import GraphView
from .photos import prepared
from .qat import Schedule, Trained, train_quantized
from .qat_graph import check_trainable
from .quantize_additions import settle_additions
from .quantize_choose import (
    EQUALIZED,
    PLAIN,
    TRAINED,
    UNREPAIRED,
    Choice,
    Form,
    Mended,
    MethodTrial,
    choose_ranges,
    choose_repair,
    held_out_error,
)
from .quantize_equalize import equalize, find_pairs
from .quantize_gates import choose_gates
from .quantize_input import fold_normalization
from .quantize_plan import QuantizationPlan, make_plan
from .quantize_ranges import METHODS, Observation, observe
from .quantize_sensitivity import LayerSensitivity, layer_name, rank_layers, ranked_nodes
from .quantize_writer import WeightFormat, write_qdq
from .space_to_depth import read_blocks

_BATCH = 4
# Ranges need all inner tensors at once: 90 MB for one photo of ResNet-50.
_OBSERVED_BATCH = 1
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
        correct_bias: Whether biases may take back the mean shift of rounding.
        equalize: Whether channels may be evened out between layers of depthwise nets.
        integer_gates: Whether hard-swish may run in integers where that is hardly less exact; see `quantize_gates`.
        train: How long the int8 form is trained, where it is; see `qat`.
    """

    methods: tuple[str, ...] = METHODS
    correct_bias: bool = True
    equalize: bool = True
    integer_gates: bool = True
    train: Schedule | None = None


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """An int8 graph with the proof that it runs in int8.

    Attributes:
        model: The graph.
        plan: What was made int8.
        choice: Its ranges, and which ways of finding them were tried.
        fusion: What ONNX Runtime runs in integers.
        kept_float: Names of nodes that were left in float on purpose.
        repairs: Ways of mending it that were tried on held-out calibration photos, the chosen one first.
        names: What its int8 layers are called in the torch model, by the node's name.
    """

    model: ModelProto
    plan: QuantizationPlan
    choice: Choice
    fusion: Fusion
    kept_float: tuple[str, ...]
    repairs: tuple[MethodTrial, ...] = ()
    names: dict[str, str] = field(default_factory=dict)


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
        photos: Sequence[Path] = (),
    ) -> None:
        """Observe the model on the calibration photos.

        Args:
            model: The float graph; left as it is.
            calibration: The photos.
            spec: Size and crop.
            options: How.
            reporter: Where progress goes.
            photos: What `options.train` trains on; the calibration photos where there are none.

        Raises:
            InputError: The model's values are not finite, or it is to be trained and an operator cannot be.
        """
        # torch's exporter leaves what only the collector finds: 79 MB for ResNet-50.
        gc.collect()
        self.options = options or QuantizationOptions()
        self._reporter = reporter or QuietReporter()
        self._spec = spec
        self.folded = fold_normalization(model)
        # Before the photos pass: calibration takes minutes.
        if self.options.train is not None:
            check_trainable(self.folded)
        self.plan = make_plan(self.folded)
        paths = [image.path for image in calibration.images]
        choosing = len(paths) >= 2 * _HELD_OUT
        self.held_out_paths = tuple(paths[::_HELD_OUT]) if choosing else ()
        self._seen = [path for path in paths if path not in set(self.held_out_paths)]
        self._held_out = list(prepared(self.held_out_paths, spec, _BATCH))
        self._repair = list(islice(prepared(self._seen, spec, _BATCH), _REPAIR_BATCHES))
        held = set(self.held_out_paths)
        self._training = [path for path in photos or self._seen if path not in held]
        self._trained: dict[WeightFormat, Trained] = {}
        self._choices: dict[WeightFormat, Choice] = {}
        self._forms = [Form(PLAIN, self.folded, self._observe(self.folded, self.plan.rounded))]
        pairs = find_pairs(self.folded) if self.options.equalize and choosing else ()
        if pairs:
            evened = equalize(self.folded, pairs, self._repair)
            changed = self._observe(evened, tuple(pair.tensor for pair in pairs))
            self._forms.append(Form(EQUALIZED, evened, {**self._forms[0].observations, **changed}))

    @property
    def training_paths(self) -> frozenset[Path]:
        """The photos that int8 is trained on; none where it is not."""
        return frozenset(self._training if self.options.train is not None else ())

    @property
    def largest_activation(self) -> float:
        """The largest magnitude that any observed tensor of the float graph reached."""
        seen = [observation.seen for observation in self._forms[0].observations.values()]
        return max((max(-one.low, one.high) for one in seen), default=0.0)

    def make(self, weights: WeightFormat, keep_float: Collection[str] = ()) -> QuantizedModel:
        """Write one int8 graph.

        Args:
            weights: How weights are rounded.
            keep_float: Names of nodes that stay float.

        Raises:
            BundleError: A node that was meant to run in int8 does not in this ONNX Runtime.
        """
        plan = make_plan(self.folded, keep_float)
        choice = self._choose(weights)
        mended = Mended(choice.model, choice.ranges, ())
        if self.options.correct_bias:
            mended = choose_repair(choice, plan, weights, self._repair, self._held_out, self.folded)
        if self.options.train is not None:
            mended = self._train(self.options.train, mended, weights, plan)
        written = write_qdq(mended.model, plan, mended.ranges, weights)
        if self.options.integer_gates:
            written = choose_gates(written, self.folded, self._held_out or self._repair[:2], self._reporter)
        written = read_blocks(written)
        fusion = self._proven(written, plan)
        return QuantizedModel(
            written, plan, choice, fusion, tuple(sorted(keep_float)), mended.trials, self._names(plan)
        )

    def _train(self, schedule: Schedule, mended: Mended, weights: WeightFormat, plan: QuantizationPlan) -> Mended:
        """Train once for each weight format, and keep the result where held-out photos say it is better.

        A rescue's attempts take what was trained with every layer in int8; each judges it anew in its own form.
        """
        if weights not in self._trained:
            self._trained[weights] = train_quantized(
                mended.model,
                plan,
                mended.ranges,
                weights,
                self._training,
                self._spec,
                schedule,
                self.folded,
                self._reporter,
            )
        learned = self._trained[weights]
        if not np.isfinite(learned.last_loss):
            return mended
        trained = Mended(learned.model, settle_additions(learned.model, plan, learned.ranges), ())
        if not self._held_out:
            return trained
        forms = {mended.trials[0].method if mended.trials else UNREPAIRED: mended, TRAINED: trained}
        errors = [
            MethodTrial(name, held_out_error(self.folded, one.model, plan, one.ranges, weights, self._held_out))
            for name, one in forms.items()
        ]
        best = min(errors, key=lambda trial: trial.error)
        trials = sorted([*(mended.trials or errors[:1]), errors[1]], key=lambda trial: trial.error)
        return Mended(forms[best.method].model, forms[best.method].ranges, tuple(trials))

    def rank(self, weights: WeightFormat) -> tuple[LayerSensitivity, ...]:
        """Rank the layers by what rounding each alone does to the logits, the costliest first."""
        choice = self._choose(weights)
        images = self._repair[:_RANKED_BATCHES]
        with self._reporter.task("ranking layers", len(ranked_nodes(self.folded, self.plan))) as task:
            advance: Callable[[], None] = task.advance
            return rank_layers(choice.model, self.plan, choice.ranges, weights, images, advance)

    def _choose(self, weights: WeightFormat) -> Choice:
        if weights not in self._choices:
            methods = self.options.methods
            self._choices[weights] = choose_ranges(self._forms, self.plan, weights, self._held_out, methods)
        return self._choices[weights]

    def _names(self, plan: QuantizationPlan) -> dict[str, str]:
        view = GraphView(self.folded)
        return {node.name: layer_name(view, node) for node in plan.weighted(self.folded)}

    def _proven(self, written: ModelProto, plan: QuantizationPlan) -> Fusion:
        fusion = inspect_fusion(serialize(written))
        weighted = plan.weighted(self.folded)
        convolutions = sum(node.op_type == "Conv" for node in weighted)
        every = sum(node.op_type == "Conv" for node in self.folded.graph.node)
        check_fusion(fusion, convolutions, len(weighted) - convolutions, every - convolutions)
        return fusion

    def _observe(self, model: ModelProto, tensors: tuple[str, ...]) -> dict[str, Observation]:
        with self._reporter.task("calibrating", 2 * len(self._seen)) as task:

            def batches() -> Iterator[Image]:
                for batch in prepared(self._seen, self._spec, _OBSERVED_BATCH):
                    task.advance(len(batch))
                    yield batch

            return observe(model, batches, tensors, self.plan.audible)


def quantize(
    model: ModelProto,
    calibration: CalibrationSet,
    spec: InputSpec,
    options: QuantizationOptions | None = None,
    weights: WeightFormat | None = None,
) -> QuantizedModel:
    """Quantize a float graph in one go; see `Quantizer`."""
    return Quantizer(model, calibration, spec, options).make(weights or WeightFormat())
