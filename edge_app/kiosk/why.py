"""Why the answer is what it is: a map over the picture, made when somebody asks and off the loop's thread."""

import threading
from dataclasses import dataclass

import msgspec

from sightline.runtime import Gallery, Recognizer
from sightline.runtime.errors import InputError
from sightline.runtime.manifest import EMBEDDING
from sightline.runtime.occlusion import overlay
from sightline.runtime.preprocess import Image
from sightline.runtime.recognition import Recognition

from ..insight import Insight, explain_answer, explain_match
from ..region import Region
from .feed import Moment
from .pictures import encode

_WIDTH = 800


class Busy(Exception):
    """Another map is being made; each takes the processor for a second or more."""


class Reasons(msgspec.Struct, frozen=True):
    """What a map says: `number` names its picture, `title` what it is of, `words` what covering it does."""

    number: int
    title: str
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    reasons: Reasons
    jpeg: bytes


class Explainer:
    """Makes maps, one at a time, and keeps the last. Its methods may be called from any thread.

    Args:
        recognizer: What answers.
        gallery: Where its matches lie, or None.
        region: The part of a frame that counts.
    """

    def __init__(self, recognizer: Recognizer, gallery: Gallery | None, region: Region) -> None:
        self._recognizer, self._gallery, self._region = recognizer, gallery, region
        self._making = threading.Lock()
        self._last: _Made | None = None

    def explain(self, moment: Moment | None) -> Reasons:
        """Map what the answer of a moment rests on; about 300 passes of the model.

        Raises:
            InputError: There is nothing to explain.
            Busy: Another map is being made.
        """
        if moment is None or moment.frame is None or moment.view.recognition is None:
            raise InputError("there is no answer to explain at the moment")
        if not self._making.acquire(blocking=False):
            raise Busy
        try:
            frame_bgr = moment.frame.image_bgr
            title, found = self._find(self._region.of(frame_bgr), moment.view.recognition)
            number = self._last.reasons.number + 1 if self._last is not None else 1
            self._last = _Made(Reasons(number, title, f"{found.words}."), self._picture(frame_bgr, found))
            return self._last.reasons
        finally:
            self._making.release()

    def picture(self, number: int) -> bytes | None:
        """The JPEG of a map; None of any but the last."""
        last = self._last
        return last.jpeg if last is not None and last.reasons.number == number else None

    def _find(self, view_bgr: Image, answer: Recognition) -> tuple[str, Insight]:
        decision, nearest = answer.decision, next(iter(answer.matches), None)
        by_gallery = decision.decided_by == "gallery" or self._recognizer.bundle.manifest.task == EMBEDDING
        if by_gallery and nearest is not None and self._gallery is not None:
            found = explain_match(self._recognizer, view_bgr, self._gallery, nearest)
            return f"What looks like “{nearest.label}”", found
        if not answer.top:
            raise InputError("there is no answer to explain at the moment")
        # Unknown is explained by the best guess: what is in the way of it is seen best there.
        found = explain_answer(self._recognizer, view_bgr, decision.label if decision.known else answer.top[0].label)
        return f"What speaks for “{found.label}”", found

    def _picture(self, frame_bgr: Image, found: Insight) -> bytes:
        canvas = frame_bgr.copy()
        view = self._region.of(canvas)
        view[:] = overlay(view, found.occlusion.heat, self._recognizer.bundle.input_spec)
        return encode(canvas, _WIDTH)
