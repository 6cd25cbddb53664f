"""The picture that goes with `eval`'s figures of known and unknown: scores, and the curve over all thresholds.

Drawn with OpenCV, which every device has.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.runtime.preprocess import Image

from .lettering import BOLD, draw_text, text_width

_WIDTH, _HEIGHT = 1200, 520
_KNOWN, _UNKNOWN, _INK, _PALE = (168, 92, 31), (38, 110, 226), (40, 40, 40), (222, 222, 222)
_BINS = 40
# From one on an answer counts as known, two is the most.
_MOST_SCORE = 2.0

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Panel:
    left: int
    right: int
    top: int = 92
    bottom: int = 440

    def at(self, x: float, y: float) -> tuple[int, int]:
        """The pixel of a point, both coordinates from 0 to 1."""
        return round(self.left + x * (self.right - self.left)), round(self.bottom - y * (self.bottom - self.top))


def draw_curves(known: Scores, unknown: Scores, auc: float | None) -> Image:
    """Draw how scores of known and unknown items lie, and which rates each threshold would give.

    Args:
        known: (images,), scores of known items; from 1 on an answer counts as known.
        unknown: (images,), scores of unknown items; may be empty.
        auc: Area under the curve, or None.

    Returns:
        uint8, shape (520, 1200, 3), BGR.
    """
    canvas = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    left, right = _Panel(70, 560), _Panel(690, 1160)
    _scores(canvas, left, known, unknown)
    _curve(canvas, right, known, unknown, auc)
    return canvas


def _scores(canvas: Image, panel: _Panel, known: Scores, unknown: Scores) -> None:
    draw_text(canvas, "Scores", panel.left, 40, 24, _INK, BOLD)
    _key(canvas, panel, ((f"known ({len(known)})", _KNOWN), (f"unknown ({len(unknown)})", _UNKNOWN)))
    edges = np.linspace(0, _MOST_SCORE, _BINS + 1)
    shares = [np.histogram(np.clip(one, 0, _MOST_SCORE), edges)[0] / max(1, len(one)) for one in (known, unknown)]
    highest = max(0.01, *(float(share.max()) for share in shares))
    _frame(
        canvas,
        panel,
        [f"{value:g}" for value in (0, 0.5, 1, 1.5, 2)],
        [f"{highest * part:.0%}" for part in (0, 0.5, 1)],
    )
    layer = canvas.copy()
    for share, colour in zip(shares, (_KNOWN, _UNKNOWN), strict=True):
        for number, height in enumerate(share / highest):
            corner, foot = panel.at(number / _BINS, height), panel.at((number + 1) / _BINS, 0)
            cv2.rectangle(layer, corner, (foot[0] - 1, foot[1]), colour, -1)
        cv2.addWeighted(layer, 0.6, canvas, 0.4, 0, canvas)
        layer = canvas.copy()
    cv2.line(canvas, panel.at(0.5, 0), panel.at(0.5, 1.02), _INK, 2, cv2.LINE_AA)
    _centred(canvas, "1 is the threshold: from there on it is known", panel)


def _curve(canvas: Image, panel: _Panel, known: Scores, unknown: Scores, auc: float | None) -> None:
    title = "Every threshold" if auc is None else f"Area under the curve {auc:.4f}"
    draw_text(canvas, title, panel.left, 40, 24, _INK, BOLD)
    marks = ["0 %", "25 %", "50 %", "75 %", "100 %"]
    _frame(canvas, panel, marks, marks[::2])
    _centred(canvas, "unknown items given a label", panel)
    if not len(known) or not len(unknown):
        draw_text(canvas, "no unknown items in the data", panel.left + 130, 270, 18, _INK)
        return
    cuts = np.unique(np.concatenate([known, unknown, [np.inf]]))[::-1]
    points = np.array([panel.at(_passing(unknown, cut), _passing(known, cut)) for cut in cuts], np.int32)
    cv2.polylines(canvas, [points], False, _KNOWN, 3, cv2.LINE_AA)
    accepts, kept = _passing(unknown, 1.0), _passing(known, 1.0)
    spot = panel.at(accepts, kept)
    cv2.circle(canvas, spot, 8, _UNKNOWN, -1, cv2.LINE_AA)
    said = f"as decided: {accepts:.1%} false accepts, {1 - kept:.1%} false rejects"
    room = min(spot[0] + 16, panel.right - text_width(said, 17))
    draw_text(canvas, said, room, min(spot[1] + 30, panel.bottom - 12), 17, _INK)
    draw_text(canvas, "known items accepted", panel.left, 76, 17, _INK)


def _frame(canvas: Image, panel: _Panel, across: list[str], up: list[str]) -> None:
    for number, mark in enumerate(across):
        column, row = panel.at(number / (len(across) - 1), 0)
        cv2.line(canvas, (column, row), (column, panel.top), _PALE, 1)
        draw_text(canvas, mark, column - text_width(mark, 15) // 2, row + 22, 15, _INK)
    for number, mark in enumerate(up):
        column, row = panel.at(0, number / (len(up) - 1))
        cv2.line(canvas, (column, row), (panel.right, row), _PALE, 1)
        draw_text(canvas, mark, column - text_width(mark, 15) - 8, row + 5, 15, _INK)
    cv2.line(canvas, panel.at(0, 0), panel.at(1, 0), _INK, 1)


def _key(canvas: Image, panel: _Panel, entries: tuple[tuple[str, tuple[int, int, int]], ...]) -> None:
    column = panel.left
    for text, colour in entries:
        cv2.rectangle(canvas, (column, 62), (column + 16, 78), colour, -1)
        draw_text(canvas, text, column + 24, 76, 17, _INK)
        column += 60 + text_width(text, 17)


def _centred(canvas: Image, text: str, panel: _Panel) -> None:
    middle = (panel.left + panel.right) // 2
    draw_text(canvas, text, middle - text_width(text, 17) // 2, panel.bottom + 52, 17, _INK)


def _passing(scores: Scores, cut: float) -> float:
    return float((scores >= cut).mean())
