"""A queue that never holds the loop up, whatever its other side does."""

import threading
import time
from collections.abc import Sequence

import pytest

from sightline.edge_app.outputs.outbox import DeliveryFailed, DeliveryRefused, Outbox
from tests.edge_app.receivers import wait_until


class Door:
    """A delivery whose behaviour the test sets."""

    name = "door"

    def __init__(self) -> None:
        self.open = threading.Event()
        self.got: list[int] = []
        self.batches: list[int] = []
        self.script: list[Exception | None] = []
        self.closed = False
        self.open.set()

    def deliver(self, items: Sequence[int]) -> None:
        self.open.wait(30)
        step = self.script.pop(0) if self.script else None
        if step is not None:
            raise step
        self.got += items
        self.batches.append(len(items))

    def close(self) -> None:
        self.closed = True


def close(outbox: Outbox[int], seconds: float = 5.0) -> None:
    outbox.finish(time.monotonic() + seconds)
    outbox.join()


@pytest.mark.parametrize(("batch", "linger_s"), [(1, 0.0), (7, 0.0), (7, 0.05)])
def test_everything_arrives_in_order(batch: int, linger_s: float) -> None:
    door = Door()
    outbox = Outbox(door, lambda text: None, batch=batch, linger_s=linger_s)
    for number in range(100):
        outbox.put(number)
    close(outbox)
    assert door.got == list(range(100)) and max(door.batches) <= batch and door.closed
    assert (outbox.status.delivered, outbox.status.dropped, outbox.status.queued) == (100, 0, 0)


def test_where_every_item_counts_a_full_queue_is_waited_for_while_delivery_works() -> None:
    door = Door()
    outbox = Outbox(door, lambda text: None, capacity=3, retry_first_s=30, waits=True)
    for number in range(200):
        outbox.put(number)
    wait_until(lambda: len(door.got) == 200)
    door.script = [DeliveryFailed("the disk is full")]
    outbox.put(-1)
    wait_until(lambda: bool(outbox.status.trouble))
    for number in range(50):
        outbox.put(number)
    assert outbox.status.queued == 4 and outbox.status.dropped == 47
    close(outbox, 0.1)


def test_a_full_queue_drops_the_oldest_and_counts() -> None:
    door = Door()
    door.open.clear()
    outbox = Outbox(door, lambda text: None, capacity=10)
    outbox.put(-1)
    wait_until(lambda: outbox.status.queued == 1 and not outbox._waiting)
    for number in range(1000):
        outbox.put(number)
    assert outbox.status.queued == 11 and outbox.status.dropped == 990
    door.open.set()
    close(outbox)
    assert door.got == [-1, *range(990, 1000)]


def test_failures_are_tried_again_and_told_once() -> None:
    door, said = Door(), list[str]()
    door.script = [DeliveryFailed("away"), DeliveryFailed("away"), ValueError("surprise"), None]
    outbox = Outbox(door, said.append, retry_first_s=0.01)
    outbox.put(1)
    wait_until(lambda: door.got == [1])
    outbox.put(2)
    close(outbox)
    assert door.got == [1, 2] and outbox.status.failures == 3 and outbox.status.trouble == ""
    assert [text.split(";")[0] for text in said] == ["door: away", "door: works again"]


def test_what_is_refused_does_not_hold_up_the_next() -> None:
    door, said = Door(), list[str]()
    door.script = [DeliveryRefused("no"), None]
    outbox = Outbox(door, said.append)
    outbox.put(1)
    outbox.put(2)
    close(outbox)
    assert door.got == [2] and outbox.status.dropped == 1 and said[0] == "door: no"


def test_the_end_waits_no_longer_than_told() -> None:
    door = Door()
    door.open.clear()
    outbox = Outbox(door, lambda text: None)
    for number in range(5):
        outbox.put(number)
    close(outbox, 0.1)
    outbox.put(9)
    assert outbox.status.dropped == 6 and outbox.status.queued == 0
    door.open.set()


def test_the_end_of_a_run_tries_once_more() -> None:
    door = Door()
    door.script = [DeliveryFailed("away"), None]
    outbox = Outbox(door, lambda text: None, retry_first_s=60)
    outbox.put(1)
    wait_until(lambda: outbox.status.failures == 1)
    close(outbox)
    assert door.got == [1]


def test_what_the_end_cuts_off_is_counted() -> None:
    door = Door()
    door.script = [DeliveryFailed("away")] * 1000
    outbox = Outbox(door, lambda text: None, retry_first_s=0.01)
    for number in range(10):
        outbox.put(number)
    close(outbox, 0.2)
    assert (outbox.status.dropped, outbox.status.delivered, outbox.status.queued) == (10, 0, 0) and door.closed
