"""The newest moment of the loop, and those who wait for it.

One slot: a browser that is slow misses moments and costs the loop nothing. Leaving a moment here takes about
two microseconds while nobody waits.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ..connection import Frame
from ..overlay import View
from ..teach import Lesson

# While nothing moves, three pictures a second are as good as thirty and leave the board idle.
STILL_S = 0.33


@dataclass(frozen=True, slots=True)
class Happening:
    """Something to tell once.

    Attributes:
        number: Counts up over the run.
        kind: "taught", "removed" or "error".
        text: It in words.
        label: The item, or "".
        ids: The entries, on the disk or gone from it.
    """

    number: int
    kind: str
    text: str
    label: str = ""
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """What the loop last showed.

    Attributes:
        frame: The last frame, or None before the first.
        view: What is said of it.
        lesson: What is being taught, or None.
        undoable: Whether something taught can be taken back.
        happenings: The last few, oldest first.
        at_s: When the loop showed it, on `time.monotonic`.
        version: Counts up when a browser has something new to show.
    """

    frame: Frame | None
    view: View
    lesson: Lesson | None
    undoable: bool
    happenings: tuple[Happening, ...]
    at_s: float
    version: int = 0


class Feed:
    """Hands the loop's moments to the server's event loop."""

    def __init__(self) -> None:
        self._moment: Moment | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the event loop that waits."""
        self._loop = loop

    @property
    def newest(self) -> Moment | None:
        """The newest moment, or None before the first."""
        return self._moment

    def publish(self, moment: Moment) -> None:
        """Replace the moment; wakes those who wait where a browser would look different."""
        before, self._moment = self._moment, moment
        if self._waiting and (before is None or before.version != moment.version):
            self._call(self._wake)

    def close(self) -> None:
        """Let everybody go who waits."""
        self._closed = True
        self._call(self._wake)

    async def wait(self, after: int, patience_s: float) -> Moment | None:
        """Give the newest moment as soon as its version is not `after`, at the latest after `patience_s`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while not self._closed and not self._has_other(after) and (left := deadline - loop.time()) > 0:
            await self._news(loop, after, left)
        return self._moment

    def _has_other(self, version: int) -> bool:
        return self._moment is not None and self._moment.version != version

    async def _news(self, loop: asyncio.AbstractEventLoop, after: int, timeout_s: float) -> None:
        news: asyncio.Future[None] = loop.create_future()
        self._waiting.add(news)
        try:
            # What was published just before it waited has woken nobody.
            if not self._has_other(after):
                await asyncio.wait([news], timeout=timeout_s)
        finally:
            self._waiting.discard(news)

    def _wake(self) -> None:
        for news in self._waiting:
            if not news.done():
                news.set_result(None)

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            self._loop = None  # the server has ended; nobody waits any more
