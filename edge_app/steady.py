"""Answers a person can trust: votes over frames, and work that a still scene does not need.

`Votes` keeps labels from flickering, `MotionGate` skips the model while nothing moves, `LookupGate` skips the
gallery while the embedding stays the same.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.runtime.preprocess import Image
from sightline.runtime.recognition import Decision, Match
from sightline.runtime.recognizer import Lookup

# While a real, compressed clip stands still its largest block moves by 2 to 3 of 255 levels from frame to frame;
# a hand that comes in moves it by 12 to 50.
MOTION_LEVELS = 6.0
REFRESH_S = 2.0
SAME_EMBEDDING_COSINE = 0.995
_BLOCKS_WH = (32, 18)


class Votes:
    """Smooths decisions over the last frames: k of n, with hysteresis.

    What is shown stays while it keeps one vote less than half of the last `frames`, so that two labels in
    turn do not flicker. Then the label with more than half takes its place, or unknown where none has.
    With five frames and thirty a second, a new label is shown 0.13 s after it is seen.

    Args:
        frames: How many frames vote; 1 passes every decision on as it is.
    """

    def __init__(self, frames: int) -> None:
        self._needed = frames // 2 + 1
        self._votes: deque[Decision] = deque(maxlen=frames)
        self._shown: str | None = None

    @property
    def settled(self) -> bool:
        """Whether the last frame alone says what is shown."""
        return bool(self._votes) and self._votes[-1].label == self._shown

    def reset(self) -> None:
        """Forget all votes: the source was away, or the gallery was changed."""
        self._votes.clear()
        self._shown = None

    def resume(self, shown: str | None) -> None:
        """Take up where other votes left off: `shown` is what they showed after the last frame."""
        self._shown = shown

    def decide(self, decision: Decision) -> Decision:
        """Count one frame's decision and give the one to be shown."""
        self._votes.append(decision)
        counts: dict[str | None, int] = {}
        for vote in self._votes:
            counts[vote.label] = counts.get(vote.label, 0) + 1
        needed = min(self._needed, len(self._votes) // 2 + 1)
        if len(self._votes) == 1 or counts.get(self._shown, 0) < needed - 1:
            best = max(counts, key=lambda label: counts[label])
            self._shown = best if counts[best] >= needed else None
        return self._joined(decision)

    def _joined(self, latest: Decision) -> Decision:
        agreeing = [vote for vote in self._votes if vote.label == self._shown]
        if not agreeing:
            return Decision(None, False, latest.confidence, None)
        confidence = sum(vote.confidence for vote in agreeing) / len(agreeing)
        return replace(agreeing[-1], confidence=confidence)


class MotionGate:
    """Tells whether a frame differs from the one that was answered last.

    The picture is brought to 32x18 block means (0.05 ms at 720p), in which sensor noise vanishes and a hand
    does not. Slow drift is caught by an answer every `refresh_s`.

    Args:
        refresh_s: The longest time without an answer.
    """

    def __init__(self, refresh_s: float = REFRESH_S) -> None:
        self._refresh_s = refresh_s
        self._reference: NDArray[np.float32] | None = None
        self._shape: tuple[int, ...] = ()
        self._answered_s = 0.0

    def still(self, view_bgr: Image, now_s: float) -> bool:
        """Whether the answer to the last frame holds for this one; if not, this one becomes the reference."""
        blocks = _block_means(view_bgr)
        fresh = now_s - self._answered_s < self._refresh_s and view_bgr.shape == self._shape
        if fresh and self._reference is not None and _moved(blocks, self._reference) < MOTION_LEVELS:
            return True
        self._reference, self._shape, self._answered_s = blocks, view_bgr.shape, now_s
        return False

    def reset(self) -> None:
        """Let the next frame be answered in any case."""
        self._reference = None


class LookupGate:
    """A gallery that is asked again only when the embedding or the gallery has changed.

    Args:
        gallery: The gallery.
        refresh_s: The longest time without asking: other processes may have changed it.
        clock: Seconds that never go back.
    """

    def __init__(
        self, gallery: Lookup, refresh_s: float = REFRESH_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gallery, self._refresh_s, self._clock = gallery, refresh_s, clock
        self._asked: NDArray[np.float32] | None = None
        self._asked_s = 0.0
        self._matches: tuple[Match, ...] = ()
        self._k = 0

    @property
    def model_id(self) -> str:
        """The embedding space of its entries."""
        return self._gallery.model_id

    def match(self, embedding: NDArray[np.float32], k: int) -> tuple[Match, ...]:
        """The nearest entries to one embedding, most similar first."""
        now = self._clock()
        same = self._asked is not None and float(self._asked @ embedding) > SAME_EMBEDDING_COSINE
        if not same or k != self._k or now - self._asked_s >= self._refresh_s:
            self._matches = self._gallery.match(embedding, k)
            self._asked, self._asked_s, self._k = embedding, now, k
        return self._matches

    def forget(self) -> None:
        """Ask again at the next frame: entries were added or removed."""
        self._asked = None


def _block_means(view_bgr: Image) -> NDArray[np.float32]:
    sample = cv2.resize(view_bgr, (5 * _BLOCKS_WH[0], 5 * _BLOCKS_WH[1]), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(sample, _BLOCKS_WH, interpolation=cv2.INTER_AREA).astype(np.float32)


def _moved(blocks: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    difference = blocks - reference
    # A lamp or the camera's exposure changes all blocks alike and little: that is no motion.
    return float(np.abs(difference - np.median(difference)).max())
