"""A run that looks at objects or areas instead of the whole frame: what `Sight` does, for each of several.

Objects are followed from frame to frame by the overlap of their boxes, so that each has votes of its own and keeps its
label while it moves.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sightline.runtime.box import Box
from sightline.runtime.objects import FoundObject, nothing_found
from sightline.runtime.preprocess import Image
from sightline.runtime.recognition import Candidate, Decision, Recognition
from sightline.runtime.recognizer import Lookup
from sightline.runtime.segmenter import BACKGROUNDS, Segmentation

from .sight import Answerer, Manner, Seen, SeenObject, Sight
from .steady import Votes

# Bouncing boxes of one still object overlap by 0.8 and more; two neighbours by next to nothing.
_LEAST_OVERLAP = 0.3
# Frames that an object may be missed in a row before it is a new one.
_PATIENCE = 10
_TOP = 5


@dataclass(slots=True, eq=False)
class _Track:
    number: int
    last: FoundObject
    votes: Votes
    missed: int = 0


class Tracks:
    """Follows objects and lets each one's frames vote.

    Args:
        votes: Frames that vote; see `Votes`.
    """

    def __init__(self, votes: int) -> None:
        self._frames = votes
        self._numbers = itertools.count(1)
        self._tracks: list[_Track] = []

    @property
    def settled(self) -> bool:
        """Whether the last frame alone says what is shown of each."""
        return all(track.votes.settled for track in self._tracks if not track.missed)

    def reset(self) -> None:
        """Forget all: the source was away, or the gallery was changed."""
        self._tracks = []

    def follow(self, found: Sequence[FoundObject]) -> tuple[SeenObject, ...]:
        """Take the objects of the next frame, and give them with what is to be shown, in the same order."""
        for track in self._tracks:
            track.missed += 1
        mine = self._matched(found)
        seen = []
        for place, one in enumerate(found):
            track = mine.get(place) or self._begin(one)
            track.last, track.missed = one, 0
            decision = track.votes.decide(one.recognition.decision)
            seen.append(SeenObject(one, replace(one.recognition, decision=decision), track.number))
        self._tracks = [track for track in self._tracks if track.missed <= _PATIENCE]
        return tuple(seen)

    def _begin(self, found: FoundObject) -> _Track:
        track = _Track(next(self._numbers), found, Votes(self._frames))
        self._tracks.append(track)
        return track

    def _matched(self, found: Sequence[FoundObject]) -> dict[int, _Track]:
        """Pair objects with tracks, the largest overlap first."""
        pairs = [
            (track.last.detection.box.overlap(one.detection.box), place, track)
            for track in self._tracks
            for place, one in enumerate(found)
        ]
        mine: dict[int, _Track] = {}
        for overlap, place, track in sorted(pairs, key=lambda pair: -pair[0]):
            if overlap >= _LEAST_OVERLAP and place not in mine and track not in mine.values():
                mine[place] = track
        return mine


class ObjectSight(Sight):
    """Answers each object of a frame; what a whole frame's answer is elsewhere is here the most prominent one's."""

    def __init__(
        self, recognizer: Answerer | None, gallery: Lookup | None, manner: Manner, complain: Callable[[str], None]
    ) -> None:
        super().__init__(recognizer, gallery, manner, complain)
        self._tracks = Tracks(manner.votes)
        self._main: FoundObject | None = None

    @property
    def settled(self) -> bool:
        """Whether the last frame alone says what is shown."""
        return self._tracks.settled

    def see(self, view: Image, left: int, top: int) -> Seen:
        """Find and answer the objects of a part of a frame."""
        finder = self.manner.finder
        assert finder is not None
        answer = self.patiently(lambda gallery: finder.recognize(view, gallery, self.manner.k))
        objects = self._tracks.follow([one.moved(left, top) for one in answer.objects])
        self._main = objects[0].found if objects else None
        if not objects:
            nothing = nothing_found(answer.latency)
            return Seen(nothing, nothing, True, ())
        first = objects[0]
        alone = replace(first.found.recognition, latency=answer.latency)
        return Seen(alone, replace(first.shown, latency=answer.latency), True, objects)

    def seen_box(self, frame_bgr: Image) -> Box | None:
        """None: boxes of objects are drawn instead."""
        return None

    def lesson(self, frame_bgr: Image) -> Image:
        """The most prominent object of the frame that was looked at last; black where there is none to learn."""
        return self._main.view.of(frame_bgr) if self._main is not None else np.zeros((1, 1, 3), np.uint8)

    def away(self) -> None:
        """Forget the past: the source was away."""
        super().away()
        self._tracks.reset()
        self._main = None


class AreaSight(Sight):
    """Names the pixels of a frame; its answer is the label with the largest area but for the background."""

    def see(self, view: Image, left: int, top: int) -> Seen:
        """Name the pixels of a part of a frame."""
        segmenter = self.manner.segmenter
        assert segmenter is not None
        segmentation = segmenter.segment(view)
        recognition = answer_of(segmentation)
        return Seen(recognition, recognition, True, segmentation=segmentation)

    @property
    def settled(self) -> bool:
        """Always: areas do not vote."""
        return True

    def seen_box(self, frame_bgr: Image) -> Box | None:
        """The part that is looked at: all of it is named."""
        return self.manner.region.box(*frame_bgr.shape[:2])


def answer_of(segmentation: Segmentation) -> Recognition:
    """Give areas in the form of an answer: the largest one's label, and each share in place of a probability."""
    areas = [Candidate(*area) for area in segmentation.areas().items() if area[0] not in BACKGROUNDS]
    nothing = nothing_found(segmentation.latency)
    if not areas:
        return nothing
    decision = Decision(areas[0].label, True, areas[0].probability, "segmenter")
    return replace(nothing, decision=decision, top=tuple(areas[:_TOP]))


def open_sight(
    recognizer: Answerer | None, gallery: Lookup | None, manner: Manner, complain: Callable[[str], None]
) -> Sight:
    """Give what looks at frames in this manner; see `Sight`."""
    kind = ObjectSight if manner.finder is not None else AreaSight if manner.segmenter is not None else Sight
    return kind(recognizer, gallery, manner, complain)
