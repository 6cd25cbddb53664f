"""The answers of a trace once more, on this machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.runtime import Bundle, Recognizer
from sightline.runtime.errors import InputError
from sightline.runtime.providers import available_providers
from sightline.runtime.recognition import Decision, Match

from ..steady import Votes
from .shot import Shot
from .store import KeptEntry, TraceReader


@dataclass(frozen=True, slots=True)
class Difference:
    """A frame that is answered otherwise than it was.

    Attributes:
        frame: Its number in the run.
        at_s: When it was taken, seconds since 1970.
        what: "answer" (what the frame alone says) or "votes" (what was shown).
        recorded: What was decided.
        replayed: What is decided now.
    """

    frame: int
    at_s: float
    what: str
    recorded: Decision
    replayed: Decision


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay came to.

    Attributes:
        frames: Frames answered again.
        differences: How many were decided otherwise.
        first: The first of them, or None.
        neighbours: Frames whose matches are others, or in another order, though the decision is the same.
        largest_shift: The largest change of a confidence, 0 to 1: other processors sum in another order.
    """

    frames: int
    differences: int
    first: Difference | None
    neighbours: int
    largest_shift: float


class KeptGallery:
    """The entries of a trace as a frame of it could have met them: exact search among those near in time.

    An entry that came near no frame before `first` or after `last` was not there, or not near enough to count.

    Args:
        model_id: The embedding space of the bundle that answered.
        entries: What the trace keeps.
    """

    def __init__(self, model_id: str, entries: Sequence[KeptEntry]) -> None:
        self.model_id = model_id
        self._entries = list(entries)
        self._known: dict[int, Match] = {}
        self._at = 0

    def move_to(self, at: int, recorded: Sequence[Match]) -> None:
        """Go to a frame; its matches tell names, metadata and thresholds."""
        self._at = at
        self._known.update({match.id: match for match in recorded})

    def match(self, embedding: NDArray[np.float32], k: int) -> tuple[Match, ...]:
        """The nearest entries to one embedding, most similar first."""
        there = [one for one in self._entries if one.first <= self._at <= one.last and one.id in self._known]
        there = [one for one in there if len(one.vector) == len(embedding)]
        if not there:
            return ()
        similarity = np.stack([one.vector for one in there]) @ embedding
        order = np.argsort(-similarity, kind="stable")[:k]
        return tuple(self._named(there[index].id, float(similarity[index])) for index in order)

    def _named(self, id: int, similarity: float) -> Match:
        known = self._known[id]
        return Match(id, known.label, similarity, known.metadata, known.threshold)


class Replayer:
    """Answers the frames of a trace in order.

    Args:
        trace: The trace.
        bundle: A bundle to answer with; None takes those that the trace keeps.
        provider: What runs the model; "auto" takes what answered, where it is to be had.
        variant: The variant; None takes the one that answered.
    """

    def __init__(
        self, trace: TraceReader, bundle: Path | None = None, provider: str = "auto", variant: str | None = None
    ) -> None:
        self._trace, self._bundle, self._provider = trace, bundle, provider
        self._variant = variant or trace.about.variant
        self._opened: dict[str, tuple[Recognizer, KeptGallery]] = {}
        self._votes = Votes(trace.about.votes)
        self._warming = trace.about.votes
        self._shift, self._neighbours = 0.0, 0

    def run(self) -> Replay:
        """Answer every frame.

        Raises:
            InputError: The trace is damaged, empty, or its bundle is missing.
            BundleError: A bundle cannot be used.
        """
        frames, differences, first = 0, 0, None
        for at, shot in self._trace.shots():
            frames += 1
            found = list(self._compare(at, shot))
            differences += bool(found)
            first = first or (found[0] if found else None)
        if not frames:
            raise InputError(f"trace '{self._trace.folder}' holds no frame: nothing was answered while it was kept")
        return Replay(frames, differences, first, self._neighbours, self._shift)

    def _compare(self, at: int, shot: Shot) -> Iterator[Difference]:
        recognizer, gallery = self._open(shot.bundle_id)
        gallery.move_to(at, shot.said.matches)
        got = recognizer.answer(shot.prepared, gallery if shot.said.matches else None, self._trace.about.k)
        self._shift = max(self._shift, abs(got.decision.confidence - shot.said.raw.confidence))
        same = [match.id for match in got.matches] == [match.id for match in shot.said.matches]
        self._neighbours += not same
        if not _agree(got.decision, shot.said.raw):
            yield Difference(shot.number, shot.at_s, "answer", shot.said.raw, got.decision)
        shown = self._vote(shot, got.decision)
        if shown is not None and not _agree(shown, shot.said.shown):
            yield Difference(shot.number, shot.at_s, "votes", shot.said.shown, shown)

    def _vote(self, shot: Shot, decision: Decision) -> Decision | None:
        """What the votes show; None where the frames before it that voted are not in the trace."""
        if shot.said.fresh_start:
            self._votes.reset()
            self._warming = 0
        elif shot.said.gap:
            self._warming = self._trace.about.votes
        shown = self._votes.decide(decision)
        if self._warming == 0:
            return shown
        self._warming -= 1
        self._votes.resume(shot.said.shown.label)
        return None

    def _provider_of(self, recorded: str) -> str:
        """What answered then, where it is to be had and no other was asked for: another one rounds otherwise."""
        return recorded if self._provider == "auto" and recorded in available_providers() else self._provider

    def _open(self, bundle_id: str) -> tuple[Recognizer, KeptGallery]:
        if bundle_id not in self._opened:
            path = self._bundle or self._trace.bundle(bundle_id)
            if not path.exists():
                raise InputError(f"the bundle {bundle_id[:12]} of this trace is not at '{path}': give it with --bundle")
            recognizer = Recognizer(Bundle.load(path), self._provider_of(self._trace.about.provider), self._variant)
            self._opened[bundle_id] = recognizer, KeptGallery(recognizer.model_id, self._trace.entries())
        return self._opened[bundle_id]


def _agree(first: Decision, second: Decision) -> bool:
    return (first.label, first.known, first.decided_by) == (second.label, second.known, second.decided_by)
