"""What is drawn on the picture itself: boxes with names around objects, and areas with their legend."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.runtime.box import Box
from sightline.runtime.objects import FoundObject
from sightline.runtime.preprocess import Image
from sightline.runtime.recognition import Decision
from sightline.runtime.segmenter import BACKGROUNDS, Segmentation

from .lettering import BOLD, REGULAR, Colour, draw_text, shorten, text_width
from .sight import SeenObject

GREEN: Colour = (120, 214, 74)
BLUE: Colour = (247, 173, 84)
AMBER: Colour = (64, 180, 250)
_INK: Colour = (20, 20, 20)
_WHITE: Colour = (255, 255, 255)
_LEGEND = 8
_OPACITY = 0.5


@dataclass(frozen=True, slots=True)
class Mark:
    """A box with what is said of it; `main` is drawn stronger."""

    box: Box
    text: str
    colour: Colour
    main: bool = False


def accent(decision: Decision) -> Colour:
    """The colour of an answer: unknown, from the gallery, or the model's own."""
    if not decision.known:
        return AMBER
    return BLUE if decision.decided_by == "gallery" else GREEN


def marks_of(objects: Sequence[SeenObject] | Sequence[FoundObject]) -> list[Mark]:
    """Give the marks of objects, the first of which is the most prominent."""
    marks: list[Mark] = []
    every: Sequence[SeenObject | FoundObject] = objects
    for place, one in enumerate(every):
        found = one.found if isinstance(one, SeenObject) else one
        decision = one.shown.decision if isinstance(one, SeenObject) else one.recognition.decision
        said = f"{decision.label} {decision.confidence:.0%}" if decision.known else f"unknown {found.detection.label}"
        marks.append(Mark(found.detection.box, said, accent(decision), place == 0))
    return marks


def draw_marks(canvas: Image, marks: Sequence[Mark]) -> None:
    """Draw boxes and names in place.

    Args:
        canvas: uint8, shape (height, width, 3), BGR.
        marks: The first is drawn last, above the others.
    """
    scale = _scale(canvas)
    size = max(11, round(24 * scale))
    for mark in reversed(marks):
        thick = max(2 if mark.main else 1, round((5 if mark.main else 3) * scale))
        box, colour = mark.box, mark.colour
        for ink, width in ((_INK, thick + 2), (colour, thick)):
            cv2.rectangle(canvas, (box.left, box.top), (box.right - 1, box.bottom - 1), ink, width)
        line = shorten(mark.text, size, max(4 * size, canvas.shape[1] - box.left - size), BOLD)
        wide, tall = text_width(line, size, BOLD) + size // 2, round(1.35 * size)
        # Above the box where there is room, else inside it.
        top = box.top - tall if box.top >= tall else box.top
        left = max(0, min(box.left, canvas.shape[1] - wide))
        cv2.rectangle(canvas, (left, top), (left + wide, top + tall), colour, -1)
        draw_text(canvas, line, left + size // 4, top + size, size, _INK, BOLD)


def draw_areas(canvas: Image, segmentation: Segmentation, place: Box | None = None) -> None:
    """Lay colours over a picture in place, one a label, and name those that it shows.

    Args:
        canvas: uint8, shape (height, width, 3), BGR.
        segmentation: What is where.
        place: The part of the picture that it is of; None takes all of it.
    """
    box = place or Box(0, 0, canvas.shape[1], canvas.shape[0])
    part = box.of(canvas)
    classes = cv2.resize(segmentation.classes, (box.width, box.height), interpolation=cv2.INTER_NEAREST)
    palette = area_colours(len(segmentation.labels))
    mixed = cv2.addWeighted(part, 1 - _OPACITY, palette[classes], _OPACITY, 0)
    named = np.array([label not in BACKGROUNDS for label in segmentation.labels])
    np.copyto(part, np.asarray(mixed, np.uint8), where=named[classes][..., None])
    _legend(canvas, box, segmentation, palette)


def area_colours(count: int) -> NDArray[np.uint8]:
    """Colours that are far apart for neighbouring numbers, uint8, shape (count, 3), BGR."""
    hues = (np.arange(count) * 0.618034 * 180 % 180).astype(np.uint8)
    levels = np.full(count, 210, np.uint8)
    hsv = np.stack([hues, levels, np.full(count, 235, np.uint8)], axis=-1)
    return np.asarray(cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR)[0], np.uint8)


def _legend(canvas: Image, box: Box, segmentation: Segmentation, palette: NDArray[np.uint8]) -> None:
    scale = _scale(canvas)
    size, numbers = max(11, round(22 * scale)), {label: one for one, label in enumerate(segmentation.labels)}
    lines = [(label, share) for label, share in segmentation.areas().items() if label not in BACKGROUNDS][:_LEGEND]
    left, top = box.left + size // 2, box.top + round(56 * scale)
    for label, share in lines:
        colour = tuple(int(value) for value in palette[numbers[label]])
        said = f"{label} {share:.0%}"
        wide = text_width(said, size, REGULAR) + 2 * size
        part = canvas[top : top + round(1.4 * size), left : left + wide]
        part[:] = cv2.convertScaleAbs(part, alpha=0.3)
        cv2.rectangle(canvas, (left + size // 4, top + size // 4), (left + size, top + size), colour, -1)
        draw_text(canvas, said, left + round(1.4 * size), top + size, size, _WHITE)
        top += round(1.4 * size)


def _scale(canvas: Image) -> float:
    height, width = canvas.shape[:2]
    return float(max(0.5, min(width / 1120, height / 720)))
