"""What a classifier gets right: top-1, top-5, and precision, recall and F1 of every class."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class; rates from 0 to 1, 0 where nothing was predicted or present."""

    label: str
    images: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """A classifier on labelled photos.

    Attributes:
        images: How many photos.
        top1: Share whose first answer is right.
        top5: Share with the right one among the first five answers.
        macro_f1: Mean F1 of the classes that occur in the photos.
        per_class: Every class, in the order of the labels.
    """

    images: int
    top1: float
    top5: float
    macro_f1: float
    per_class: tuple[ClassMetrics, ...]


def measure(logits: NDArray[np.float32], targets: NDArray[np.int64], labels: Sequence[str]) -> Metrics:
    """Compare logits [photos, classes] with the right classes [photos]."""
    order = np.argsort(-logits, axis=1, kind="stable")
    known = range(len(labels))
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, order[:, 0], labels=known, zero_division=0.0
    )
    rows = zip(labels, support, precision, recall, f1, strict=True)
    per_class = tuple(ClassMetrics(label, int(count), float(p), float(r), float(f)) for label, count, p, r, f in rows)
    return Metrics(
        len(targets),
        float(np.mean(order[:, 0] == targets)),
        float(np.mean((order[:, :5] == targets[:, None]).any(1))),
        float(np.mean([one.f1 for one in per_class if one.images])),
        per_class,
    )


def confusions(logits: NDArray[np.float32], targets: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Count the photos of each class (row) that were given each class (column): int64 [classes, classes]."""
    counts: NDArray[np.int64] = confusion_matrix(targets, logits.argmax(1), labels=range(classes))
    return counts


def per_class_csv(metrics: Metrics) -> bytes:
    """Give the classes as CSV, one a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("label", "images", "precision", "recall", "f1"))
    for one in metrics.per_class:
        rates = (one.precision, one.recall, one.f1)
        writer.writerow((one.label, one.images, *(f"{rate:.4f}" for rate in rates)))
    return text.getvalue().encode()
