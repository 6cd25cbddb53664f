"""A bounded queue and the thread that delivers from it, with retries that grow apart.

`put` never waits, unless it is told to and all is well. While the other side is away the newest events are kept and
the oldest dropped; what was taken for delivery is tried until it succeeds, is refused for good, or the run ends.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

CAPACITY = 1000
RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 60.0
_LOOK_S = 0.02

Item = TypeVar("Item")
Taken = TypeVar("Taken", contravariant=True)


class DeliveryFailed(Exception):
    """The other side cannot take it now; it is tried again. The message holds no credential."""


class DeliveryRefused(Exception):
    """The other side will never take these; they are dropped and counted."""


class Delivery(Protocol[Taken]):
    """The way out of an outbox. Every method is called on the outbox's thread."""

    name: str

    def deliver(self, items: Sequence[Taken]) -> None:
        """Hand items over; raises DeliveryFailed or DeliveryRefused. Waits a few seconds at most."""

    def close(self) -> None:
        """Let go of connections and files."""


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How an output fares.

    Attributes:
        name: Which one; no credential in it.
        queued: Events that wait.
        delivered: Events handed over.
        dropped: Events lost because the queue was full, the other side refused them, or the run ended.
        failures: Attempts that failed.
        trouble: Why the last attempt failed; "" while it works.
    """

    name: str
    queued: int
    delivered: int
    dropped: int
    failures: int
    trouble: str


class Outbox(Generic[Item]):
    """Delivers what is put into it, in order.

    Args:
        delivery: The way out.
        say: Told once when delivery begins to fail, once when it works again; called on the outbox's thread.
        capacity: Items that may wait.
        batch: Items handed over at once, at most.
        linger_s: How long to wait for more before handing over, seconds.
        jitter: A number from 0 to 1; many devices must not knock at one server in step.
        waits: Whether `put` waits for room as long as delivery works (files as source) or the oldest item is lost.
    """

    def __init__(
        self,
        delivery: Delivery[Item],
        say: Callable[[str], None],
        capacity: int = CAPACITY,
        batch: int = 1,
        linger_s: float = 0.0,
        retry_first_s: float = RETRY_FIRST_S,
        jitter: Callable[[], float] = random.random,
        waits: bool = False,
    ) -> None:
        self._delivery, self._say, self._jitter, self._waits = delivery, say, jitter, waits
        self._capacity, self._batch, self._linger_s, self._retry_first_s = capacity, batch, linger_s, retry_first_s
        self._waiting: deque[Item] = deque()
        self._in_hand: list[Item] = []
        self._delivered = self._dropped = self._failures = 0
        self._trouble = ""
        self._closing = False
        self._end_s = float("inf")
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"sightline-{delivery.name}", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Leave an item; the oldest makes room where none is left."""
        with self._changed:
            while self._waits and len(self._waiting) >= self._capacity and not (self._trouble or self._closing):
                self._changed.wait(_LOOK_S)
            if self._closing:
                self._dropped += 1
                return
            if len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(item)
            self._changed.notify()

    @property
    def status(self) -> OutboxStatus:
        """How it fares at this moment."""
        with self._changed:
            queued = len(self._waiting) + len(self._in_hand)
            return OutboxStatus(
                self._delivery.name, queued, self._delivered, self._dropped, self._failures, self._trouble
            )

    def finish(self, deadline_s: float) -> None:
        """Take no more, and deliver what waits until `deadline_s` on the clock `time.monotonic`; does not wait."""
        with self._changed:
            self._closing, self._end_s = True, min(self._end_s, deadline_s)
            self._changed.notify()

    def join(self) -> None:
        """Wait until it is through or its deadline has passed; what is left then is dropped and counted.

        A delivery that hangs is left behind on its thread.
        """
        self._thread.join(max(0.0, self._end_s - time.monotonic()))
        with self._changed:
            self._dropped += len(self._waiting) + len(self._in_hand)
            self._waiting.clear()
            self._in_hand = []

    def _work(self) -> None:
        try:
            while self._take() and self._hand_over():
                pass
        finally:
            self._delivery.close()

    def _take(self) -> bool:
        """Wait for items and take some in hand; False when there will be no more."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if self._linger_s and not self._closing and len(self._waiting) < self._batch:
                self._changed.wait_for(lambda: self._closing or len(self._waiting) >= self._batch, self._linger_s)
            self._in_hand = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            return bool(self._in_hand)

    def _hand_over(self) -> bool:
        """Deliver what is in hand, or have it refused; False when the run ended before that."""
        pause_s = self._retry_first_s
        while True:
            try:
                self._delivery.deliver(self._in_hand)
                self._count(delivered=True, trouble="")
                return True
            except DeliveryRefused as error:
                self._count(delivered=False, trouble=str(error))
                return True
            except DeliveryFailed as error:
                self._note_failure(str(error))
            except Exception as error:  # libraries fail in ways no list foresees; a dead thread would be silent
                self._note_failure(f"failed unexpectedly ({type(error).__name__})")
            if not self._rest(pause_s * (0.75 + 0.5 * self._jitter())):
                return False
            pause_s = min(RETRY_LONGEST_S, 2 * pause_s)

    def _count(self, delivered: bool, trouble: str) -> None:
        with self._changed:
            before, self._trouble = self._trouble, trouble
            if delivered:
                self._delivered += len(self._in_hand)
            else:
                self._dropped += len(self._in_hand)
            self._in_hand = []
        if trouble and trouble != before:
            self._say(f"{self._delivery.name}: {trouble}")
        elif before and not trouble:
            self._say(f"{self._delivery.name}: works again")

    def _note_failure(self, trouble: str) -> None:
        with self._changed:
            before, self._trouble = self._trouble, trouble
            self._failures += 1
        if not before:
            self._say(f"{self._delivery.name}: {trouble}; tried again, {self._capacity} events are kept meanwhile")

    def _rest(self, pause_s: float) -> bool:
        """Wait before the next attempt; False when the run ends before it."""
        with self._changed:
            until = time.monotonic() + pause_s
            while not self._closing and time.monotonic() < until:
                self._changed.wait(until - time.monotonic())
            if not self._closing:
                return True
            last_s = min(pause_s, 0.1)
            if time.monotonic() + last_s >= self._end_s:
                return False
            self._changed.wait(last_s)
            return True
