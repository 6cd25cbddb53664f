"""What a run says to systemd, and what it does when systemd speaks to it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sightline.edge_app.reader import State, Status
from sightline.edge_app.service.supervision import Supervisor
from sightline.runtime.manifest import DecisionPolicy
from tests.edge_app.receivers import wait_until
from tests.factories import tiny_bundle

SIGHTLINE = str(Path(sys.executable).parent / "sightline")


class Manager:
    """A service manager's end of the notification socket."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = f"@sightline-test-{os.getpid()}-{folder.name}"
        self.socket.bind("\0" + self.address[1:])
        self.socket.settimeout(30)
        self.heard: list[str] = []

    def hear(self, wanted: str) -> str:
        while not (self.heard and self.heard[-1].startswith(wanted)):
            self.heard.append(self.socket.recv(4096).decode())
        return self.heard[-1]

    def hear_all(self) -> list[str]:
        """What was said since and not heard yet."""
        self.socket.setblocking(False)
        said = []
        with suppress(BlockingIOError):
            while True:
                said.append(self.socket.recv(4096).decode())
        return said


@contextmanager
def service(bundle: Path, manager: Manager | None, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [SIGHTLINE, "run", str(bundle), "--headless", *words]
    environment = {**os.environ, **({"NOTIFY_SOCKET": manager.address} if manager else {})}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def labels(out: Path) -> list[str | None]:
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    return [line["label"] for line in lines if "frame" in line]


def test_a_run_says_ready_feeds_the_watchdog_and_says_goodbye(tmp_path: Path) -> None:
    manager, out = Manager(tmp_path), tmp_path / "out.jsonl"
    words = ["--source", "test://?size=64x48&fps=30", "--json", str(out), "--every-frame"]
    with service(tiny_bundle(tmp_path / "b"), manager, *words) as process:
        manager.hear("READY=1")
        manager.hear("WATCHDOG=1")
        manager.hear("STATUS=live: ")
        manager.hear("WATCHDOG=1")
        process.terminate()
        manager.hear("STOPPING=1")
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 0, stderr
    # Whole lines to the last one, as many as the last sentence counts.
    assert f"{len(labels(out))} frames in" in stderr
    manager.socket.close()


def test_without_a_frame_the_watchdog_starves(tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    words = ["--source", "http://127.0.0.1:9/video", "--connect-timeout", "2.5"]
    with service(tiny_bundle(tmp_path / "b"), manager, *words) as process:
        process.communicate(timeout=60)
    heard = manager.hear_all()
    manager.socket.close()
    assert heard[0] == "READY=1" and any(text.startswith("STATUS=connecting") for text in heard)
    assert "WATCHDOG=1" not in heard


def test_a_camera_that_is_away_is_given_an_hour_and_one_that_hangs_is_not(tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000000"}
    supervisor = Supervisor(environment)
    assert not environment, "what a run starts for an event does not speak for it"
    patience = []
    for state, detail, hung in (
        (State.CONNECTING, "", False),
        (State.CONNECTING, "refused", False),
        (State.CONNECTING, "nobody answers", False),
        (State.LIVE, "", False),
        (State.LOST, "unplugged", False),
        (State.LOST, "hangs", True),
        (State.STALLED, "no frame", False),
    ):
        supervisor.state(Status(state, detail, 1, 0, 0, hung))
        patience.append([said for said in (manager.hear_all()) if said.startswith("WATCHDOG")])
    hour, minute = ["WATCHDOG_USEC=3600000000"], ["WATCHDOG_USEC=60000000"]
    assert patience == [[], hour, [], minute, hour, minute, []]
    supervisor.close()
    manager.socket.close()


def test_sighup_loads_the_bundle_again_and_loses_no_frame(tmp_path: Path) -> None:
    sure, unsure = DecisionPolicy(min_probability=0.0), DecisionPolicy(min_probability=1.1)
    bundle, fresh, out = tiny_bundle(tmp_path / "b", policy=unsure), tmp_path / "fresh", tmp_path / "out.jsonl"
    tiny_bundle(fresh, policy=sure)
    words = ["--source", "test://?size=64x48&fps=30", "--json", str(out), "--every-frame", "--smooth", "1"]
    with service(bundle, None, *words) as process:
        wait_until(lambda: len(labels(out)) > 5, 60)
        bundle.rename(tmp_path / "old")
        fresh.rename(bundle)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: labels(out)[-1] is not None, 60)
        process.terminate()
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 0 and "loaded again" in stderr, stderr
    got = [label is not None for label in labels(out)]
    assert got == sorted(got), "once the new bundle answers, the old one does no more"


def test_a_bundle_that_cannot_be_loaded_leaves_the_old_one(tmp_path: Path) -> None:
    bundle, out = tiny_bundle(tmp_path / "b"), tmp_path / "out.jsonl"
    words = ["--source", "test://?size=64x48&fps=30", "--json", str(out), "--every-frame"]
    with service(bundle, None, *words) as process:
        wait_until(lambda: len(labels(out)) > 5, 60)
        shutil.rmtree(bundle)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: '"error"' in out.read_text(), 60)
        count = len(labels(out))
        wait_until(lambda: len(labels(out)) > count + 5, 60)
        process.terminate()
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 0 and "nothing was reloaded" in stderr


def test_a_manager_that_is_gone_or_deaf_is_no_concern(tmp_path: Path) -> None:
    environment: dict[str, str] = {"NOTIFY_SOCKET": str(tmp_path / "gone")}
    supervisor = Supervisor(environment)
    supervisor.ready()
    supervisor.close()
    assert not environment
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deaf.bind(str(tmp_path / "deaf"))
    supervisor = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "deaf")})
    start = time.monotonic()
    for attempt in range(5000):
        supervisor.state(Status(State.LOST, f"gone\nfor {attempt}", 1, 0, 0))
    assert time.monotonic() - start < 30
    assert "\n" not in deaf.recv(4096).decode()
    supervisor.close()
    deaf.close()


def test_no_manager_no_words() -> None:
    environment: dict[str, Any] = {}
    supervisor = Supervisor(environment)
    supervisor.ready()
    supervisor.close()
