"""The states a source goes through, and its return after a loss.

connecting   it was asked for and has not given a frame yet
live         frames arrive
stalled      no frame for `Patience.stall_s`, or the very same picture for `Patience.frozen_s`
lost         it failed or was abandoned; opened again after a pause that grows from 0.5 to 30 s
ended        a file is over

A `Connection` is one attempt on a thread of its own. What state this is and when to try again is decided by
`Reader.take` on the caller's thread, which never waits for a driver: OpenCV can neither be relied on to time
out nor to report a loss.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from sightline.runtime.errors import InputError, SightlineError, SourceError

from .captures import EndOfStream, SourceRefused
from .connection import Connection, Frame, ThreadConnection
from .pace import Pace
from .sources import Source

# A thread that hangs in a driver for ever cannot be ended; more than a few mean that opening again is no help.
MAX_ABANDONED = 4


class State(StrEnum):
    """What a source is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    LOST = "lost"
    ENDED = "ended"

    @property
    def away(self) -> bool:
        """Whether what comes next has nothing to do with what was seen.

        The end of a file is known before its last frame is looked at, which belongs to those before it.
        """
        return self not in (State.LIVE, State.ENDED)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a reader waits for what, in seconds.

    Attributes:
        connect_s: Until a source that never gave a frame is an error.
        stall_s: Without a frame until the state is `stalled`.
        frozen_s: With the very same picture until the state is `stalled`.
        hang_s: Without a frame until the thread is abandoned and the source opened anew.
        retry_first_s: The first pause before opening again; it doubles with each failure.
        retry_absent_s: The longest pause while nobody answers: asking costs nothing, and the source is to be
            back within ten seconds of its return.
        retry_refused_s: The longest pause while the source says no: cameras lock accounts.
        steady_s: Frames for this long make a connection a success, and the next pause the first again.
    """

    connect_s: float = 10.0
    stall_s: float = 2.0
    frozen_s: float = 10.0
    hang_s: float = 10.0
    retry_first_s: float = 0.5
    retry_absent_s: float = 5.0
    retry_refused_s: float = 30.0
    steady_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Status:
    """What a person should know about a source.

    Attributes:
        state: What it is doing.
        detail: Why, in words; empty while all is well.
        attempts: How often it was opened.
        damaged: Frames that could not be decoded.
        dropped: Frames that a newer one replaced before they were taken.
        hung: Whether the last attempt never came back from its driver: it is not the camera alone that is away.
    """

    state: State
    detail: str
    attempts: int
    damaged: int
    dropped: int
    hung: bool = False


class Reader:
    """Frames of a source, its state, and its return after a loss.

    Args:
        source: Where frames come from.
        patience: How long to wait for what.
        connect: Starts an attempt; gets the source and the number of its first frame. None starts a thread.
        clock: Seconds that never go back.
        sleep: Waits while there is no connection.
        jitter: A number from 0 to 1; many devices must not knock at one camera in step.
        pace: When frames are due.
    """

    def __init__(
        self,
        source: Source,
        patience: Patience | None = None,
        connect: Callable[[Source, int], Connection] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        pace: Pace | None = None,
    ) -> None:
        self.source, self.pace = source, pace or Pace()
        self._patience = patience or Patience()
        self._connect = connect or partial(ThreadConnection, pace=self.pace)
        self._clock, self._sleep, self._jitter = clock, sleep, jitter
        self._state, self._detail = State.CONNECTING, ""
        self._connection: Connection | None = None
        self._abandoned: list[Connection] = []
        self._started_s = self._retry_at_s = clock()
        self._attempts = self._failures = self._frames = self._damaged = self._dropped = 0
        self._fps: float | None = None
        self._hung = False

    @property
    def status(self) -> Status:
        """The state as of the last `take`."""
        connection = self._connection
        damaged = self._damaged + (connection.damaged if connection else 0)
        dropped = self._dropped + (connection.mailbox.dropped if connection else 0)
        return Status(self._state, self._detail, self._attempts, damaged, dropped, self._hung)

    @property
    def frames(self) -> int:
        """Frames that arrived so far, those included that a newer one replaced."""
        return self._frames + (self._connection.frames if self._connection else 0)

    @property
    def fps(self) -> float | None:
        """Frames a second as the source states them, where it does."""
        return (self._connection.fps if self._connection else None) or self._fps

    @property
    def hanging(self) -> bool:
        """Whether an abandoned thread still sits in a driver; leaving then needs `os._exit`."""
        return any(connection.alive for connection in self._abandoned)

    def take(self, timeout_s: float) -> Frame | None:
        """Give the next frame, or None when there is none within `timeout_s` that may be decided on.

        Raises:
            SourceError: A file cannot be read, or a live source never gave a frame within
                `Patience.connect_s`.
        """
        self._supervise()
        connection = self._connection
        if connection is None:
            if self._state is not State.ENDED:
                self._sleep(min(timeout_s, max(0.0, self._retry_at_s - self._clock())))
            return None
        frame = connection.mailbox.take(timeout_s)
        self._supervise()
        # A frozen picture is no view of now, nor is the last one before a loss: nothing is decided on them.
        return None if self._state in (State.STALLED, State.LOST) else frame

    def close(self, timeout_s: float = 0.5) -> None:
        """Stop reading and wait a little for the thread to release the device."""
        if self._connection is not None:
            self._abandon()
        deadline = time.monotonic() + timeout_s
        for connection in self._abandoned:
            connection.join(max(0.0, deadline - time.monotonic()))

    def _supervise(self) -> None:
        now = self._clock()
        if self._state is State.ENDED:
            return
        if self._connection is None:
            self._try_again(now)
        elif self._connection.outcome is not None and self._connection.mailbox.empty:
            self._over(self._connection.outcome, now)
        else:
            self._judge(self._connection, now)
        if self._state is State.CONNECTING and now - self._started_s > self._patience.connect_s:
            raise SourceError(self._never(self._patience.connect_s))

    def _judge(self, connection: Connection, now: float) -> None:
        patience = self._patience
        silent = 0.0 if connection.waiting_since_s is None else now - connection.waiting_since_s
        if silent > patience.hang_s:
            self._left_hanging(now)
        elif connection.first_frame_s is None:
            pass  # a new attempt: connecting or lost, as it was
        elif silent > patience.stall_s:
            self._become(State.STALLED, f"no frame for {patience.stall_s:g} s")
        elif self._frozen(connection, now):
            self._become(State.STALLED, f"the very same picture for {patience.frozen_s:g} s")
        else:
            self._hung = False
            self._become(State.LIVE, "")
            if now - connection.first_frame_s >= patience.steady_s:
                self._failures = 0

    def _frozen(self, connection: Connection, now: float) -> bool:
        changed = connection.changed_s
        return self.source.freezes and changed is not None and now - changed > self._patience.frozen_s

    def _left_hanging(self, now: float) -> None:
        self._hung = True
        error = SourceError(f"source '{self.source.name}' hangs: no answer for {self._patience.hang_s:g} s")
        self._abandon()
        self._lost(error, now)

    def _over(self, outcome: Exception, now: float) -> None:
        self._hung = False
        self._abandon()
        if isinstance(outcome, EndOfStream) and not self.source.live:
            self._become(State.ENDED, "")
            return
        self._lost(outcome, now)

    def _lost(self, error: Exception, now: float) -> None:
        if isinstance(error, InputError) or not self.source.live:
            raise error if isinstance(error, SightlineError) else SourceError(str(error))
        self._become(State.CONNECTING if self._frames == 0 else State.LOST, str(error) or "it ended")
        patience = self._patience
        longest = patience.retry_refused_s if isinstance(error, SourceRefused) else patience.retry_absent_s
        pause = patience.retry_first_s * 2 ** min(self._failures, 10)
        self._failures += 1
        spread = 0.75 + 0.5 * self._jitter()
        self._retry_at_s = now + min(longest, max(patience.retry_first_s, pause * spread))

    def _try_again(self, now: float) -> None:
        self._abandoned = [connection for connection in self._abandoned if connection.alive]
        if now < self._retry_at_s or len(self._abandoned) >= MAX_ABANDONED:
            return
        self._attempts += 1
        self._connection = self._connect(self.source, self._frames)

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._fps = connection.fps or self._fps
        self._frames += connection.frames
        self._damaged += connection.damaged
        self._dropped += connection.mailbox.dropped
        connection.abandon()
        if connection.alive:
            self._abandoned.append(connection)

    def _become(self, state: State, detail: str) -> None:
        self._state, self._detail = state, detail

    def _never(self, waited_s: float) -> str:
        reason = self._detail or f"source '{self.source.name}' gave no frame"
        return f"{reason} (waited {waited_s:g} s): check that it is on and the address is right"
