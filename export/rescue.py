"""Rescue: where int8 is expected to lose too much, its costliest layers stay in float until it is no longer.

The choice is made on photos that neither ranges were found on, nor a net was trained on, nor the gate judges on. Of a
training run they are a part of those it set apart: on training photos a net is so sure that int8 seems to lose nothing.
Of ready weights they are the calibration photos held out for trials. What is chosen is judged by the gate, on the
evaluation photos, so its figures are not flattered by having been chosen on them. Only where the gate refuses it is the
next form tried on the same photos, and the bundle says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.dataset import LabelledImage
from sightline.runtime.errors import BundleError
from sightline.runtime.reporter import Reporter

from .calibration import in_turn
from .evaluate import Rate, accuracy, run_variants
from .figures import VariantFigures
from .gate import keeps_accuracy
from .losses import Targets
from .quantize import Quantizer
from .quantize_sensitivity import LayerSensitivity
from .quantize_writer import WeightFormat
from .source import ExportSource
from .stage import photo_targets
from .targets import Target
from .variants import Built, build_half, build_variant

# How many of the costliest layers are tried in float, one number after the other.
_RESCUES = (1, 2, 4, 8)
_MOST_PHOTOS = 300


@dataclass(frozen=True, slots=True)
class Drop:
    """A loss of top-1 as some photos foretell it, points, and its standard error."""

    points: float
    error: float

    def exceeds(self, limit: float) -> bool:
        """Whether it is beyond a limit by more than its standard error."""
        return self.points - self.error > limit


class Rescuer:
    """Makes the variants, and leaves the costliest layers of an int8 one in float where it loses too much.

    Attributes:
        max_drop: The loss of top-1 that is allowed, points.
        rankings: The layers by their cost, for each form of the weights that needed them.
        photos: What the layers are chosen by.
    """

    def __init__(
        self, quantizer: Quantizer, fp32: Built, source: ExportSource, max_drop: float, reporter: Reporter
    ) -> None:
        self.rankings: dict[WeightFormat, tuple[LayerSensitivity, ...]] = {}
        self._quantizer = quantizer
        self._fp32 = fp32
        self._spec = source.spec
        self.max_drop = max_drop
        self._reporter = reporter
        self.photos = choosing_photos(source, quantizer)
        self._truth = photo_targets(self.photos, source.labels, source.task)
        self._reference: NDArray[np.float32] | None = None

    def build(self, target: Target, rescue: bool = True) -> Built:
        """Make the variant for one target; an int8 one is rescued where that is wanted.

        Raises:
            BundleError: A node that was meant to run in int8 does not, or fp16 cannot hold the net's values.
        """
        if target.weights is None:
            return build_half(target, self._fp32, self._quantizer)
        built = build_variant(target, self._quantizer)
        return self.rescue(target, built) if rescue else built

    def rescue(self, target: Target, built: Built) -> Built:
        """Give the first form of the variant that is expected to keep its accuracy, or the one built."""
        # Float layers can at best give fp32's answers, so a gain that is asked for cannot be reached by them.
        if self.max_drop < 0 or not self.photos or not self._drop(built).exceeds(self.max_drop):
            return built
        assert target.weights is not None, f"{target.name} is not int8"
        ranking = self.rank(target.weights)
        # With all of them in float nothing would be left of int8.
        for count in (one for one in _RESCUES if one < len(ranking)):
            kept = [layer.node for layer in ranking[:count]]
            candidate = build_variant(target, self._quantizer, kept)
            drop = self._drop(candidate)
            self._reporter.say(
                f"{built.name} with {count} layers in float is expected to lose {drop.points:.2f} points, give or take "
                f"{drop.error:.2f}, by {len(self.photos)} photos held out for this choice"
            )
            if not drop.exceeds(self.max_drop):
                return candidate
        return built

    def forms(self, target: Target, built: Built) -> Iterator[Built]:
        """Make what is left to try where the gate refuses a variant's accuracy: each with more layers in float."""
        if self.max_drop < 0 or target.weights is None or built.quantized is None:
            return
        ranking, kept = self.rank(target.weights), len(built.quantized.kept_float)
        for count in (one for one in _RESCUES if kept < one < len(ranking)):
            try:
                yield build_variant(target, self._quantizer, [layer.node for layer in ranking[:count]])
            except BundleError as error:
                self._reporter.say(f"{built.name} with {count} layers in float cannot be made: {error}")

    def rank(self, weights: WeightFormat) -> tuple[LayerSensitivity, ...]:
        """Rank the layers with weights of one form, once; see `Quantizer.rank`."""
        if weights not in self.rankings:
            self.rankings[weights] = self._quantizer.rank(weights)
        return self.rankings[weights]

    def _drop(self, built: Built) -> Drop:
        if self._reference is None:
            self._reference = self._logits(self._fp32)
        return expected_drop(self._reference, self._logits(built), self._truth)

    def _logits(self, built: Built) -> NDArray[np.float32]:
        sessions = {built.name: built.session}
        outputs = run_variants(sessions, self.photos, self._spec, self._reporter, f"trying {built.name}")
        return outputs[built.name].logits


def rescue_refused(
    built: list[Built],
    targets: Sequence[Target],
    figures: Sequence[VariantFigures],
    source: ExportSource,
    rescuer: Rescuer,
    reporter: Reporter,
) -> list[str]:
    """Put forms with more layers in float in the place of variants that the gate would refuse for their accuracy.

    Args:
        built: fp32 and the variant of each target; changed in place.
        targets: What they were made for.
        figures: What was measured of them.
        source: The evaluation photos.
        rescuer: Makes the forms.
        reporter: Where progress goes.

    Returns:
        A sentence for each variant that was replaced: how many forms were held against the same photos.
    """
    truth = photo_targets(source.evaluation, source.labels, source.task)
    remarks: list[str] = []
    for place, target in enumerate(targets, 1):
        before = built[place]
        if keeps_accuracy(_drop(figures[0].top1, figures[place].top1), rescuer.max_drop):
            continue
        for tried, form in enumerate(rescuer.forms(target, before), 2):
            outputs = run_variants({form.name: form.session}, source.evaluation, source.spec, reporter)
            if keeps_accuracy(_drop(figures[0].top1, accuracy(outputs[form.name].logits, truth)), rescuer.max_drop):
                built[place] = form
                remarks.append(_remark(form, tried))
                break
    return remarks


def _drop(reference: Rate, candidate: Rate) -> float:
    return 100 * (reference.value - candidate.value)


def _remark(form: Built, tried: int) -> str:
    assert form.quantized is not None, f"{form.name} is not int8"
    count = len(form.quantized.kept_float)
    layers = "1 layer" if count == 1 else f"{count} layers"
    return (
        f"{form.name} keeps {layers} in float, as the gate refused it with fewer; {tried} forms were held against the "
        f"same photos, so its accuracy looks a little better than it is"
    )


def choosing_photos(source: ExportSource, quantizer: Quantizer) -> list[LabelledImage]:
    """List the photos to choose on: none of them calibrated, trained or judged on.

    Args:
        source: Names them, or has nothing that was trained on.
        quantizer: Knows which calibration photos it held out, and what it trains int8 on.
    """
    if source.choosing is not None:
        photos = list(source.choosing)
    else:
        seen = {image.path for image in source.calibration.images} - set(quantizer.held_out_paths)
        seen |= quantizer.training_paths
        every = {image.path: image for image in (*source.calibration.images, *in_turn(source.gallery))}
        photos = [image for path, image in every.items() if path not in seen]
    return [image for image in photos if set(image.names) <= set(source.labels)][:_MOST_PHOTOS]


def expected_drop(reference: NDArray[np.float32], candidate: NDArray[np.float32], truth: Targets) -> Drop:
    """Estimate the loss of top-1 from fewer photos than counting would need.

    Each photo counts as right by the odds of its truth against the best other answer, not by which is larger, so
    that photos near the border count by how near they came. On 50 photos of MobileNetV2 the standard deviation is
    0.4 to 0.5 points where that of counting is 1.5 to 1.7; over 700 photos it says 0.65 where counting says 0.43.

    Args:
        reference: float32 (photos, classes), fp32's logits.
        candidate: float32 (photos, classes).
        truth: int64 (photos,); float32 (photos, labels) where a photo has several, each yes and no of which counts.
    """
    before, after = (1 / (1 + np.exp(-margins(one, truth).astype(np.float64))) for one in (reference, candidate))
    lost = 100 * (before - after)
    return Drop(float(lost.mean()), float(lost.std() / lost.size**0.5))


def margins(logits: NDArray[np.float32], truth: Targets) -> NDArray[np.float32]:
    """Give the truth's logit over the best other one: float32 (photos,); of several labels each one's own."""
    if truth.ndim == 2:
        return np.asarray(np.where(truth > 0.5, logits, -logits), np.float32)
    rows = np.arange(len(truth))
    others = logits.copy()
    others[rows, truth] = -np.inf
    return np.asarray(logits[rows, truth] - others.max(axis=1), np.float32)
