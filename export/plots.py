"""Training curves and the confusion matrix as pictures."""

import io
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sightline.runtime.durable import write_file

from .run import Epoch

_TRAIN, _VAL, _KEPT = "#9aa5b1", "#1f6feb", "#d1480f"
# Above this many classes the full matrix is a texture; the worst pairs beside it say what to look at.
_NUMBERS_UP_TO = 24
_PAIRS = 15


def plot_curves(path: Path, history: Sequence[Epoch], best_epoch: int, judged: str = "top-1") -> None:
    """Draw loss and what the task is judged by over the epochs; epoch 0 is the head on frozen features.

    Args:
        path: The PNG file.
        history: One entry an epoch.
        best_epoch: The kept one, which is marked.
        judged: What `val_top1` is called.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    learned = [one for one in history if one.epoch > 0]
    _curve(left, "loss", [one.epoch for one in learned], [one.train_loss for one in learned], _TRAIN, "training")
    _curve(left, "loss", [one.epoch for one in history], [one.val_loss for one in history], _VAL, "evaluation")
    # While it learns only the first answers are counted, cheaply.
    _curve(
        right, "%", [one.epoch for one in learned], [100 * one.train_top1 for one in learned], _TRAIN, "training, top-1"
    )
    _curve(
        right,
        "%",
        [one.epoch for one in history],
        [100 * one.val_top1 for one in history],
        _VAL,
        f"evaluation, {judged}",
    )
    for axes in (left, right):
        axes.axvline(best_epoch, color=_KEPT, linewidth=1, linestyle="--", label=f"kept: epoch {best_epoch}")
        axes.legend(frameon=False)
    figure.suptitle("Training pictures are augmented, so training looks harder than evaluation", fontsize=9)
    _save(figure, path)


def plot_confusions(path: Path, counts: NDArray[np.int64], labels: Sequence[str]) -> None:
    """Draw the confusion matrix, rows the truth and columns the answer, and the most frequent confusions.

    Args:
        path: The PNG file.
        counts: int64 [classes, classes].
        labels: One a class.
    """
    classes = len(labels)
    side = min(26.0, max(5.0, 2.2 + 0.21 * classes))
    figure = Figure(figsize=(side + 5.5, side), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=(side, 5.0))
    matrix, list_of_pairs = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    _draw_matrix(matrix, counts, [_short(label) for label in labels])
    _draw_pairs(list_of_pairs, counts, labels)
    _save(figure, path)


def plot_search(path: Path, trials: Sequence[tuple[int, float | None, bool]], weights: Mapping[str, float]) -> None:
    """Draw what trials came to, the best so far, and how much each value mattered.

    Args:
        path: The PNG file.
        trials: Number, value and whether it ran to its end; None where it came to nothing.
        weights: Importance of each value tried, summing to 1; empty where too few trials tell.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for whole, colour, name in ((True, _VAL, "to the end"), (False, _TRAIN, "stopped early")):
        points = [(number, 100 * value) for number, value, done in trials if done == whole and value is not None]
        left.plot([one[0] for one in points], [one[1] for one in points], "o", color=colour, label=name)
    done = [(number, value) for number, value, whole in trials if whole and value is not None]
    best = list(accumulate((100 * value for _, value in done), max))
    left.step([number for number, _ in done], best, where="post", color=_KEPT, linewidth=1, label="best so far")
    left.set_xlabel("trial")
    left.set_ylabel("%")
    left.legend(frameon=False)
    ordered = sorted(weights.items(), key=lambda item: item[1])
    right.barh([name for name, _ in ordered], [100 * weight for _, weight in ordered], color=_VAL)
    right.set_xlabel("share of the differences that it explains (fANOVA), %")
    if not ordered:
        right.set_title("too few trials to tell what mattered", fontsize=9)
    _save(figure, path)


def worst_pairs(counts: NDArray[np.int64], most: int) -> list[tuple[int, int, int]]:
    """List what is taken for what: (truth, answer, photos), most frequent first."""
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")[:most]
    return [(int(rows[i]), int(columns[i]), int(wrong[rows[i], columns[i]])) for i in order]


def _draw_matrix(axes: Axes, counts: NDArray[np.int64], labels: list[str]) -> None:
    # Each row is brought to shares of its class, so that rare classes are seen as well as common ones.
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    size = 9 if len(labels) <= _NUMBERS_UP_TO else 7
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(len(labels)), labels, fontsize=size)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.set_title("Share of each class's photos", fontsize=10)
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e3e7eb", linewidth=0.4)
    axes.tick_params(which="minor", length=0)
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = shares[row, column] > 0.5
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            fontsize=size - 1,
            color="white" if dark else "#24292f",
        )


def _draw_pairs(axes: Axes, counts: NDArray[np.int64], labels: Sequence[str]) -> None:
    pairs = worst_pairs(counts, _PAIRS)
    lines = [f"{number} × {labels[truth]}\n      taken for {labels[answer]}" for truth, answer, number in pairs]
    axes.axis("off")
    axes.set_title("Most frequent confusions", fontsize=10, loc="left")
    axes.text(0, 1, "\n".join(lines) or "none", va="top", fontsize=9, transform=axes.transAxes)


def _curve(axes: Axes, name: str, x: list[int], y: list[float], colour: str, label: str) -> None:
    axes.plot(x, y, color=colour, label=label, marker="o", markersize=3)
    axes.set_xlabel("epoch")
    axes.set_ylabel(name)
    axes.grid(color="#e3e7eb", linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _short(label: str) -> str:
    return label if len(label) <= 28 else label[:27] + "…"


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    write_file(path, stream.getvalue())
