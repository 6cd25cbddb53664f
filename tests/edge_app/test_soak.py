"""The short form of `make soak`: a whole run with its outputs on, whose camera fails again and again."""

import threading
from pathlib import Path
from typing import Any

import pytest

from sightline.edge_app import live
from sightline.edge_app.controls import Stop
from sightline.edge_app.live import RunOptions, run_live
from sightline.edge_app.outputs.eventlog import Wanted, read_events
from sightline.edge_app.outputs.settings import OutputOptions
from sightline.edge_app.reader import Patience
from tests.edge_app.cameras import Answer, http_camera, jpeg, part
from tests.edge_app.receivers import wait_until
from tests.factories import tiny_bundle

CYCLES = 40


def failing(kind: int) -> Answer:
    """A connection that gives two frames and then drops, sends garbage, half a frame, another size, or nothing."""

    def answer(gone: threading.Event) -> Any:
        yield part(jpeg("red", kind)) + part(jpeg("red", kind + 1))
        if kind % 5 == 1:
            yield b"--frame\r\n\r\n" + bytes(range(256)) * 20
        elif kind % 5 == 2:
            yield part(jpeg()[:300])
        elif kind % 5 == 3:
            yield part(jpeg("red", 3, (320, 240)))
        elif kind % 5 == 4:
            gone.wait(0.5)

    return answer


def own_threads() -> int:
    return sum(thread.name.startswith("sightline") for thread in threading.enumerate())


def handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_run_survives_a_camera_that_fails_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell a process's file handles")
    quick = Patience(60, 0.1, 5, 0.2, 0.005, 0.02, 0.02, 60)
    monkeypatch.setattr(live, "Patience", lambda connect_s: quick)
    outputs = OutputOptions(events=str(tmp_path / "log.db"), trace=str(tmp_path / "trace"), trace_bytes=1_000_000)
    stop, marks = Stop(), []
    with http_camera(*(failing(kind) for kind in range(10_000))) as camera:
        options = RunOptions(
            str(tiny_bundle(tmp_path / "b")), camera.url(), headless=True, every_frame=True, outputs=outputs
        )
        thread = threading.Thread(target=run_live, args=(options, stop))
        thread.start()
        try:
            for count in (CYCLES // 4, CYCLES):
                wait_until(lambda count=count: len(camera.requests) >= count, 120)
                marks.append((own_threads(), handles()))
        finally:
            stop.ask("measured")
            thread.join(30)
    assert not thread.is_alive()
    # The camera's own connections are in this process too: a few come and go.
    assert marks[1][0] <= marks[0][0] + 2 and marks[1][1] <= marks[0][1] + 8
    told = list(read_events(tmp_path / "log.db", Wanted(name="state")))
    assert sum('"lost"' in line for line in told) >= CYCLES // 2
    labels = [line for line in read_events(tmp_path / "log.db", Wanted(name="decision")) if '"label":"red"' in line]
    assert len(labels) >= CYCLES // 4
