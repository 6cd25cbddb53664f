"""The loop's answers held against what the clip shows: frames counted, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from .clip import Clip, Segment


@dataclass(frozen=True, slots=True)
class Count:
    """How many of some frames were answered as they ought to be."""

    right: int
    frames: int

    @property
    def mostly(self) -> bool:
        """Whether more than half were right; True where the clip holds no such frame."""
        return 2 * self.right > self.frames or not self.frames

    def __str__(self) -> str:
        return f"{self.right} of {self.frames} frames"


@dataclass(frozen=True, slots=True)
class ClipScore:
    """What the loop made of the clip.

    Attributes:
        known: Frames of known items that were named rightly.
        new_before: Frames of the new item, before it was taught, that were answered with unknown.
        new_after: Frames of the new item, at later stops, that were named rightly.
        stranger: Frames of an item that is never taught that were answered with unknown.
        empty: Frames of the empty shelf that were answered with unknown.
        views: Gallery entries that teaching made.
        p50_ms: Median latency from frame to answer, milliseconds.
        p95_ms: 95th percentile of it.
    """

    known: Count
    new_before: Count
    new_after: Count
    stranger: Count
    empty: Count
    views: int
    p50_ms: float
    p95_ms: float

    @property
    def convinces(self) -> bool:
        """Whether known items were mostly named, and all others unknown until one was taught and then named."""
        counts = (self.known, self.new_before, self.new_after, self.stranger, self.empty)
        return self.views > 0 and self.new_after.frames > 0 and all(count.mostly for count in counts)


class _Latency(msgspec.Struct):
    total: float


class _Line(msgspec.Struct):
    frame: int | None = None
    label: str | None = None
    latency_ms: _Latency | None = None
    event: str | None = None
    ids: list[int] = []


def score_clip(clip: Clip, answers: Path, known: Sequence[str]) -> ClipScore:
    """Count the answers of a run over a clip.

    Args:
        clip: The clip with its truth.
        answers: The JSON lines that the loop wrote; frames are counted from the first one.
        known: The labels that the classifier was trained on.
    """
    lines = [msgspec.json.decode(line, type=_Line) for line in answers.read_bytes().splitlines()]
    said = {line.frame: line.label for line in lines if line.frame is not None}
    times = [line.latency_ms.total for line in lines if line.latency_ms is not None]
    first = min(said, default=0)
    answered = {frame - first: label for frame, label in said.items()}
    lessons = [_holding(clip.segments, frame) for frame in clip.teach_at]
    before = [Segment(clip.novel, lessons[0].first, clip.teach_at[0] - 1)]
    new = [segment for segment in clip.segments if segment.label == clip.novel]
    after = [segment for segment in new if segment.first > lessons[-1].last]
    others = [segment for segment in clip.segments if segment.label not in (clip.novel, None)]
    strange = [segment for segment in others if segment.label not in known]
    return ClipScore(
        known=_count(answered, [segment for segment in others if segment.label in known], named=True),
        new_before=_count(answered, before, named=False),
        new_after=_count(answered, after, named=True),
        stranger=_count(answered, strange, named=False),
        empty=_count(answered, [segment for segment in clip.segments if segment.label is None], named=False),
        views=sum(len(line.ids) for line in lines if line.event == "taught"),
        p50_ms=float(np.percentile(times, 50)) if times else 0.0,
        p95_ms=float(np.percentile(times, 95)) if times else 0.0,
    )


def _holding(segments: Sequence[Segment], frame: int) -> Segment:
    return next(segment for segment in segments if segment.first <= frame <= segment.last)


def _count(answered: dict[int, str | None], segments: Sequence[Segment], named: bool) -> Count:
    """Count frames whose answer is the segment's label (`named`), or unknown."""
    frames = [
        (answered[frame], segment.label)
        for segment in segments
        for frame in range(segment.first, segment.last + 1)
        if frame in answered
    ]
    return Count(sum(said == (label if named else None) for said, label in frames), len(frames))
