"""Cameras that the tests own: HTTP cameras on loopback that misbehave on demand, and scripted captures."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from sightline.edge_app.captures import EndOfStream
from sightline.edge_app.sources import Source
from sightline.runtime.preprocess import Image
from tests.factories import picture


def jpeg(label: str = "red", seed: int = 0, size_wh: tuple[int, int] = (64, 48)) -> bytes:
    return cv2.imencode(".jpg", picture(label, seed, size_wh))[1].tobytes()


def part(data: bytes, length: bool = True) -> bytes:
    stated = b"Content-Length: %d\r\n" % len(data) if length else b""
    return b"--frame\r\nContent-Type: image/jpeg\r\n" + stated + b"\r\n" + data + b"\r\n"


Answer = Callable[[threading.Event], Iterator[bytes]]


def stream(gone: threading.Event) -> Iterator[bytes]:
    """An endless MJPEG answer at 50 frames a second."""
    seed = 0
    while not gone.wait(0.02):
        yield part(jpeg("red", seed % 50))
        seed += 1


def silence(gone: threading.Event) -> Iterator[bytes]:
    """One picture, then nothing, the connection open."""
    yield part(jpeg()) + b"--frame\r\n"
    gone.wait(60)


class HttpCamera:
    """An HTTP camera. `answers` makes the body of each connection; the last one serves all later ones."""

    def __init__(self, *answers: Answer, content_type: str = "") -> None:
        self.answers = list(answers) or [stream]
        self.content_type = content_type or "multipart/x-mixed-replace; boundary=frame"
        self.status, self.headers, self.wants, self.digest = 200, {}, "", ""
        self.requests: list[dict[str, str]] = []
        self.gone = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def start(self) -> None:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.requests.append(dict(self.headers))
                camera._serve(self)

            def log_message(self, *words: object) -> None:
                pass

        self.gone.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = False  # so that closing waits for them
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.gone.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def url(self, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self._port}/video"

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        if self.wants and handler.headers.get("Authorization") != self.wants:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="camera"')
            handler.end_headers()
            return
        if self.digest and "Authorization" not in handler.headers:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", self.digest)
            handler.end_headers()
            return
        handler.send_response(self.status)
        for name, value in {"Content-Type": self.content_type, **self.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            for chunk in answer(self.gone):
                if self.gone.is_set():
                    break
                handler.wfile.write(chunk)
        except OSError:
            pass


@contextmanager
def http_camera(*answers: Answer, content_type: str = "") -> Iterator[HttpCamera]:
    camera = HttpCamera(*answers, content_type=content_type)
    camera.start()
    try:
        yield camera
    finally:
        camera.stop()


class Scripted:
    """A capture that gives frames, raises exceptions and runs functions from a list."""

    def __init__(self, script: Sequence[object], fps: float | None = None) -> None:
        self.fps, self.closed = fps, False
        self._script = iter(script)

    def read(self) -> Image:
        step = next(self._script, None)
        if callable(step):
            step = step()
        if isinstance(step, Exception):
            raise step
        if step is None:
            raise EndOfStream
        assert isinstance(step, np.ndarray)
        return step

    def skip(self) -> None:
        self.read()

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def scripted_source(*scripts: Sequence[object], live: bool = False, fps: float | None = 30.0) -> Source:
    """A source whose every opening plays the next script; an exception as a script fails to open."""
    waiting = list(scripts)

    def open_next() -> Scripted:
        script = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(script, Exception):
            raise script
        return Scripted(script, fps)

    return Source("scripted", live, live, open_next)


def write_video(path: Path, frames: Sequence[Image], fps: float = 25.0, codec: str = "mp4v") -> Path:
    rows, columns = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (columns, rows))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def read_video(path: Path) -> tuple[list[Image], float]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    fps, frames = capture.get(cv2.CAP_PROP_FPS), []
    while (got := capture.read())[0]:
        frames.append(got[1])
    capture.release()
    return frames, fps
