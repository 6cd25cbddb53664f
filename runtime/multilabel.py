"""Figures of answers where an image has any number of labels: per label, averaged, and for whole images. numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dataset import LabelledImage
from .evaluation import LatencyFigures, UnknownFigures, latency_figures
from .manifest import Manifest
from .ranking import average_precision, mean_label_precision
from .rates import area_under_curve
from .recognition import Recognition

_EMPTY = "(none)"


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Of one label, rates from 0 to 1.

    Attributes:
        images: How many have it.
        average_precision: Area under precision over recall, all thresholds; None where no image has it.
        precision: From the threshold on; 0 where nothing was called so.
        recall: Likewise; 0 where no image has it.
        f1: Likewise.
        threshold: The probability from which it counts.
    """

    images: int
    average_precision: float | None
    precision: float
    recall: float
    f1: float
    threshold: float


@dataclass(frozen=True, slots=True)
class LabelSets:
    """Of all labels, rates from 0 to 1.

    Attributes:
        images: How many.
        mean_average_precision: Over the labels that occur; None where none does.
        micro_f1: Of all yes and no together.
        macro_f1: The mean over the labels that occur.
        exact: Share of images given just their labels.
        per_label: In the order of the model's labels.
    """

    images: int
    mean_average_precision: float | None
    micro_f1: float
    macro_f1: float
    exact: float
    per_label: dict[str, LabelFigures]


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """The images that share a value of a column: how many, and their figures as of `LabelSets`."""

    images: int
    mean_average_precision: float | None
    micro_f1: float


@dataclass(frozen=True, slots=True)
class LabelEvaluation:
    """What `eval --json` prints of a multi-label bundle; rates from 0 to 1.

    Attributes:
        top1: Share of the images with a label whose first answer is one of theirs.
        top5: Share with one of theirs among the first five.
        per_class: See `LabelFigures`.
        unknown: Images without any label that the model has count as unknown.
        groups: By column, by value.
    """

    bundle_id: str
    variant: str
    images: int
    mean_average_precision: float | None
    micro_f1: float
    macro_f1: float
    exact: float
    top1: float
    top5: float
    per_class: dict[str, LabelFigures]
    unknown: UnknownFigures
    latency_ms: LatencyFigures
    groups: dict[str, dict[str, GroupFigures]]


def evaluate_labels(
    answers: Sequence[Recognition],
    images: Sequence[LabelledImage],
    manifest: Manifest,
    variant: str,
    columns: Sequence[str] = (),
) -> LabelEvaluation:
    """Join the figures of one run of a multi-label bundle.

    Args:
        answers: One answer an image.
        images: With all their labels; those that the model lacks are passed over.
        manifest: Of the bundle measured.
        variant: The variant measured.
        columns: To group by.
    """
    labels, thresholds = manifest.labels, manifest.decision.label_thresholds
    probabilities = np.stack([answer.probabilities for answer in answers])
    truth = np.array([[label in image.names for label in labels] for image in images], bool)
    whole = label_sets(probabilities, truth, thresholds, labels)
    groups: dict[str, dict[str, GroupFigures]] = {}
    for column in columns:
        values = np.array([image.metadata.get(column) or _EMPTY for image in images], object)
        groups[column] = {}
        for value in sorted(set(values)):
            part = label_sets(probabilities[values == value], truth[values == value], thresholds, labels)
            groups[column][value] = GroupFigures(part.images, part.mean_average_precision, part.micro_f1)
    return LabelEvaluation(
        bundle_id=manifest.bundle_id,
        variant=variant,
        images=len(images),
        mean_average_precision=whole.mean_average_precision,
        micro_f1=whole.micro_f1,
        macro_f1=whole.macro_f1,
        exact=whole.exact,
        top1=any_among(probabilities, truth, 1),
        top5=any_among(probabilities, truth, 5),
        per_class=whole.per_label,
        unknown=_unknown(probabilities, truth, np.asarray(thresholds, np.float32)),
        latency_ms=latency_figures(answers),
        groups=groups,
    )


def _unknown(
    probabilities: NDArray[np.float32], truth: NDArray[np.bool_], thresholds: NDArray[np.float32]
) -> UnknownFigures:
    said = probabilities >= thresholds
    known, accepted, right = (np.asarray(rows.any(axis=1), bool) for rows in (truth, said, said & truth))
    # From 1 on a label counts, whatever its threshold.
    score = (probabilities / np.maximum(thresholds, 1e-6)).max(axis=1).astype(np.float64)
    return UnknownFigures(
        known_images=int(known.sum()),
        unknown_images=int((~known).sum()),
        false_reject_rate=float((~accepted[known]).mean()) if known.any() else None,
        false_accept_rate=float(accepted[~known].mean()) if not known.all() else None,
        wrong_rate=float((accepted & ~right)[known].mean()) if known.any() else None,
        auc=area_under_curve(score[known], score[~known]),
    )


def label_sets(
    probabilities: NDArray[np.float32],
    truth: NDArray[np.bool_],
    thresholds: Sequence[float],
    labels: Sequence[str],
) -> LabelSets:
    """Measure answers.

    Args:
        probabilities: (images, labels).
        truth: (images, labels), whether an image has a label.
        thresholds: The probability from which each label counts.
        labels: Their names.
    """
    said = probabilities >= np.asarray(thresholds, np.float32)
    hits, claims, images = (said & truth).sum(0), said.sum(0), truth.sum(0)
    f1 = 2 * hits / np.maximum(claims + images, 1)
    occurs = images > 0
    figures = {
        label: LabelFigures(
            int(images[one]),
            average_precision(probabilities[:, one], truth[:, one]) if occurs[one] else None,
            float(hits[one] / max(claims[one], 1)),
            float(hits[one] / max(images[one], 1)),
            float(f1[one]),
            float(thresholds[one]),
        )
        for one, label in enumerate(labels)
    }
    return LabelSets(
        len(truth),
        mean_label_precision(probabilities, truth) if occurs.any() else None,
        float(2 * hits.sum() / max(claims.sum() + images.sum(), 1)),
        float(f1[occurs].mean()) if occurs.any() else 0.0,
        float((said == truth).all(axis=1).mean()),
        figures,
    )


def any_among(probabilities: NDArray[np.float32], truth: NDArray[np.bool_], k: int) -> float:
    """Share of the images with a label that have one among their k most probable; 0 where no image has any."""
    rows = truth.any(axis=1)
    best = np.argsort(-probabilities[rows], axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(truth[rows], best, axis=1).any(axis=1).mean()) if rows.any() else 0.0
