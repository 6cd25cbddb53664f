"""Kiosks that the tests own: a real loop with its page on a free port, and a plain client."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.edge_app.controls import Stop
from sightline.edge_app.live import RunOptions, run_live
from sightline.runtime.reporter import QuietReporter

LIVE = "test://?size=320x240&fps=30"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def state(self) -> Any:
        return json.loads(self.body[: int(self.headers["x-state-bytes"])])

    @property
    def jpeg(self) -> bytes:
        return self.body[int(self.headers["x-state-bytes"]) :]


class Client:
    """A program that is no browser."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port, self.host = port, host

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            low = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, low, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, **headers)

    def post(self, path: str, value: object, **headers: str) -> Reply:
        return self.ask("POST", path, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def view(self, **asked: object) -> Reply:
        return self.get("/api/view?" + "&".join(f"{name}={value}" for name, value in asked.items()))


class Notes(QuietReporter):
    """A reporter that keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(f"warning: {text}")


@dataclass(slots=True)
class Running:
    """A run in a thread of the test."""

    client: Client
    url: str
    stop: Stop
    notes: Notes
    thread: threading.Thread
    errors: list[BaseException] = field(default_factory=list)

    def end(self) -> None:
        self.stop.ask("the test is over")
        self.thread.join(30)
        assert not self.thread.is_alive()


@contextmanager
def kiosk(
    bundle: Path, source: object, gallery: Path | None, where: str = "127.0.0.1:0", **more: Any
) -> Iterator[Running]:
    """Run with a page until the block ends; what the run raised is raised."""
    stop, notes, errors = Stop(), Notes(), []
    options = RunOptions(str(bundle), str(source), str(gallery) if gallery else None, kiosk=where, **more)

    def work() -> None:
        try:
            run_live(options, stop, notes)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        url = until(lambda: next((line[12:] for line in notes.said if line.startswith("kiosk page: ")), None) or errors)
        if errors:
            raise errors[0]
        assert isinstance(url, str)
        running = Running(Client(int(url.rstrip("/").rpartition(":")[2])), url, stop, notes, thread, errors)
        yield running
    finally:
        stop.ask("the test is over")
        thread.join(30)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def until(what: Callable[[], Any], timeout_s: float = 60) -> Any:
    """What `what` gives as soon as that is something."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if got := what():
            return got
        time.sleep(0.02)
    raise AssertionError("it did not come about")


def state_where(client: Client, holds: Callable[[Any], bool], timeout_s: float = 60) -> Any:
    """The first state for which this holds."""

    def look() -> Any:
        state = client.view().state
        return state if holds(state) else None

    return until(look, timeout_s)
