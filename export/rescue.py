"""Rescue: where int8 is expected to lose too much, the costliest layers stay in float until it is not.

The choice is made on photos that neither ranges were found on nor the gate judges on: the calibration photos held
out for trials and, of a training run, training photos beyond the calibration set. What is chosen is judged once, by
the gate, on the evaluation photos, so its figures are not flattered by having been chosen on them.
"""

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.dataset import LabelledImage
from sightline.runtime.reporter import Reporter

from .calibration import in_turn
from .data import class_indices
from .evaluate import run_variants
from .quantize import Quantizer
from .quantize_sensitivity import LayerSensitivity
from .source import ExportSource
from .targets import Target
from .variants import Built, build_half, build_variant

# How many of the costliest layers are tried in float, one number after the other.
_RESCUES = (1, 2, 4, 8)
_MOST_PHOTOS = 300


class Rescuer:
    """Makes the variants, and leaves the costliest layers of an int8 one in float where it loses too much.

    Attributes:
        ranking: The layers by their cost, once it was needed.
    """

    def __init__(
        self, quantizer: Quantizer, fp32: Built, source: ExportSource, max_drop: float, reporter: Reporter
    ) -> None:
        self.ranking: tuple[LayerSensitivity, ...] = ()
        self._quantizer = quantizer
        self._fp32 = fp32
        self._spec = source.spec
        self._max_drop = max_drop
        self._reporter = reporter
        self._photos = choosing_photos(source, quantizer)
        self._truth = np.asarray(class_indices(self._photos, source.labels), np.int64)
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
        if self._max_drop < 0 or not self._photos or self._drop(built) <= self._max_drop:
            return built
        assert target.weights is not None, f"{target.name} is not int8"
        self.ranking = self.ranking or self._quantizer.rank(target.weights)
        for count in _RESCUES:
            kept = [layer.node for layer in self.ranking[:count]]
            candidate = build_variant(target, self._quantizer, kept)
            drop = self._drop(candidate)
            self._reporter.say(
                f"{built.name} with {count} layers in float is expected to lose {drop:.2f} points, by "
                f"{len(self._photos)} photos that were held out"
            )
            if drop <= self._max_drop:
                return candidate
        return built

    def _drop(self, built: Built) -> float:
        if self._reference is None:
            self._reference = self._logits(self._fp32)
        return expected_drop(self._reference, self._logits(built), self._truth)

    def _logits(self, built: Built) -> NDArray[np.float32]:
        sessions = {built.name: built.session}
        outputs = run_variants(sessions, self._photos, self._spec, self._reporter, f"trying {built.name}")
        return outputs[built.name].logits


def choosing_photos(source: ExportSource, quantizer: Quantizer) -> list[LabelledImage]:
    """List the photos to choose on: held out of calibration, none of them judged on.

    Args:
        source: Its gallery is the training photos of a run, else the calibration photos.
        quantizer: Knows which calibration photos it held out.
    """
    held_out = set(quantizer.held_out_paths)
    seen = {image.path for image in source.calibration.images} - held_out
    photos = {image.path: image for image in (*source.calibration.images, *in_turn(source.gallery))}
    return [image for path, image in photos.items() if path not in seen and image.label in source.labels][:_MOST_PHOTOS]


def expected_drop(reference: NDArray[np.float32], candidate: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Estimate the loss of top-1, points, from fewer photos than counting would need.

    An answer is right where its margin, the truth's logit over the best other one, is positive. Every photo's
    margin is tried with every photo's change of margin: on n photos that counts n² answers instead of n, under
    the assumption that the changes do not depend on the margins.

    Args:
        reference: float32 (photos, classes), fp32's logits.
        candidate: float32 (photos, classes).
        truth: int64 (photos,).
    """
    before, after = margins(reference, truth), margins(candidate, truth)
    moved = before[:, None] + (after - before)[None, :]
    return 100 * float((before > 0).mean() - (moved > 0).mean())


def margins(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> NDArray[np.float32]:
    """Give the truth's logit over the best other one: float32 (photos,)."""
    rows = np.arange(len(truth))
    others = logits.copy()
    others[rows, truth] = -np.inf
    return np.asarray(logits[rows, truth] - others.max(axis=1), np.float32)
