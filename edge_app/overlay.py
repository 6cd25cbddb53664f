"""What a person sees on top of the picture: the answer, its nearest matches, and the state of the camera.

Everything is drawn on a copy of the frame, in units of its height, so that 320x240 and 1920x1080 look alike.
Drawing costs 1.1 ms at 1280x720 and 2.3 ms at 1920x1080 on one x86 core, half of it the copy.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from sightline.runtime.box import Box
from sightline.runtime.errors import SightlineError
from sightline.runtime.preprocess import Image, decode_image, resize_exact
from sightline.runtime.recognition import Match, Recognition
from sightline.runtime.segmenter import Segmentation

from .lettering import BOLD, REGULAR, Colour, draw_text, shorten, text_width
from .marks import AMBER, BLUE, GREEN, accent, draw_areas, draw_marks, marks_of
from .reader import State, Status
from .sight import SeenObject

WHITE: Colour = (255, 255, 255)
_SOFT: Colour = (205, 205, 205)
_RED: Colour = (88, 88, 240)
_STATE_COLOURS = {
    State.LIVE: GREEN,
    State.ENDED: _SOFT,
    State.CONNECTING: AMBER,
    State.STALLED: AMBER,
    State.LOST: _RED,
}
_HEADLINES = {
    State.CONNECTING: "Connecting to the camera",
    State.STALLED: "The picture stands still",
    State.LOST: "The camera is lost",
    State.ENDED: "End of the video",
    State.LIVE: "Waiting for a frame",
}
_BLANK_SIZE = (720, 1280)


@dataclass(frozen=True, slots=True)
class Notice:
    """A short message over the picture: what was learnt, what went wrong; `good` sets its colour."""

    text: str
    good: bool


@dataclass(frozen=True, slots=True)
class View:
    """What is to be shown with a frame.

    Attributes:
        status: What the source is doing.
        recognition: The answer to this very frame; None shows no label.
        fps: Answers a second; None while unknown.
        age_ms: How old the frame was when it was answered, milliseconds.
        notice: A message, or None.
        prompt: What was typed so far where a name is asked for, or None.
        progress: How much of teaching is done, 0 to 1, or None.
        keys: What keys do, shown at the top.
        seen: The part of the frame that reaches the model, marked by its corners, or None.
        paused: Whether a person stopped the run for a while.
        slowed: What holds frames back, in words; "" where nothing does.
        objects: What a detector found, the most prominent first, which `recognition` is of; None without one.
        segmentation: What is where, of the part `seen`, or None.
    """

    status: Status
    recognition: Recognition | None = None
    fps: float | None = None
    age_ms: float | None = None
    notice: Notice | None = None
    prompt: str | None = None
    progress: float | None = None
    keys: str = ""
    seen: Box | None = None
    paused: bool = False
    slowed: str = ""
    objects: tuple[SeenObject, ...] | None = None
    segmentation: Segmentation | None = None


class Thumbnails:
    """The pictures of gallery entries at the size they are shown, the last few hundred kept.

    Args:
        crop: Gives the JPEG of an entry, or None where there is none.
    """

    _KEPT = 256

    def __init__(self, crop: Callable[[int], bytes | None] | None) -> None:
        self._crop = crop
        self._ready: OrderedDict[tuple[int, int], Image | None] = OrderedDict()

    def get(self, entry: int, side: int) -> Image | None:
        """Give an entry's picture, uint8, shape (side, side, 3), or None where there is none."""
        key = (entry, side)
        if key not in self._ready:
            self._ready[key] = self._make(entry, side)
            if len(self._ready) > self._KEPT:
                self._ready.popitem(last=False)
        self._ready.move_to_end(key)
        return self._ready[key]

    def forget(self) -> None:
        """Drop all, after entries were removed."""
        self._ready.clear()

    def _make(self, entry: int, side: int) -> Image | None:
        if self._crop is None:
            return None
        try:
            jpeg = self._crop(entry)
            return None if jpeg is None else _square(decode_image(jpeg), side)
        except SightlineError:
            # A match whose picture is damaged is still a match.
            return None


class Overlay:
    """Draws views on frames.

    Args:
        thumbnails: The pictures of matches.
    """

    def __init__(self, thumbnails: Thumbnails | None = None) -> None:
        self._thumbnails = thumbnails or Thumbnails(None)

    def draw(self, frame_bgr: Image | None, view: View) -> Image:
        """Draw a view on a copy of a frame.

        Args:
            frame_bgr: uint8, shape (height, width, 3); the last one seen when there is no new one, or None.
            view: What to show.

        Returns:
            uint8, the frame's shape; 1280x720 without a frame.
        """
        canvas = np.full((*_BLANK_SIZE, 3), 28, np.uint8) if frame_bgr is None else frame_bgr.copy()
        sheet = _Sheet(canvas)
        if view.recognition is None:
            _absence(sheet, view, dim=frame_bgr is not None)
        else:
            draw_found(canvas, view)
            if view.seen is not None and view.segmentation is None:
                _corners(sheet, view.seen)
            self._answer(sheet, view.recognition, nothing=view.objects == ())
        _top(sheet, view)
        _messages(sheet, view)
        return canvas

    def forget(self) -> None:
        """Drop the pictures of matches, after entries were removed."""
        self._thumbnails.forget()

    def _answer(self, sheet: "_Sheet", recognition: Recognition, nothing: bool) -> None:
        bar = sheet.px(118)
        top = sheet.height - bar
        sheet.shade(0, top, sheet.width, bar)
        colour = accent(recognition.decision)
        cv2.rectangle(sheet.canvas, (0, top), (max(3, sheet.px(8)) - 1, sheet.height), colour, -1)
        left = sheet.width - self._matches(sheet, recognition.matches, top, bar)
        _label(sheet, recognition, top, left, colour, "nothing found" if nothing else "unknown")

    def _matches(self, sheet: "_Sheet", matches: tuple[Match, ...], top: int, bar: int) -> int:
        """Draw as many matches as fit in the right half; give the columns they take."""
        side, gap = sheet.px(78), sheet.px(12)
        if top < 0:
            return gap
        shown = matches[: max(0, int(sheet.width * 0.56) // (side + gap))]
        for place, match in enumerate(shown):
            left = sheet.width - (len(shown) - place) * (side + gap)
            self._card(sheet, match, left, top + sheet.px(10), side)
        return len(shown) * (side + gap) + gap

    def _card(self, sheet: "_Sheet", match: Match, left: int, top: int, side: int) -> None:
        picture = self._thumbnails.get(match.id, side)
        if picture is None:
            cv2.rectangle(sheet.canvas, (left, top), (left + side - 1, top + side - 1), (70, 70, 70), -1)
            sheet.centred(f"#{match.id}", left, top + side // 2 + sheet.px(6), side, 18, _SOFT)
        else:
            sheet.canvas[top : top + side, left : left + side] = picture
        strip = sheet.px(22)
        sheet.shade(left, top + side - strip, side, strip, 0.3)
        similarity = f"{match.similarity:.2f}"
        sheet.centred(similarity, left, top + side - sheet.px(5), side, 18, WHITE, BOLD)
        sheet.centred(match.label, left, top + side + sheet.px(20), side + sheet.px(8), 17, WHITE)


def draw_found(canvas: Image, view: View) -> None:
    """Draw what lies in the picture itself, in place: boxes around objects, colours over areas."""
    if view.segmentation is not None:
        draw_areas(canvas, view.segmentation, view.seen)
    if view.objects:
        draw_marks(canvas, marks_of(view.objects))


class _Sheet:
    """A canvas with the sizes of the design (in pixels of a 720-row picture) brought to its own."""

    def __init__(self, canvas: Image) -> None:
        self.canvas = canvas
        self.height, self.width = canvas.shape[:2]
        # Below 0.5 letters cannot be read; a narrow picture must still hold the top line.
        self._scale: float = max(0.5, min(self.width / 1120, self.height / 720))

    def px(self, design: float) -> int:
        return max(1, round(design * self._scale))

    def text(self, text: str, left: int, baseline: int, size: float, colour: Colour, weight: int = REGULAR) -> None:
        draw_text(self.canvas, text, left, baseline, self.px(size), colour, weight)

    def centred(
        self,
        text: str,
        left: int,
        baseline: int,
        width: int,
        size: float,
        colour: Colour,
        weight: int = REGULAR,
    ) -> None:
        line = shorten(text, self.px(size), width, weight)
        start = left + (width - text_width(line, self.px(size), weight)) // 2
        self.text(line, start, baseline, size, colour, weight)

    def shade(self, left: int, top: int, width: int, height: int, keep: float = 0.34) -> None:
        """Darken a rectangle to `keep` of its brightness: white text on it can be read on any scene."""
        left, top = max(0, left), max(0, top)
        part = self.canvas[top : top + height, left : left + width]
        if part.size:
            part[:] = cv2.convertScaleAbs(part, alpha=keep)


def _corners(sheet: _Sheet, box: Box) -> None:
    """Mark what the model sees: an item outside is not recognised, and people should know why."""
    length, thick = sheet.px(26), max(1, sheet.px(3))
    # Rows under the bars cannot be seen anyway; the corners stay in the free part of the picture.
    top, bottom = max(box.top, sheet.px(48)), min(box.bottom, sheet.height - sheet.px(126))
    tips = [
        ((across, down), tip)
        for across, inward in ((box.left, length), (box.right - 1, -length))
        for down, inner in ((top, length), (bottom - 1, -length))
        for tip in ((across + inward, down), (across, down + inner))
    ]
    for colour, width in (((40, 40, 40), thick + 2), (WHITE, thick)):
        for corner, tip in tips:
            cv2.line(sheet.canvas, corner, tip, colour, width)


def _label(sheet: _Sheet, recognition: Recognition, top: int, right: int, colour: Colour, else_name: str) -> None:
    decision = recognition.decision
    left, size = sheet.px(28), sheet.px(50)
    room = right - left - sheet.px(12)
    name = decision.label if decision.known and decision.label is not None else else_name
    if text_width(name, size, BOLD) > room:
        size = sheet.px(36)
    line = shorten(name, size, room, BOLD)
    draw_text(sheet.canvas, line, left, top + sheet.px(58), size, WHITE, BOLD)
    sure = decision.confidence if decision.known or not recognition.top else recognition.top[0].probability
    filled = sheet.px(150) * min(1.0, max(0.0, sure))
    track, thick = top + sheet.px(84), sheet.px(8)
    wide = min(sheet.px(150), max(1, room - sheet.px(60)))
    cv2.rectangle(sheet.canvas, (left, track), (left + wide, track + thick), (95, 95, 95), -1)
    cv2.rectangle(sheet.canvas, (left, track), (left + min(wide, int(filled)), track + thick), colour, -1)
    start = left + wide + sheet.px(14)
    said = shorten(_how(recognition), sheet.px(22), right - start, REGULAR)
    sheet.text(said, start, track + sheet.px(12), 22, WHITE)


def _how(recognition: Recognition) -> str:
    decision = recognition.decision
    if decision.decided_by == "gallery":
        return f"{decision.confidence:.2f} similar, from the gallery"
    if decision.known:
        return f"{decision.confidence:.0%}"
    guess = recognition.top[0] if recognition.top else None
    return f"{guess.probability:.0%} {guess.label}?" if guess else ""


def _absence(sheet: _Sheet, view: View, dim: bool) -> None:
    if dim:
        sheet.shade(0, 0, sheet.width, sheet.height, 0.35)
    middle = sheet.height // 2
    headline = _HEADLINES[view.status.state]
    room = sheet.width - sheet.px(40)
    sheet.centred(headline, sheet.px(20), middle, room, 48, WHITE, BOLD)
    sheet.centred(view.status.detail, sheet.px(20), middle + sheet.px(42), room, 22, _SOFT)


def _top(sheet: _Sheet, view: View) -> None:
    bar, baseline = sheet.px(40), sheet.px(28)
    sheet.shade(0, 0, sheet.width, bar)
    centre = (sheet.px(24), bar // 2)
    cv2.circle(sheet.canvas, centre, sheet.px(7), _STATE_COLOURS[view.status.state], -1, cv2.LINE_AA)
    said = [str(view.status.state)]
    if view.recognition is not None:
        said += [f"{view.fps:.0f} fps"] if view.fps else []
        said += [f"{view.age_ms:.0f} ms"] if view.age_ms is not None else []
    said += [view.slowed] if view.slowed else []
    line = "  ·  ".join(said)
    left, size = sheet.px(42), sheet.px(22)
    sheet.text(line, left, baseline, 22, WHITE)
    start = sheet.width - text_width(view.keys, size) - sheet.px(18)
    if start > left + text_width(line, size) + sheet.px(20):
        sheet.text(view.keys, start, baseline, 22, _SOFT)


def _messages(sheet: _Sheet, view: View) -> None:
    if view.prompt is not None:
        _box(sheet, f"Name: {view.prompt}_", "Enter learns it, Esc leaves", BLUE)
    elif view.progress is not None:
        _box(sheet, "Learning: turn it a little", "", BLUE, view.progress)
    elif view.notice is not None:
        _box(sheet, view.notice.text, "", GREEN if view.notice.good else _RED)


def _box(sheet: _Sheet, text: str, hint: str, colour: Colour, progress: float | None = None) -> None:
    size, margin = sheet.px(32), sheet.px(24)
    line = shorten(text, size, sheet.width - 4 * margin, BOLD)
    width = max(text_width(line, size, BOLD), text_width(hint, sheet.px(20))) + 2 * margin
    height = sheet.px(64 + (28 if hint else 0))
    left, top = (sheet.width - width) // 2, sheet.px(64)
    sheet.shade(left, top, width, height, 0.22)
    thick = max(2, sheet.px(5))
    done = width if progress is None else int(width * min(1.0, max(0.0, progress)))
    cv2.rectangle(sheet.canvas, (left, top + height), (left + done, top + height + thick), colour, -1)
    sheet.centred(line, left, top + sheet.px(43), width, 32, WHITE, BOLD)
    if hint:
        sheet.centred(hint, left, top + sheet.px(74), width, 20, _SOFT)


def _square(image: Image, side: int) -> Image:
    rows, columns = image.shape[:2]
    edge = min(rows, columns)
    top, left = (rows - edge) // 2, (columns - edge) // 2
    return resize_exact(image[top : top + edge, left : left + edge], side, side)
