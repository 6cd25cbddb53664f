"""The reader: its states on a clock of our own, and real threads, real files and real losses."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from sightline.edge_app.captures import DamagedFrame, EndOfStream, SourceRefused
from sightline.edge_app.connection import Frame, Mailbox, ThreadConnection, same_picture
from sightline.edge_app.reader import MAX_ABANDONED, Patience, Reader, State
from sightline.edge_app.sources import Source, parse_source
from sightline.runtime.errors import SourceError
from tests.edge_app.cameras import HttpCamera, http_camera, scripted_source, silence, stream
from tests.factories import picture

FRAME = np.zeros((4, 4, 3), np.uint8)
QUICK = Patience(connect_s=5, stall_s=0.2, frozen_s=0.5, hang_s=0.6, retry_first_s=0.02, retry_absent_s=0.1)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeConnection:
    """A connection whose notes the test writes."""

    started_s: float
    number: int
    mailbox: Mailbox = field(default_factory=lambda: Mailbox(newest_wins=True))
    fps: float | None = None
    first_frame_s: float | None = None
    changed_s: float | None = None
    waiting_since_s: float | None = None
    frames: int = 0
    damaged: int = 0
    outcome: Exception | None = None
    alive: bool = True
    abandoned: bool = False

    def abandon(self) -> None:
        self.abandoned = True

    def join(self, timeout_s: float) -> None:
        pass

    def frame(self, now: float, fresh: bool = True) -> None:
        self.first_frame_s = self.first_frame_s or now
        self.changed_s = now if fresh else self.changed_s
        self.waiting_since_s = now
        self.mailbox.put(Frame(FRAME, self.number + self.frames, now))
        self.frames += 1


class Bench:
    """A reader on a clock that stands still until the test moves it."""

    def __init__(self, live: bool = True, patience: Patience | None = None) -> None:
        self.clock = Clock()
        self.connections: list[FakeConnection] = []
        source = Source("cam", live, live, lambda: pytest.fail("not opened here"))
        self.reader = Reader(source, patience, self.connect, self.clock, sleep=lambda seconds: None, jitter=lambda: 0.5)

    def connect(self, source: Source, number: int) -> FakeConnection:
        connection = FakeConnection(self.clock.now, number, waiting_since_s=self.clock.now)
        self.connections.append(connection)
        return connection

    def after(self, seconds: float) -> State:
        self.clock.now += seconds
        self.reader.take(0)
        return self.reader.status.state

    def live(self) -> FakeConnection:
        self.after(0)
        self.connections[-1].frame(self.clock.now)
        assert self.after(0) is State.LIVE
        return self.connections[-1]


def test_connecting_then_live_then_stalled_then_live() -> None:
    bench = Bench()
    assert bench.after(0) is State.CONNECTING
    connection = bench.live()
    assert bench.after(1.9) is State.LIVE
    assert bench.after(0.2) is State.STALLED
    assert "no frame for 2 s" in bench.reader.status.detail
    connection.frame(bench.clock.now)
    assert bench.after(0) is State.LIVE and bench.reader.status.detail == ""


def test_a_hanging_reader_is_abandoned_and_the_source_opened_anew() -> None:
    bench = Bench()
    first = bench.live()
    assert bench.after(10.1) is State.LOST
    assert first.abandoned and "hangs" in bench.reader.status.detail and bench.reader.status.hung
    assert bench.after(0.6) is State.LOST and len(bench.connections) == 2
    bench.connections[-1].frame(bench.clock.now)
    assert bench.after(0) is State.LIVE and not bench.reader.status.hung
    assert bench.connections[-1].number == first.frames


def test_a_few_hanging_threads_are_enough() -> None:
    bench = Bench()
    bench.live()
    for _ in range(200):
        bench.after(5)
    assert len(bench.connections) == MAX_ABANDONED
    bench.connections[0].alive = False
    bench.after(5)
    assert len(bench.connections) == MAX_ABANDONED + 1


def test_the_very_same_picture_is_a_stall_and_is_not_given() -> None:
    bench = Bench()
    connection = bench.live()
    for _ in range(12):
        bench.clock.now += 1
        connection.frame(bench.clock.now, fresh=False)
        frame = bench.reader.take(0)
    assert bench.reader.status.state is State.STALLED and frame is None
    connection.frame(bench.clock.now)
    assert bench.reader.take(0) is not None


@pytest.mark.parametrize(
    ("error", "longest"), [(SourceError("gone"), 5.0), (SourceRefused("no"), 30.0), (EndOfStream(), 5.0)]
)
def test_pauses_double_up_to_a_limit(error: Exception, longest: float) -> None:
    bench = Bench()
    bench.live()
    pauses = []
    for _ in range(9):
        bench.connections[-1].outcome, bench.connections[-1].alive = error, False
        assert bench.after(0) is State.LOST
        lost_s, count = bench.clock.now, len(bench.connections)
        while len(bench.connections) == count:
            bench.after(0.05)
        pauses.append(bench.clock.now - lost_s)
    assert pauses[:3] == pytest.approx([0.5, 1.0, 2.0], abs=0.11)
    assert pauses[-1] == pytest.approx(longest, abs=0.11) and max(pauses) < longest + 0.11


def test_a_steady_connection_makes_the_next_pause_short_again() -> None:
    bench = Bench()
    bench.live()
    for _ in range(6):
        bench.connections[-1].outcome, bench.connections[-1].alive = SourceError("gone"), False
        bench.after(0)
        bench.after(6)
    for _ in range(5):
        bench.connections[-1].frame(bench.clock.now)
        bench.after(1)
    bench.connections[-1].outcome, bench.connections[-1].alive = SourceError("gone"), False
    bench.after(0)
    count = len(bench.connections)
    bench.after(0.55)
    assert len(bench.connections) == count + 1


def test_a_source_that_was_never_there_is_an_error_in_time() -> None:
    bench = Bench(patience=Patience(connect_s=4))
    bench.after(0)
    bench.connections[-1].outcome = SourceError("source 'cam' cannot be opened: no such device")
    assert bench.after(1) is State.CONNECTING
    with pytest.raises(SourceError, match=r"no such device \(waited 4 s\)"):
        for _ in range(10):
            bench.after(1)


def test_a_source_that_hangs_while_opening_is_an_error_in_time() -> None:
    bench = Bench()
    bench.after(0)
    with pytest.raises(SourceError, match="waited 10 s"):
        bench.after(10.5)


def test_a_file_that_fails_is_an_error_at_once() -> None:
    bench = Bench(live=False)
    bench.after(0)
    bench.connections[-1].outcome = SourceError("source 'clip.mp4' cannot be opened")
    with pytest.raises(SourceError, match=r"clip\.mp4"):
        bench.after(0)


def test_the_last_frame_of_a_file_is_given_before_its_end() -> None:
    bench = Bench(live=False)
    bench.after(0)
    connection = bench.connections[-1]
    connection.frame(bench.clock.now)
    connection.outcome, connection.waiting_since_s = EndOfStream(), None
    assert bench.reader.take(0) is not None
    bench.reader.take(0)
    assert bench.reader.status.state is State.ENDED
    assert bench.reader.take(0) is None


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    mailbox = Mailbox(newest_wins=True)
    for number in range(5):
        mailbox.put(Frame(FRAME, number, 0.0))
    newest = mailbox.take(0)
    assert newest is not None and newest.number == 4 and mailbox.dropped == 4
    assert mailbox.take(0) is None


def test_a_file_waits_until_its_frame_is_taken_and_stops_when_closed() -> None:
    mailbox, sent = Mailbox(newest_wins=False), []
    sender = threading.Thread(target=lambda: sent.extend(mailbox.put(Frame(FRAME, number, 0.0)) for number in range(3)))
    sender.start()
    time.sleep(0.05)
    first = mailbox.take(1)
    assert first is not None and first.number == 0 and mailbox.dropped == 0
    time.sleep(0.05)
    mailbox.close()
    sender.join(2)
    assert not sender.is_alive() and sent[-1] is False


def test_same_picture() -> None:
    first = picture("red", 0, (320, 240))
    other = first.copy()
    assert same_picture(first, other)
    other[5, 7, 1] ^= 1
    assert not same_picture(first, other) and not same_picture(first, first[:-1])


def collect(reader: Reader, until: Callable[[], bool], timeout_s: float = 10.0) -> list[Frame]:
    frames, deadline = [], time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline, reader.status
        frame = reader.take(0.02)
        frames += [frame] if frame is not None else []
    return frames


def test_a_slow_loop_loses_no_frame_of_a_file() -> None:
    reader = Reader(parse_source("test://?size=64x48&fps=0&frames=30"))
    frames = []
    while reader.status.state is not State.ENDED:
        frame = reader.take(0.02)
        frames += [frame.number] if frame is not None else []
        time.sleep(0.002)
    assert frames == list(range(30))
    reader.close()


def test_damaged_frames_and_other_sizes_are_survived() -> None:
    script = [picture("red", 0), DamagedFrame("bad"), picture("red", 1, (128, 96)), picture("red", 2)]
    reader = Reader(scripted_source(script))
    frames = collect(reader, lambda: reader.status.state is State.ENDED)
    assert [frame.image_bgr.shape for frame in frames] == [(48, 64, 3), (96, 128, 3), (48, 64, 3)]
    assert reader.status.damaged == 1


def test_a_driver_that_raises_anything_is_a_loss_and_comes_back() -> None:
    frames = [picture("red", seed) for seed in range(3)]
    reader = Reader(scripted_source([*frames, ValueError("driver")], frames, live=True), QUICK)
    collect(reader, lambda: reader.status.attempts >= 2)
    reader.close()


def test_a_thread_that_hangs_does_not_hold_the_loop() -> None:
    release = threading.Event()
    hang = [picture("red", 0), lambda: release.wait(30) and None]
    back = [picture("red", seed) for seed in range(2)] * 1000
    reader = Reader(scripted_source(hang, back, live=True), QUICK)
    start = time.monotonic()
    collect(reader, lambda: reader.status.attempts >= 2 and reader.status.state is State.LIVE)
    assert time.monotonic() - start < 10
    assert reader.hanging
    release.set()
    reader.close()
    assert not reader.hanging


def test_an_http_camera_that_vanishes_and_comes_back() -> None:
    camera = HttpCamera(stream)
    camera.start()
    reader = Reader(parse_source(camera.url()), QUICK)
    try:
        before = collect(reader, lambda: reader.status.state is State.LIVE)
        camera.stop()
        collect(reader, lambda: reader.status.state is State.LOST)
        camera.start()
        after = collect(reader, lambda: reader.status.state is State.LIVE)
        after += collect(reader, lambda: len(after) > 0 or reader.take(0.05) is not None)
        assert reader.status.attempts >= 2
        numbers = [frame.number for frame in before + after]
        assert numbers == sorted(set(numbers))
    finally:
        reader.close()
        camera.stop()


def test_an_http_camera_that_falls_silent_is_stalled_then_opened_anew() -> None:
    with http_camera(silence, stream) as camera:
        reader = Reader(parse_source(camera.url()), QUICK)
        collect(reader, lambda: reader.status.state is State.STALLED)
        collect(reader, lambda: reader.status.state is State.LIVE)
        assert reader.status.attempts == 2
        reader.close()


def test_close_ends_the_thread() -> None:
    connection = ThreadConnection(parse_source("test://?size=64x48&fps=100"), 0)
    assert connection.mailbox.take(2) is not None
    connection.abandon()
    connection.join(2)
    assert not connection.alive


def test_a_silent_http_camera_leaves_no_thread_behind() -> None:
    with http_camera(silence) as camera:
        connection = ThreadConnection(parse_source(camera.url()), 0)
        assert connection.mailbox.take(5) is not None
        connection.abandon()
        connection.join(2)  # less than the five seconds of the read's own limit
        assert not connection.alive
