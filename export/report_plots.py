"""The report's pictures as SVG: drawn here so that they follow the page's light or dark colours and need no script.

Every function gives one `<svg>` whose strokes and fills are classes of the page's style sheet.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .evaluate import Rate
from .figures import Reliability

_WIDTH, _HEIGHT = 480, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 22, 26, 38


@dataclass(frozen=True, slots=True)
class Axes:
    """A plot's area and what its edges stand for.

    Attributes:
        x: Value at the left and right edge.
        y: Value at the lower and upper edge.
        x_label: Text below.
        y_label: Text above the vertical axis.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Give the place of a point, pixels from the upper left corner."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        return round(_LEFT + across * (right - _LEFT), 1), round(bottom - up * (bottom - _TOP), 1)


def reliability_plot(figures: Reliability) -> str:
    """Draw accuracy against confidence; on the diagonal probabilities mean what they say."""
    axes = Axes((0, 1), (0, 1), "probability said", "share right")
    most = max(figures.count) or 1
    points = [
        (axes.at(sure, true), 3 + 7 * (count / most) ** 0.5, count)
        for sure, true, count in zip(figures.confidence, figures.accuracy, figures.count, strict=True)
        if sure is not None and true is not None
    ]
    dots = "".join(
        f'<circle class="fill-a" cx="{x}" cy="{y}" r="{radius:.1f}"><title>{count} photos</title></circle>'
        for (x, y), radius, count in points
    )
    diagonal = _polyline([axes.at(0, 0), axes.at(1, 1)], "line guide")
    return _svg("How often answers are right against the probability said", axes, diagonal + dots, _percent)


def threshold_plot(
    known: NDArray[np.float32], unknown: NDArray[np.float32], cut: float, x_label: str, low: float
) -> str:
    """Draw how scores of known and of unknown items lie about the threshold."""
    edges = np.linspace(low, 1, 26)
    shares = [np.histogram(np.clip(scores, low, 1), edges)[0] / max(1, len(scores)) for scores in (known, unknown)]
    axes = Axes((low, 1), (0, min(1.0, _round_up(float(max(share.max() for share in shares))))), x_label, "share")
    areas = "".join(_area(axes, edges, share, kind) for share, kind in zip(shares, ("area-a", "area-b"), strict=True))
    x, top = axes.at(min(max(cut, low), 1), axes.y[1])
    bottom = axes.at(low, 0)[1]
    side, shift = ("end", -6) if x > _WIDTH / 2 else ("start", 6)
    line = (
        f'<line class="cut" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>'
        f'<text class="strong" x="{x + shift}" y="{top + 10}" text-anchor="{side}">threshold {cut:.2f}</text>'
    )
    return _svg(f"Known and unknown items by {x_label}", axes, areas + line, _percent)


def curve_plot(
    epochs: Sequence[int], curves: Sequence[tuple[str, Sequence[float]]], y_label: str, percent: bool
) -> str:
    """Draw values epoch by epoch, at most two curves; the page's key names them."""
    finite = [value for _, values in curves for value in values if np.isfinite(value)]
    low, high = (0.0, 1.0) if percent else (0.0, _round_up(max(finite, default=1.0)))
    axes = Axes((min(epochs), max(*epochs, min(epochs) + 1)), (low, high), "epoch", y_label)
    drawn = ""
    for (_, values), kind in zip(curves, "ab", strict=False):
        places = [axes.at(number, value) for number, value in zip(epochs, values, strict=True) if np.isfinite(value)]
        drawn += _polyline(places, f"line {kind}")
        drawn += "".join(f'<circle class="fill-{kind}" cx="{x}" cy="{y}" r="2.5"/>' for x, y in places)
    return _svg(f"{y_label} by epoch", axes, drawn, _percent if percent else _plain, whole_x=True)


def histogram_plot(values: NDArray[np.number[Any]], x_label: str, title: str) -> str:
    """Draw how many photos have which value; there are at least two values."""
    edges = np.linspace(float(values.min()), float(values.max()), 25)
    counts = np.histogram(values, edges)[0]
    axes = Axes((float(edges[0]), float(edges[-1])), (0, _round_up(float(counts.max()))), x_label, "photos")
    return _svg(title, axes, _area(axes, edges, counts.astype(np.float64), "area-a"), _plain)


def channel_plot(histograms: Sequence[Sequence[float]]) -> str:
    """Draw the brightness of red, green and blue: the share of the pixels at each step from dark to bright."""
    axes = Axes((0, 255), (0, _round_up(max(max(row) for row in histograms))), "brightness", "share of the pixels")
    drawn = ""
    for shares, kind in zip(histograms, ("red", "green", "blue"), strict=True):
        step = 256 / len(shares)
        places = [axes.at(min(255, (number + 0.5) * step), share) for number, share in enumerate(shares)]
        drawn += _polyline(places, f"line {kind}")
    return _svg("Brightness of red, green and blue", axes, drawn, _percent, whole_x=True)


def matrix_plot(matrix: Mapping[str, Mapping[str, int]], most: int = 40) -> str:
    """Draw a confusion matrix, rows the truth and columns the answer; the `most` labels with the most mistakes."""
    wrong = Counter[str]()
    for truth, answers in matrix.items():
        for answer, count in answers.items():
            wrong.update({truth: count * (truth != answer), answer: count * (truth != answer)})
    labels = sorted(label for label, _ in wrong.most_common(most))
    cell, edge = 12, 150
    size = edge + cell * len(labels)
    drawn = []
    for row, truth in enumerate(labels):
        y, images = edge + cell * row, max(1, sum(matrix.get(truth, {}).values()))
        name = escape(truth if len(truth) <= 22 else truth[:21] + "…")
        drawn.append(f'<text x="{edge - 5}" y="{y + 9}" text-anchor="end">{name}</text>')
        drawn.append(f'<text transform="translate({y + 9} {edge - 5}) rotate(-90)">{name}</text>')
        for column, answer in enumerate(labels):
            count = matrix.get(truth, {}).get(answer, 0)
            kind = "fill-a" if row == column else "fill-b" if count else "track"
            drawn.append(
                f'<rect class="{kind}" x="{edge + cell * column}" y="{y}" width="{cell - 1}" height="{cell - 1}" '
                f'opacity="{0.25 + 0.75 * count / images if count else 0.35:.2f}"><title>{escape(truth)} taken for '
                f"{escape(answer)}: {count}</title></rect>"
            )
    return (
        f'<svg class="matrix" viewBox="0 0 {size} {size}" width="{size}" role="img" aria-label="Confusion matrix">'
        f"{''.join(drawn)}</svg>"
    )


def interval_bar(share: Rate) -> str:
    """Draw a share with its 95 % interval on a bar from 0 to 1."""
    low, high, value = (round(100 * number, 1) for number in (share.low, share.high, share.value))
    return (
        f'<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="95 % interval '
        f'{low} to {high} %"><rect class="track" width="100" height="6"/><rect class="fill-a" width="{value}" '
        f'height="6"/><rect class="interval" x="{low}" y="2" width="{round(high - low, 1)}" height="2"/></svg>'
    )


def _round_up(value: float) -> float:
    """Give the next number above whose quarters are short to write."""
    steps = [factor * 10.0**power for power in range(-3, 4) for factor in (1, 2, 4, 6, 8)]
    return next((step for step in steps if step >= value * 1.05), value * 1.05)


def share_bar(value: float, most: float) -> str:
    """Draw a value as a bar beside the largest one."""
    width = round(100 * value / most, 1) if most > 0 else 0.0
    return (
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="6"/><rect class="fill-b" width="{width}" height="6"/></svg>'
    )


def _svg(title: str, axes: Axes, content: str, tick: "_Tick", whole_x: bool = False) -> str:
    name = escape(title)
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}"><title>{name}</title>'
        f"{_frame(axes, tick, whole_x)}{content}</svg>"
    )


def _frame(axes: Axes, tick: "_Tick", whole_x: bool) -> str:
    lines = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        value = axes.y[0] + share * (axes.y[1] - axes.y[0])
        (left, y), (right, _) = axes.at(axes.x[0], value), axes.at(axes.x[1], value)
        lines.append(f'<line class="grid" x1="{left}" y1="{y}" x2="{right}" y2="{y}"/>')
        lines.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{tick(value)}</text>')
    for x_value in _x_ticks(axes.x, whole_x):
        x, bottom = axes.at(x_value, axes.y[0])
        text = str(round(x_value)) if whole_x else _percent(x_value) if axes.x[1] == 1 else _plain(x_value)
        lines.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{text}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    lines.append(f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(axes.x_label)}</text>')
    lines.append(f'<text x="4" y="11">{escape(axes.y_label)}</text>')
    return "".join(lines)


def _x_ticks(ends: tuple[float, float], whole: bool) -> list[float]:
    if not whole:
        return [ends[0] + share * (ends[1] - ends[0]) for share in (0, 0.25, 0.5, 0.75, 1)]
    step = max(1, round((ends[1] - ends[0]) / 6))
    return [float(value) for value in range(round(ends[0]), round(ends[1]) + 1, step)]


def _area(axes: Axes, edges: NDArray[np.float64], shares: NDArray[np.float64], kind: str) -> str:
    places = [axes.at(float(edges[0]), 0)]
    for index, share in enumerate(shares):
        places += [axes.at(float(edges[index]), float(share)), axes.at(float(edges[index + 1]), float(share))]
    places.append(axes.at(float(edges[-1]), 0))
    return f'<polygon class="{kind}" points="{_points(places)}"/>'


def _polyline(places: Sequence[tuple[float, float]], kind: str) -> str:
    return f'<polyline class="{kind}" points="{_points(places)}"/>' if places else ""


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)


class _Tick:
    def __init__(self, factor: float, suffix: str) -> None:
        self._factor, self._suffix = factor, suffix

    def __call__(self, value: float) -> str:
        return f"{value * self._factor:.3g}{self._suffix}"


_percent = _Tick(100, " %")
_plain = _Tick(1, "")
