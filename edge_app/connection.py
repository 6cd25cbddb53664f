"""One attempt at a source: a thread that reads it, and the one-slot mailbox it fills.

The thread sits in drivers that may never come back, so nobody waits for it: `Reader` watches the times it
notes down and leaves it behind when they grow old.
"""

import threading
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sightline.runtime.errors import SightlineError, SourceError
from sightline.runtime.preprocess import Image

from .captures import Capture, DamagedFrame, EndOfStream
from .pace import Pace
from .sources import Source


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source.

    Attributes:
        image_bgr: uint8, shape (height, width, 3).
        number: Counted from 0 over the whole run, dropped frames included.
        taken_s: When it arrived, on the clock `time.monotonic`.
    """

    image_bgr: Image
    number: int
    taken_s: float


class Mailbox:
    """Room for one frame.

    Args:
        newest_wins: A new frame replaces one not taken yet (live sources); otherwise `put` waits (files).
    """

    def __init__(self, newest_wins: bool) -> None:
        self.dropped = 0
        self._newest_wins = newest_wins
        self._frame: Frame | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> bool:
        """Leave a frame; False when the mailbox is closed and the sender should stop."""
        with self._changed:
            while self._frame is not None and not self._newest_wins and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self.dropped += self._frame is not None
            self._frame = frame
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float) -> Frame | None:
        """Fetch the frame, waiting for one for at most `timeout_s`."""
        with self._changed:
            if self._frame is None and not self._closed:
                self._changed.wait(timeout_s)
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame

    def wake(self) -> None:
        """End a wait in `take`: there will be no further frame."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse every further frame and let a waiting sender go."""
        with self._changed:
            self._closed, self._frame = True, None
            self._changed.notify_all()

    @property
    def empty(self) -> bool:
        """Whether no frame waits."""
        return self._frame is None


class Connection(Protocol):
    """One attempt at a source, as `Reader` watches it. Times are on the reader's clock."""

    mailbox: Mailbox
    fps: float | None
    started_s: float
    first_frame_s: float | None
    changed_s: float | None
    waiting_since_s: float | None
    frames: int
    damaged: int
    outcome: Exception | None

    def abandon(self) -> None:
        """Ask it to stop; it may hang in a driver and never do."""

    @property
    def alive(self) -> bool:
        """Whether its thread still runs."""

    def join(self, timeout_s: float) -> None:
        """Wait for its thread."""


class ThreadConnection:
    """A daemon thread that opens a source, fills a mailbox and leaves when it ends or is abandoned.

    Args:
        source: What it opens.
        first_number: The number of its first frame.
        pace: When frames are due; a camera's others are passed over, a file waits.

    Attributes (written by the thread, read by the reader):
        first_frame_s: When the first frame came.
        changed_s: When the picture last differed from the one before it.
        waiting_since_s: Since when it waits for the driver; None while it does not.
        outcome: Why it ended: EndOfStream or a SightlineError.
    """

    def __init__(self, source: Source, first_number: int, pace: Pace | None = None) -> None:
        self.mailbox = Mailbox(newest_wins=source.live)
        self.fps: float | None = None
        self.started_s = time.monotonic()
        self.first_frame_s: float | None = None
        self.changed_s: float | None = None
        self.waiting_since_s: float | None = self.started_s
        self.frames = self.damaged = 0
        self.outcome: Exception | None = None
        self._source, self._number, self._pace = source, first_number, pace or Pace()
        self._capture: Capture | None = None
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sightline-reader", daemon=True)
        self._thread.start()

    def abandon(self) -> None:
        """Ask the thread to stop, after the call it is in where that cannot be ended."""
        self._abandoned.set()
        self.mailbox.close()
        if self._capture is not None:
            self._capture.interrupt()

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            capture = self._capture = self._source.open()
            try:
                self.fps = capture.fps
                self._read_all(capture)
            finally:
                self._capture = None
                capture.close()
        except (EndOfStream, SightlineError) as error:
            self.outcome = error
        except Exception as error:  # drivers fail in ways no list foresees; a silent death would look like a stall
            self.outcome = SourceError(f"source '{self._source.name}' failed: {error}")
        finally:
            self.waiting_since_s = None
            self.mailbox.wake()

    def _read_all(self, capture: Capture) -> None:
        previous: Image | None = None
        while not self._abandoned.is_set():
            self.waiting_since_s = time.monotonic()
            try:
                if self._early(capture, self.waiting_since_s):
                    continue
                image = capture.read()
            except DamagedFrame:
                self.damaged += 1
                continue
            now = time.monotonic()
            if previous is None or not (self._source.freezes and same_picture(image, previous)):
                self.changed_s = now
            previous = image if self._source.freezes else None
            self._deliver(image, now)

    def _early(self, capture: Capture, now: float) -> bool:
        """Whether no frame is due yet; then time was passed as cheaply as the source allows."""
        wait_s = self._pace.wait_s(now)
        if wait_s > 0 and self._source.live:
            capture.skip()
        elif wait_s > 0:
            self.waiting_since_s = None
            self._abandoned.wait(wait_s)
        return wait_s > 0

    def _deliver(self, image: Image, now: float) -> None:
        self._pace.taken(now)
        self.waiting_since_s = None
        self.first_frame_s = self.first_frame_s or now
        self.frames += 1
        if self.mailbox.put(Frame(image, self._number, now)):
            self._number += 1


def same_picture(first: Image, second: Image) -> bool:
    """Whether two frames are equal in every byte; a sample decides nearly always (0.02 ms at 720p)."""
    if first.shape != second.shape or not np.array_equal(first[::16, ::16], second[::16, ::16]):
        return False
    return bool(np.array_equal(first, second))
