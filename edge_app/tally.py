"""Figures of a run, kept in a fixed amount of memory."""

from collections import deque
from dataclasses import dataclass

import numpy as np

# Enough for six minutes at 30 frames a second; percentiles of a longer run are those of its last part.
_KEPT = 10_000
_RATE_FRAMES = 30


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to.

    Attributes:
        frames: Frames answered.
        unknown: Of those, answered with unknown.
        still: Frames in which nothing moved, not answered anew.
        seconds: From the first to the last answer.
        fps: Answers a second over that time.
        p50_ms: Median latency from frame to answer, milliseconds.
        p95_ms: 95th percentile of it.
        age_p95_ms: 95th percentile of a frame's age when it was answered.
    """

    frames: int
    unknown: int
    still: int
    seconds: float
    fps: float
    p50_ms: float
    p95_ms: float
    age_p95_ms: float

    def sentence(self) -> str:
        """The summary in words."""
        if not self.frames:
            return "no frame was answered"
        if self.frames == 1:
            return f"1 frame, frame to answer {self.p50_ms:.1f} ms, {'un' if self.unknown else ''}known"
        return (
            f"{self.frames} frames in {self.seconds:.1f} s ({self.fps:.1f} fps), "
            f"frame to answer {self.p50_ms:.1f} ms (median) and {self.p95_ms:.1f} ms (p95), "
            f"{self.unknown / self.frames:.0%} unknown"
        )


class Tally:
    """Counts answers and measures their rate and latency."""

    def __init__(self) -> None:
        self._frames = self._unknown = self._passed = 0
        self._first_s = self._last_s = 0.0
        self._latency_ms: deque[float] = deque(maxlen=_KEPT)
        self._age_ms: deque[float] = deque(maxlen=_KEPT)
        self._recent_s: deque[float] = deque(maxlen=_RATE_FRAMES)

    @property
    def frames(self) -> int:
        """Frames answered so far."""
        return self._frames

    @property
    def fps(self) -> float | None:
        """Frames a second, lately: answered ones and those in which nothing moved."""
        if len(self._recent_s) < 2 or self._recent_s[-1] <= self._recent_s[0]:
            return None
        return (len(self._recent_s) - 1) / (self._recent_s[-1] - self._recent_s[0])

    def count(self, known: bool, latency_ms: float, age_ms: float, now_s: float) -> None:
        """Count one answer, given at `now_s` on a clock that never goes back."""
        self._first_s = now_s if not self._frames else self._first_s
        self._last_s = now_s
        self._frames += 1
        self._unknown += not known
        self._latency_ms.append(latency_ms)
        self._age_ms.append(age_ms)

    def pass_by(self, now_s: float) -> None:
        """Note that a frame went through at `now_s`, answered or not."""
        self._recent_s.append(now_s)
        self._passed += 1

    def pause(self) -> None:
        """Forget the recent rate: the source was away."""
        self._recent_s.clear()

    def summary(self) -> Summary:
        """Sum up."""
        seconds = self._last_s - self._first_s
        fps = (self._frames - 1) / seconds if seconds > 0 else 0.0
        p50, p95 = np.percentile(self._latency_ms, (50, 95)) if self._latency_ms else (0.0, 0.0)
        age = np.percentile(self._age_ms, 95) if self._age_ms else 0.0
        return Summary(
            self._frames, self._unknown, self._passed - self._frames, seconds, fps, float(p50), float(p95), float(age)
        )
