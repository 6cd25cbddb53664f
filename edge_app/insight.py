"""What an answer rests on, told as a picture: the photo, the map over it, and the answer in words.

`explain_answer` and `explain_match` ask a bundle by covering parts of the photo; `draw_insight` draws any map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.runtime import Gallery, Match, Recognition, Recognizer
from sightline.runtime.manifest import MULTI_LABEL
from sightline.runtime.occlusion import Occlusion, lead, occlude, overlay
from sightline.runtime.preprocess import Image, InputSpec, prepare

from .lettering import BOLD, draw_text, shorten, text_width

_PANEL, _MARGIN, _LINE = 420, 24, 30
_INK, _GREY, _PAGE = (40, 40, 40), (110, 110, 110), (255, 255, 255)
_SIZE = 19

Heat = NDArray[np.float32]
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One picture of the row: what it shows, its title, and a map over it where it has one."""

    title: str
    frame_bgr: Image
    heat: Heat | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Insight:
    """What one score rests on.

    Attributes:
        occlusion: The map.
        words: One sentence for a person.
        label: Whose score it is.
        before: Probability or similarity, uncovered.
        after: The same with the most telling fifth covered.
    """

    occlusion: Occlusion
    words: str
    label: str
    before: float
    after: float


def explain_answer(
    recognizer: Recognizer, frame_bgr: Image, label: str | None = None, advance: Advance = lambda passes: None
) -> Insight:
    """Map what the classifier's answer, or its probability of another of its labels, rests on."""
    image, several = prepare(frame_bgr, recognizer.bundle.input_spec), recognizer.bundle.manifest.task == MULTI_LABEL

    def probabilities(batch: Image) -> NDArray[np.float32]:
        return recognizer.probabilities(recognizer.run(batch)[0])

    first = probabilities(image[None])[0]
    column = recognizer.labels.index(label) if label is not None else int(first.argmax())

    def score(batch: Image) -> NDArray[np.float32]:
        logits = recognizer.run(batch)[0]
        # Where a photo may have several labels no other one stands against this one.
        return logits[:, column] if several else lead(logits, column)

    found = occlude(image, score, advance)
    before, after = float(first[column]), float(probabilities(found.covered[None])[0, column])
    name = recognizer.labels[column]
    words = f"Covering the brightest fifth takes '{name}' from {before:.0%} to {after:.0%}"
    return Insight(found, words, name, before, after)


def explain_match(
    recognizer: Recognizer, frame_bgr: Image, gallery: Gallery, match: Match, advance: Advance = lambda passes: None
) -> Insight:
    """Map what the similarity to one gallery entry rests on."""
    vector = gallery.vectors([match.id])[match.id]
    image = prepare(frame_bgr, recognizer.bundle.input_spec)
    found = occlude(image, lambda batch: np.asarray(recognizer.run(batch)[1] @ vector, np.float32), advance)
    words = (
        f"Covering the brightest fifth takes the similarity to entry #{match.id} ('{match.label}') from "
        f"{found.score:.2f} to {found.score_covered:.2f}"
    )
    return Insight(found, words, match.label, found.score, found.score_covered)


def say_answer(answer: Recognition) -> str:
    """The answer in words."""
    decision = answer.decision
    if decision.known:
        return f"{decision.label}, {decision.confidence:.0%} ({decision.decided_by})"
    return f"Unknown; nearest is {answer.top[0].label}, {answer.top[0].probability:.0%}" if answer.top else "Unknown"


def draw_insight(panels: Sequence[Panel], heading: str, lines: Sequence[str], spec: InputSpec) -> Image:
    """Draw panels side by side with the answer above and sentences below: uint8 (height, width, 3), BGR.

    Args:
        panels: Left to right. A map covers the part of its frame that the model sees.
        heading: The answer.
        lines: Sentences.
        spec: What the model sees of a frame.
    """
    drawn = [_draw_panel(panel, spec) for panel in panels]
    height, width = max(one.shape[0] for one in drawn), len(drawn) * (_PANEL + _MARGIN) + _MARGIN
    wrapped = [part for line in lines for part in _wrap(line, width - 2 * _MARGIN)]
    top = _MARGIN + 84
    canvas = np.full((top + height + _MARGIN + _LINE * len(wrapped) + 8, width, 3), _PAGE, np.uint8)
    draw_text(canvas, shorten(heading, 26, width - 2 * _MARGIN, BOLD), _MARGIN, _MARGIN + 26, 26, _INK, BOLD)
    for number, (panel, picture) in enumerate(zip(panels, drawn, strict=True)):
        left = _MARGIN + number * (_PANEL + _MARGIN)
        draw_text(canvas, shorten(panel.title, _SIZE, _PANEL), left, top - 10, _SIZE, _GREY)
        canvas[top : top + picture.shape[0], left : left + _PANEL] = picture
    for number, line in enumerate(wrapped):
        draw_text(canvas, line, _MARGIN, top + height + _MARGIN + _LINE * number + 14, _SIZE, _INK)
    return canvas


def _draw_panel(panel: Panel, spec: InputSpec) -> Image:
    # Enlarged before the map is laid over it, so that a small photo still has a smooth map.
    rows, columns = panel.frame_bgr.shape[:2]
    size_wh = _PANEL, max(1, round(rows * _PANEL / columns))
    way = cv2.INTER_AREA if columns > _PANEL else cv2.INTER_CUBIC
    frame = np.asarray(cv2.resize(panel.frame_bgr, size_wh, interpolation=way), np.uint8)
    return frame if panel.heat is None else overlay(frame, panel.heat, spec)


def _wrap(line: str, width: int) -> list[str]:
    lines = [""]
    for word in line.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, _SIZE) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
