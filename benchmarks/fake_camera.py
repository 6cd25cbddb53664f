"""An HTTP camera in a process of its own, whose frames carry their number, and which can be made to fail.

    python benchmarks/fake_camera.py [--fps 30] [--size 640x480] [--still] [--faulty]

Prints its address, then serves until it is killed. Frame n was taken at START + n / fps on CLOCK_MONOTONIC; START
is printed after the address. With `--faulty` each connection ends in another way after a few frames.
"""

import argparse
import contextlib
import itertools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from numpy.typing import NDArray

BITS = 20
FAULTS = ("drop", "garbage", "half", "silence", "error", "resize", "html")


def number_of(frame_bgr: NDArray[np.uint8]) -> int:
    """Read the number in a frame's first row of blocks."""
    width = frame_bgr.shape[1] // BITS
    means = [
        int(frame_bgr[4:12, bit * width + width // 4 : (bit + 1) * width - width // 4].mean()) for bit in range(BITS)
    ]
    return sum((mean > 127) << bit for bit, mean in enumerate(means))


class Pictures:
    """Encodes numbered frames: moving bars, or a still scene with sensor noise."""

    def __init__(self, width: int, height: int, still: bool) -> None:
        random = np.random.default_rng(0)
        scene = cv2.resize(random.integers(0, 255, (9, 16, 3), dtype=np.uint8), (width, height))
        noise = random.normal(0, 2, (8, height, width, 3))
        self._scenes = [np.clip(scene + one, 0, 255).astype(np.uint8) for one in noise]
        self._still = still
        self._ready = [self._encode(scene) for scene in self._scenes]

    def __call__(self, number: int) -> bytes:
        """The JPEG of a frame."""
        if self._still:
            return self._ready[number % len(self._ready)]
        frame = np.roll(self._scenes[number % len(self._scenes)], 8 * number, axis=1)
        width = frame.shape[1] // BITS
        for bit in range(BITS):
            frame[:16, bit * width : (bit + 1) * width] = 255 * (number >> bit & 1)
        return self._encode(frame)

    @staticmethod
    def _encode(frame: NDArray[np.uint8]) -> bytes:
        return cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


class Camera(ThreadingHTTPServer):
    """The server; `frame` is the number of the newest frame."""

    daemon_threads = True

    def __init__(self, fps: float, size_wh: tuple[int, int], still: bool, faulty: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fps, self.start_s, self.faulty = fps, time.monotonic(), faulty
        self.pictures = Pictures(*size_wh, still)
        self.other = Pictures(size_wh[0] // 2, size_wh[1] // 2, still)
        self.connections = itertools.count()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Camera

    def do_GET(self) -> None:
        """Send frames when they are due, then fail if that is asked."""
        fault = FAULTS[next(self.server.connections) % len(FAULTS)] if self.server.faulty else ""
        if fault in ("error", "html"):
            self.send_response(503 if fault == "error" else 200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        with contextlib.suppress(OSError):
            self._frames(fault)

    def _frames(self, fault: str) -> None:
        number = 0
        for count in itertools.count():
            # As real ones do, it leaves out what its reader, or a busy machine, gave no time for.
            number = max(number + 1, int((time.monotonic() - self.server.start_s) * self.server.fps))
            time.sleep(max(0.0, self.server.start_s + number / self.server.fps - time.monotonic()))
            other = fault == "resize" and count > 1
            data = (self.server.other if other else self.server.pictures)(number)
            if fault and count == 3:
                self._fail(fault, data)
                return
            self._part(data)

    def _fail(self, fault: str, data: bytes) -> None:
        if fault == "garbage":
            self.wfile.write(b"--frame\r\n\r\n" + bytes(range(256)) * 40)
        elif fault == "half":
            self._part(data[: len(data) // 2])
        elif fault == "silence":
            time.sleep(5)

    def _part(self, data: bytes) -> None:
        self.wfile.write(
            b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"
        )

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fps", type=float, default=30)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--still", action="store_true")
    parser.add_argument("--faulty", action="store_true")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    camera = Camera(options.fps, (width, height), options.still, options.faulty)
    print(f"http://127.0.0.1:{camera.server_port}/video {camera.start_s}", flush=True)
    threading.Thread(target=camera.serve_forever, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
