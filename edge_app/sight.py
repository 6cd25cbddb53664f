"""From a frame to the answer that is shown: region, gates, model, gallery, votes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from sightline.runtime.box import Box
from sightline.runtime.errors import GalleryError
from sightline.runtime.objects import FoundObject, ObjectRecognizer
from sightline.runtime.preprocess import Image, InputSpec
from sightline.runtime.recognition import Recognition
from sightline.runtime.recognizer import Lookup
from sightline.runtime.segmenter import Segmentation, Segmenter

from .region import Region
from .steady import LookupGate, MotionGate, Votes

Answer = TypeVar("Answer")


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
        finder: What finds objects and answers each; None answers the frame.
        segmenter: What names the frame's pixels instead.
    """

    k: int = 5
    region: Region = field(default_factory=Region)
    votes: int = 1
    gated: bool = False
    asks_always: bool = False
    spec: InputSpec | None = None
    finder: ObjectRecognizer | None = None
    segmenter: Segmenter | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The answer to a frame.

    Attributes:
        recognition: As the frame alone says.
        shown: With the decision that the votes give.
        fresh: Whether the model ran; otherwise nothing moved since the frame that was answered.
        objects: Where a detector looks: what it found, the most prominent first, which `recognition` and `shown`
            are of. None without one.
        segmentation: Where pixels are named: what is where; None else.
    """

    recognition: Recognition
    shown: Recognition
    fresh: bool
    objects: "tuple[SeenObject, ...] | None" = None
    segmentation: Segmentation | None = None

    @property
    def labels(self) -> tuple[str | None, ...]:
        """What is shown by name: of every object in alphabetical order, or of the frame."""
        if self.objects is None:
            return (self.shown.decision.label,)
        return tuple(sorted((one.shown.decision.label for one in self.objects), key=str))

    def to_dict(self) -> dict[str, Any]:
        """The fields of `predict --json`, and those of objects and areas where there are any."""
        fields = self.shown.to_dict()
        if self.objects is not None:
            fields["objects"] = [one.to_dict() for one in self.objects]
        if self.segmentation is not None:
            fields["areas"] = {label: round(share, 4) for label, share in self.segmentation.areas().items()}
        return fields


@dataclass(frozen=True, slots=True, eq=False)
class SeenObject:
    """An object in view.

    Attributes:
        found: Where it is in the frame, and the answer of this frame alone.
        shown: With the decision that the votes give.
        track: Names it for as long as it is followed.
    """

    found: FoundObject
    shown: Recognition
    track: int

    def to_dict(self) -> dict[str, Any]:
        """The fields of one of `objects` in a JSON line."""
        fields = {"track": self.track, **replace(self.found, recognition=self.shown).to_dict()}
        return {**fields, "frame_label": self.found.recognition.decision.label}


class Sight:
    """Answers frames of one source.

    Args:
        recognizer: Runs the model; None where the manner names who answers.
        gallery: Where frames are looked up, or None.
        manner: How frames are looked at.
        complain: Called with a sentence when the gallery fails; the classifier answers alone then.
    """

    def __init__(
        self, recognizer: Answerer | None, gallery: Lookup | None, manner: Manner, complain: Callable[[str], None]
    ) -> None:
        self._recognizer, self.manner, self._complain = recognizer, manner, complain
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
        if still and self._last is not None and self.settled and not in_any_case:
            return replace(self._last, fresh=False)
        # The region's place in the frame, where an object of the region has its own.
        corner = self.manner.region.box(*frame_bgr.shape[:2])
        self._last = self.see(view, corner.left, corner.top)
        return self._last

    @property
    def settled(self) -> bool:
        """Whether the last frame alone says what is shown."""
        return self._votes.settled

    def see(self, view: Image, left: int, top: int) -> Seen:
        """Answer the part of a frame that counts, whose upper left corner lies at `left`, `top`."""
        recognizer = self._recognizer
        assert recognizer is not None
        recognition = self.patiently(lambda gallery: recognizer.recognize(view, gallery, self.manner.k))
        decision = self._votes.decide(recognition.decision)
        return Seen(recognition, replace(recognition, decision=decision), True)

    def lesson(self, frame_bgr: Image) -> Image:
        """The part of a frame that teaching learns from, once it was looked at."""
        return self.view(frame_bgr)

    def view(self, frame_bgr: Image) -> Image:
        """The part of a frame that counts, without a copy."""
        return self.manner.region.of(frame_bgr)

    def seen_box(self, frame_bgr: Image) -> Box | None:
        """The part of a frame that reaches the model, or None where that is not known."""
        spec = self.manner.spec
        rows, columns = frame_bgr.shape[:2]
        return self.manner.region.seen(rows, columns, spec) if spec is not None else None

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

    def patiently(self, question: Callable[[Lookup | None], Answer]) -> Answer:
        """Ask with the gallery; one that cannot be read for a while (its disk, its lock) is left out."""
        try:
            return question(self._gallery)
        except GalleryError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._complain(str(error))
            return question(None)
