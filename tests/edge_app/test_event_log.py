"""The event log: bounded, readable while it is written, whole after a kill, damage put aside; and JSON lines."""

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sightline.edge_app import cli
from sightline.edge_app.outputs.event import Event
from sightline.edge_app.outputs.eventlog import EventLog, Wanted, read_events
from sightline.edge_app.outputs.lines import CAPACITY, LineWriter
from sightline.edge_app.outputs.outbox import DeliveryFailed
from sightline.edge_app.outputs.settings import Retention, Rotation
from sightline.runtime.errors import InputError
from tests.edge_app.receivers import wait_until

Y2100 = 4_102_444_800.0


def events(count: int, start: int = 0, at_s: float | None = None, name: str = "decision") -> list[Event]:
    now = time.time() if at_s is None else at_s
    return [
        Event(f"r-{start + one}", name, now, {"label": f"item {(start + one) % 7}", "pad": "x" * 200})
        for one in range(count)
    ]


def ids(path: Path, wanted: Wanted | None = None) -> list[int]:
    return [int(json.loads(line)["id"].partition("-")[2]) for line in read_events(path, wanted or Wanted())]


def log_of(path: Path, retention: Retention | None = None, said: list[str] | None = None) -> EventLog:
    return EventLog(path, retention or Retention(), (said if said is not None else []).append)


def test_events_are_read_back_by_age_name_label_and_number(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log.db")
    log.deliver(events(10, at_s=time.time() - 3600))
    log.deliver(events(10, start=10, name="state"))
    assert ids(log.path) == list(range(20))
    assert ids(log.path, Wanted(since_s=time.time() - 60)) == list(range(10, 20))
    assert ids(log.path, Wanted(name="state", last=3)) == [17, 18, 19]
    assert ids(log.path, Wanted(label="item 3")) == [3, 10, 17]
    log.close()


@pytest.mark.parametrize(
    ("retention", "kept"),
    [(Retention(rows=25), range(75, 100)), (Retention(days=0.5), range(50, 100))],
)
def test_the_past_is_forgotten(tmp_path: Path, retention: Retention, kept: range) -> None:
    log = log_of(tmp_path / "log.db", retention)
    log.deliver(events(50, at_s=time.time() - 86_400))
    log._pruned_s = float("-inf")
    log.deliver(events(50, start=50))
    log.close()
    assert ids(log.path) == list(kept)


def test_the_file_stays_below_its_size(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log.db", Retention(max_bytes=400_000))
    for batch in range(40):
        log._pruned_s = float("-inf")
        log.deliver(events(256, start=256 * batch))
    log.close()
    assert (tmp_path / "log.db").stat().st_size <= 450_000
    kept = ids(log.path)
    assert kept[-1] == 40 * 256 - 1 and kept == list(range(kept[0], kept[-1] + 1)) and len(kept) > 300


def test_a_batch_is_kept_once_where_the_past_cannot_be_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: EventLog, connection: sqlite3.Connection, now_s: float) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    log = log_of(tmp_path / "log.db", Retention(rows=5))
    with monkeypatch.context() as full:
        full.setattr(EventLog, "_prune", fail)
        log.deliver(events(10))
    log._pruned_s = float("-inf")
    log.deliver(events(1, start=10))
    log.close()
    assert ids(log.path) == [6, 7, 8, 9, 10]


KILLED = """
import sys, time
from pathlib import Path
from sightline.edge_app.outputs.eventlog import EventLog
from sightline.edge_app.outputs.settings import Retention
from tests.edge_app.test_event_log import events
log = EventLog(Path(sys.argv[1]), Retention(rows=500), print)
for batch in range(100_000):
    log._pruned_s = float("-inf")
    log.deliver(events(16, start=16 * batch))
    print(16 * (batch + 1), flush=True)
"""


def test_a_kill_loses_nothing_that_was_delivered(tmp_path: Path) -> None:
    for round in range(3):
        path = tmp_path / f"{round}.db"
        command = [sys.executable, "-c", KILLED, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
            assert process.stdout is not None
            for _ in range(5 + 7 * round):
                process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
            delivered = 16 * (5 + 7 * round)
        kept = ids(path)
        assert kept == list(range(kept[0], kept[-1] + 1)) and len(kept) <= 516
        assert kept[-1] >= delivered - 1 and (kept[-1] + 1) % 16 == 0
        log = log_of(path)
        log.deliver(events(1, start=kept[-1] + 1))
        log.close()
        assert ids(path)[-1] == kept[-1] + 1


def damage_body(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)


def damage_head(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [damage_body, damage_head])
def test_a_damaged_log_is_put_aside(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "log.db"
    log = log_of(path)
    log.deliver(events(200))
    log.close()
    damage(path)  # type: ignore[operator]
    said: list[str] = []
    log = log_of(path, said=said)
    log.deliver(events(3))
    log.close()
    assert ids(path) == [0, 1, 2] and len(list(tmp_path.glob("log.db.damaged-*"))) == 1
    assert "damaged" in said[0]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, much longer than a header" * 9)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE mine (one)")
    other.close()
    for name in ("notes.txt", "other.db", "missing/log.db"):
        with pytest.raises(InputError):
            log_of(tmp_path / name)
    assert (tmp_path / "notes.txt").read_text().startswith("not a database")


def test_a_locked_log_fails_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.edge_app.outputs.eventlog._BUSY_S", 0.05)
    log = log_of(tmp_path / "log.db")
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DeliveryFailed, match="locked"):
        log.deliver(events(2))
    other.execute("ROLLBACK")
    other.close()
    log.deliver(events(2))
    log.close()
    assert ids(log.path) == [0, 1]


def test_the_command_shows_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = log_of(tmp_path / "log.db")
    fields = {"label": None, "confidence": 0.25, "decided_by": None}
    log.deliver(
        [Event("r-1", "decision", Y2100, fields), Event("r-2", "state", Y2100 + 1, {"state": "lost", "detail": "gone"})]
    )
    log.deliver([Event("r-3", "taught", Y2100 + 2, {"label": "mug", "ids": [1]})])
    log.close()
    assert cli.run(["events", str(log.path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2100-01-01T00:00:00.000Z  decision  unknown  (0.25, nobody)",
        "2100-01-01T00:00:01.000Z  state     lost: gone",
        "2100-01-01T00:00:02.000Z  taught    mug",
    ]
    assert cli.run(["events", str(log.path), "--label", "mug", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "r-3"
    assert cli.run(["events", str(tmp_path / "none.db")]) == 1
    assert "does not exist" in capsys.readouterr().err


def write(path: Path, lines: list[bytes], rotation: Rotation) -> LineWriter:
    writer = LineWriter(str(path), rotation, True, lambda: False)
    for line in lines:
        writer.put(line)
    writer.close()
    return writer


def test_lines_replace_or_append(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    write(path, [b"1", b"2"], Rotation())
    write(path, [b"3"], Rotation(append=True))
    assert path.read_bytes() == b"1\n2\n3\n"
    path.write_bytes(b"1\n2\n{torn")
    write(path, [b"3"], Rotation(append=True))
    assert path.read_bytes() == b"1\n2\n{torn\n3\n"
    write(path, [b"4"], Rotation())
    assert path.read_bytes() == b"4\n"


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_lines_rotate(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "out.jsonl"
    write(path, [b"%09d" % number for number in range(105)], Rotation(max_bytes=100, keep=keep))
    assert path.read_bytes() == b"".join(b"%09d\n" % number for number in range(100, 105))
    older = sorted(tmp_path.glob("out.jsonl.*"))
    assert len(older) == keep
    for number, file in enumerate(older):
        assert file.read_bytes().startswith(b"%09d\n" % (90 - 10 * number))


def test_a_disk_that_is_full_costs_lines() -> None:
    writer = LineWriter("/dev/full", Rotation(), True, lambda: False)
    for _ in range(5):
        writer.put(b"{}")
    writer.close()
    assert writer.lost == 5


def stuck_pipe(path: Path) -> int:
    """A named pipe that somebody opened and nobody reads, full to the brim."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.close(writer)
    return reader


def test_a_reader_that_reads_nothing_costs_a_camera_lines(tmp_path: Path) -> None:
    reader = stuck_pipe(tmp_path / "pipe")
    writer = LineWriter(str(tmp_path / "pipe"), Rotation(), False, lambda: False)
    for _ in range(3 * CAPACITY):
        writer.put(b"{}")
    assert CAPACITY <= writer.lost <= 2 * CAPACITY
    writer.close()
    os.close(reader)
    writer._thread.join(20)


def test_a_slow_reader_gets_every_line_unless_the_run_was_asked_to_end(tmp_path: Path) -> None:
    for ending in (False, True):
        path, lines, got = tmp_path / f"pipe{ending:d}", 400, bytearray()
        os.mkfifo(path)

        def read(path: Path = path, got: bytearray = got) -> None:
            with path.open("rb", buffering=0) as stream:
                while data := stream.read(2048):
                    got.extend(data)
                    time.sleep(0.01)

        reader = threading.Thread(target=read)
        reader.start()
        writer = LineWriter(str(path), Rotation(), True, lambda ending=ending: ending)  # type: ignore[misc]
        for _ in range(lines):
            writer.put(b"x" * 1023)
        writer.close()
        # What the pipe itself holds counts as written: 64 lines.
        assert (writer.lost > 0) is ending
        writer._thread.join(60)
        reader.join(60)
        assert len(got) == 1024 * lines


def test_a_full_pipe_that_does_not_block_is_waited_for(tmp_path: Path) -> None:
    class Counted(io.FileIO):
        writes = 0

        def write(self, data: Any) -> int:
            Counted.writes += 1
            return super().write(data)

    reader = stuck_pipe(tmp_path / "pipe")
    writer = LineWriter(str(tmp_path / "pipe"), Rotation(), True, lambda: False)
    assert writer._stream is not None
    writer._stream.close()
    writer._stream = Counted(os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK), "wb")
    writer.put(b"whole")
    time.sleep(0.2)
    assert 1 <= Counted.writes < 5
    os.read(reader, 1_000_000)
    writer.close()
    assert os.read(reader, 100) == b"whole\n" and writer.lost == 0
    os.close(reader)


def test_a_reader_that_reads_nothing_holds_a_file_up_until_the_run_ends(tmp_path: Path) -> None:
    reader, ending = stuck_pipe(tmp_path / "pipe"), threading.Event()
    writer = LineWriter(str(tmp_path / "pipe"), Rotation(), True, ending.is_set)

    def put_many() -> None:
        for _ in range(3 * CAPACITY):
            writer.put(b"{}")

    thread = threading.Thread(target=put_many)
    thread.start()
    wait_until(lambda: len(writer._lines) == CAPACITY)
    assert thread.is_alive() and writer.lost == 0
    ending.set()
    thread.join(20)
    assert not thread.is_alive() and writer.lost
    writer.close()
    os.close(reader)
    writer._thread.join(20)
