"""From a frame to the answer that is shown: region, gates, model, gallery, votes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from sightline.runtime.errors import GalleryError
from sightline.runtime.preprocess import Image, InputSpec
from sightline.runtime.recognition import Recognition
from sightline.runtime.recognizer import Lookup

from .region import Box, Region
from .steady import LookupGate, MotionGate, Votes


class Answerer(Protocol):
    """What a run needs of a recognizer."""

    def recognize(self, frame_bgr: Image, gallery: Lookup | None = None, k: int = 5) -> Recognition:
        """Answer one frame."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How frames are looked at.

    Attributes:
        k: Matches an answer.
        region: The part of the frame that counts.
        votes: Frames that vote on what is shown; 1 shows every frame's own answer.
        gated: Skip the model while nothing moves, and the gallery while the embedding stays the same.
        asks_always: Ask the gallery for every answer, so that each can be answered again by itself (a trace).
        spec: The model's input, so that what it sees can be marked; None marks nothing.
    """

    k: int = 5
    region: Region = field(default_factory=Region)
    votes: int = 1
    gated: bool = False
    asks_always: bool = False
    spec: InputSpec | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The answer to a frame.

    Attributes:
        recognition: As the frame alone says.
        shown: With the decision that the votes give.
        fresh: Whether the model ran; otherwise nothing moved since the frame that was answered.
    """

    recognition: Recognition
    shown: Recognition
    fresh: bool


class Sight:
    """Answers frames of one source.

    Args:
        recognizer: Runs the model.
        gallery: Where frames are looked up, or None.
        manner: How frames are looked at.
        complain: Called with a sentence when the gallery fails; the classifier answers alone then.
    """

    def __init__(
        self, recognizer: Answerer, gallery: Lookup | None, manner: Manner, complain: Callable[[str], None]
    ) -> None:
        self._recognizer, self._manner, self._complain = recognizer, manner, complain
        gated = manner.gated and gallery is not None and not manner.asks_always
        self._gate = MotionGate() if manner.gated else None
        self._lookup_gate = LookupGate(gallery) if gated and gallery is not None else None
        self._gallery = self._lookup_gate or gallery
        self._votes = Votes(manner.votes)
        self._last: Seen | None = None
        self._trouble = ""

    def look(self, frame_bgr: Image, now_s: float, in_any_case: bool = False) -> Seen:
        """Answer a frame.

        Args:
            frame_bgr: uint8, shape (height, width, 3), BGR.
            now_s: The time on a clock that never goes back.
            in_any_case: Run the model even where nothing moved (teaching wants every view).
        """
        view = self.view(frame_bgr)
        still = self._gate is not None and self._gate.still(view, now_s)
        # A label that the last frames do not agree on needs more of them, moving or not.
        if still and self._last is not None and self._votes.settled and not in_any_case:
            return replace(self._last, fresh=False)
        recognition = self._recognize(view)
        decision = self._votes.decide(recognition.decision)
        self._last = Seen(recognition, replace(recognition, decision=decision), True)
        return self._last

    def view(self, frame_bgr: Image) -> Image:
        """The part of a frame that counts, without a copy."""
        return self._manner.region.of(frame_bgr)

    def seen_box(self, frame_bgr: Image) -> Box | None:
        """The part of a frame that reaches the model, or None where that is not known."""
        spec = self._manner.spec
        rows, columns = frame_bgr.shape[:2]
        return self._manner.region.seen(rows, columns, spec) if spec is not None else None

    def away(self) -> None:
        """Forget the past: the source was away."""
        self._votes.reset()
        self._last = None
        if self._gate is not None:
            self._gate.reset()

    def gallery_changed(self) -> None:
        """Forget answers and matches: an entry was added or removed, and the very next frame should show it."""
        self.away()
        if self._lookup_gate is not None:
            self._lookup_gate.forget()

    def _recognize(self, view: Image) -> Recognition:
        try:
            return self._recognizer.recognize(view, self._gallery, self._manner.k)
        except GalleryError as error:
            # A gallery that cannot be read for a while (its disk, its lock) leaves the classifier's answer.
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._complain(str(error))
            return self._recognizer.recognize(view, None, self._manner.k)
