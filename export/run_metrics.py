"""The figures of a finished run: `metrics.json`, `per_class.csv` and, of single labels, `confusion.png`."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.durable import write_file
from sightline.runtime.multilabel import LabelSets, any_among, label_sets
from sightline.runtime.recognition import sigmoid

from .losses import Targets
from .metrics import Metrics, confusions, measure, per_class_csv
from .plots import plot_confusions
from .run import write_json

# Where a label counts before thresholds are fitted.
_EVEN = 0.5


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """What a model gets right of the evaluation photos.

    Attributes:
        top1: Share of right first answers; where a photo has several labels, any of them is right.
        top5: Share with a right one among the first five.
        figures: All of them.
    """

    top1: float
    top5: float
    figures: Metrics | LabelSets

    @property
    def mean_average_precision(self) -> float | None:
        """Over the labels; None where a photo has one."""
        return self.figures.mean_average_precision if isinstance(self.figures, LabelSets) else None


def measure_run(logits: NDArray[np.float32], targets: Targets, labels: Sequence[str]) -> RunMetrics:
    """Compare logits [photos, classes] with what is right, see `losses.Targets`."""
    if targets.ndim == 1:
        metrics = measure(logits, targets.astype(np.int64), labels)
        return RunMetrics(metrics.top1, metrics.top5, metrics)
    probabilities, truth = sigmoid(logits, 1.0), targets > _EVEN
    figures = label_sets(probabilities, truth, [_EVEN] * len(labels), labels)
    return RunMetrics(any_among(probabilities, truth, 1), any_among(probabilities, truth, 5), figures)


def write_metrics(
    folder: Path, metrics: RunMetrics, logits: NDArray[np.float32], targets: Targets, labels: Sequence[str]
) -> None:
    """Write the files of the module's docstring."""
    write_json(folder / "metrics.json", metrics.figures)
    if isinstance(metrics.figures, LabelSets):
        write_file(folder / "per_class.csv", _label_csv(metrics.figures))
        return
    write_file(folder / "per_class.csv", per_class_csv(metrics.figures))
    plot_confusions(folder / "confusion.png", confusions(logits, targets.astype(np.int64), len(labels)), labels)


def _label_csv(figures: LabelSets) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("label", "images", "average_precision", "precision", "recall", "f1"))
    for label, one in figures.per_label.items():
        precision = "" if one.average_precision is None else f"{one.average_precision:.4f}"
        rates = (one.precision, one.recall, one.f1)
        writer.writerow((label, one.images, precision, *(f"{rate:.4f}" for rate in rates)))
    return text.getvalue().encode()
