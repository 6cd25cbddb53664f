"""Where a model is weak: averages over classes, pairs taken for one another, calibration, groups of images.

`break_down` gives what goes beyond `evaluation`; numpy only, so a device can say it of itself.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dataset import LabelledImage
from .errors import InputError
from .evaluation import per_class
from .ranking import cluster_agreement, mean_class_precision, nearest_hits, retrieval_precision
from .rates import Rate, Reliability, rate, reliability
from .recognition import Recognition

# Pairs that are named, and photos of each.
_PAIRS, _EXAMPLES = 10, 3
_EMPTY = "(none)"


@dataclass(frozen=True, slots=True)
class Averages:
    """Over the classes that occur, rates from 0 to 1.

    Attributes:
        macro_precision: Each class counting the same; so are the next two.
        macro_recall: Likewise.
        macro_f1: Likewise.
        micro_f1: Each image counting the same: with one label an image precision, recall and F1 are all the top-1.
        average_precision: Mean area under each class's precision over recall, by the probabilities.
    """

    macro_precision: float
    macro_recall: float
    macro_f1: float
    micro_f1: float
    average_precision: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """A class taken for another: how often, and a few of the files, the surest mistake first."""

    truth: str
    answer: str
    count: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """The images that share a value of a column.

    Attributes:
        images: How many.
        top1: With its 95 % interval, of those whose label the classifier has; None where it has none.
        recall_at_1: Look-up by embedding against all other images; None where none has a second of its class.
        weak: Whether even the upper end of the interval of top-1 lies below the top-1 of all images.
    """

    images: int
    top1: Rate | None
    recall_at_1: Rate | None
    weak: bool


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What the embeddings of the images are worth by themselves.

    Attributes:
        mean_average_precision: Each image ranks all others; None where no class has two.
        nmi: Normalized mutual information of the labels and as many k-means clusters; None with one label.
    """

    mean_average_precision: float | None
    nmi: float | None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """What `break_down` found; the first four are None or empty where the classifier knows none of the labels.

    Attributes:
        confusion_matrix: Of each true label the answers given, with their images.
        groups: By column, by value, the weakest first.
    """

    averages: Averages | None
    calibration: Reliability | None
    confusions: tuple[Confusion, ...]
    confusion_matrix: dict[str, dict[str, int]]
    embeddings: Embeddings
    groups: dict[str, dict[str, GroupFigures]]


def check_columns(images: Sequence[LabelledImage], columns: Sequence[str]) -> None:
    """Make sure, before anything is measured, that images can be grouped by columns.

    Raises:
        InputError: No image has such a column.
    """
    for column in columns:
        if not any(column in image.metadata for image in images):
            there = sorted({name for image in images for name in image.metadata})
            raise InputError(f"the data have no column '{column}' to group by, only {', '.join(there) or 'none'}")


def break_down(
    answers: Sequence[Recognition], images: Sequence[LabelledImage], labels: Sequence[str], columns: Sequence[str] = ()
) -> Breakdown:
    """Look into the answers to labelled images.

    Args:
        answers: One an image.
        images: With the true labels, and the columns of their CSV.
        labels: The model's, in the order of its probabilities; empty for a model that only makes embeddings.
        columns: To group by.
    """
    index = {label: position for position, label in enumerate(labels)}
    rows = np.array([row for row, image in enumerate(images) if image.label in index], np.int64)
    truth = np.array([index[images[row].label] for row in rows], np.int64)
    embeddings = np.stack([answer.embedding for answer in answers])
    names = [image.label for image in images]
    right = np.full(len(images), -1, np.int64)
    averages, calibration = None, None
    confusions: tuple[Confusion, ...] = ()
    matrix: dict[str, dict[str, int]] = {}
    if len(rows):
        probabilities = np.stack([answers[row].probabilities for row in rows])
        said = probabilities.argmax(axis=1)
        right[rows] = said == truth
        averages = average_classes(probabilities, truth, labels)
        calibration = reliability(probabilities.max(axis=1), said == truth)
        matrix = {labels[one]: _answers(said[truth == one], labels) for one in np.unique(truth).tolist()}
        confusions = _confusions(probabilities, truth, [images[row] for row in rows], labels)
    found = nearest_hits(embeddings, names)
    groups = {column: _groups(column, images, right, found) for column in columns}
    pairs = Embeddings(retrieval_precision(embeddings, names), cluster_agreement(embeddings, names))
    return Breakdown(averages, calibration, confusions, matrix, pairs, groups)


def average_classes(probabilities: NDArray[np.float32], truth: NDArray[np.int64], labels: Sequence[str]) -> Averages:
    """Average over the classes that occur.

    Args:
        probabilities: (images, classes), in the order of the labels.
        truth: (images,), index of the true class.
        labels: The model's.
    """
    said = probabilities.argmax(axis=1)
    classes = per_class([labels[one] for one in said], [labels[one] for one in truth]).values()
    return Averages(
        float(np.mean([one.precision for one in classes])),
        float(np.mean([one.recall for one in classes])),
        float(np.mean([one.f1 for one in classes])),
        float((said == truth).mean()),
        mean_class_precision(probabilities, truth),
    )


def _confusions(
    probabilities: NDArray[np.float32],
    truth: NDArray[np.int64],
    images: Sequence[LabelledImage],
    labels: Sequence[str],
) -> tuple[Confusion, ...]:
    said, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = [int(row) for row in np.argsort(-sure, kind="stable") if said[row] != truth[row]]
    pairs = Counter((int(truth[row]), int(said[row])) for row in wrong)
    found = []
    for (true, answer), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:_PAIRS]:
        files = [str(images[row].path) for row in wrong if (truth[row], said[row]) == (true, answer)]
        found.append(Confusion(labels[true], labels[answer], count, tuple(files[:_EXAMPLES])))
    return tuple(found)


def _answers(said: NDArray[np.int64], labels: Sequence[str]) -> dict[str, int]:
    return {labels[answer]: count for answer, count in Counter(said.tolist()).most_common()}


def _groups(
    column: str, images: Sequence[LabelledImage], right: NDArray[np.int64], found: NDArray[np.int64]
) -> dict[str, GroupFigures]:
    values = np.array([image.metadata.get(column) or _EMPTY for image in images], object)
    overall = _rate_of(right)
    figures = {}
    for value in sorted(set(values)):
        members = values == value
        top1 = _rate_of(right[members])
        weak = top1 is not None and overall is not None and top1.high < overall.value
        figures[value] = GroupFigures(int(members.sum()), top1, _rate_of(found[members]), weak)
    return dict(sorted(figures.items(), key=lambda item: item[1].top1.value if item[1].top1 else 2))


def _rate_of(hits: NDArray[np.int64]) -> Rate | None:
    """Give the share of ones; -1 takes no part."""
    asked = hits[hits >= 0]
    return rate(asked == 1) if len(asked) else None
