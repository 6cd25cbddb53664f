"""Video files that are whole on every way out.

Frames go to a hidden file beside the wanted one, which takes its name when the recorder is closed; what stood
there before stays until then.
"""

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

import cv2
import numpy as np

from sightline.runtime.durable import sync_folder
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import Image

# Both are in every OpenCV wheel; H.264 is not.
_CODECS: Final = {".mp4": "mp4v", ".m4v": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
# A writer on a full disk says nothing; below this the recording ends while its index still fits.
MIN_FREE_BYTES: Final = 20_000_000
_CHECK_EVERY: Final = 50
DEFAULT_FPS: Final = 15.0


class RecordingStopped(InputError):
    """The recording was ended early, and what was recorded is whole."""


class Recorder:
    """Writes frames to a video file.

    The first frame sets the size; frames of another size are fitted into it with borders.

    Args:
        path: `.mp4`, `.mkv` (MPEG-4) or `.avi` (Motion JPEG).
        fps: Tells the frames a second of the source when its first frame is there; None takes `DEFAULT_FPS`.
        by_clock: Keep real time: frames are repeated or left out so that the file runs as fast as life did
            (live sources). Otherwise every frame is written once (files).

    Raises:
        InputError: The suffix is of no known kind, or the folder is missing or cannot be written.
    """

    def __init__(self, path: str | Path, fps: Callable[[], float | None], by_clock: bool) -> None:
        self.path = Path(path)
        self.frames = 0
        self._ask_fps, self._fps = fps, DEFAULT_FPS
        self._by_clock = by_clock
        self._writer: cv2.VideoWriter | None = None
        self._size_wh = (0, 0)
        self._started_s = 0.0
        check_recording(self.path)
        self._staging = self.path.with_name(f".{self.path.stem}.{secrets.token_hex(4)}{self.path.suffix}")

    def write(self, canvas: Image, now_s: float) -> None:
        """Write a frame.

        Args:
            canvas: uint8, shape (height, width, 3), BGR.
            now_s: The time on a clock that never goes back, seconds.

        Raises:
            InputError: The file cannot be opened for writing.
            RecordingStopped: The disk is nearly full; the recording was closed and is whole.
        """
        if self._writer is None:
            self._open(canvas, now_s)
        if self.frames % _CHECK_EVERY == 0 and shutil.disk_usage(self.path.parent).free < MIN_FREE_BYTES:
            self.close()
            raise RecordingStopped(f"recording '{self.path}' ended early: the disk is nearly full")
        fitted = _fit(canvas, self._size_wh)
        for _ in range(self._copies(now_s)):
            self._writer.write(fitted)  # type: ignore[union-attr]
            self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name; without a frame nothing is left behind.

        Raises:
            InputError: What was written is no video, because the disk was full.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if not _readable(self._staging):
            self._staging.unlink(missing_ok=True)
            raise InputError(f"recording '{self.path}' could not be finished: is the disk full?")
        with self._staging.open("rb") as stream:
            os.fsync(stream.fileno())
        self._staging.replace(self.path)
        sync_folder(self.path.parent)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, canvas: Image, now_s: float) -> None:
        rows, columns = canvas.shape[:2]
        # MPEG-4 halves the colour planes: odd sizes are refused or lose a row.
        self._size_wh = (max(2, columns // 2 * 2), max(2, rows // 2 * 2))
        self._started_s = now_s
        self._fps = self._ask_fps() or DEFAULT_FPS
        codec = cv2.VideoWriter.fourcc(*_CODECS[self.path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._staging), cv2.CAP_FFMPEG, codec, self._fps, self._size_wh)
        if not writer.isOpened():
            writer.release()
            self._staging.unlink(missing_ok=True)
            width, height = self._size_wh
            raise InputError(f"recording '{self.path}' cannot be opened for {width}x{height} video: try .avi")
        self._writer = writer

    def _copies(self, now_s: float) -> int:
        if not self._by_clock:
            return 1
        due = int((now_s - self._started_s) * self._fps + 1e-3) + 1 - self.frames
        # After a pause of minutes the file does not stand still for minutes.
        if due > 2 * self._fps:
            self._started_s = now_s - self.frames / self._fps
            return 1
        return max(0, due)


def check_recording(path: Path) -> None:
    """Raise InputError unless a video can be recorded to this path."""
    if path.suffix.lower() not in _CODECS:
        raise InputError(f"--record '{path}' must end in {', '.join(sorted(_CODECS))}")
    if path.is_dir():
        raise InputError(f"--record '{path}' is a folder: name a file")
    if not path.parent.is_dir():
        raise InputError(f"--record '{path}': the folder '{path.parent}' does not exist")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"--record '{path}': the folder '{path.parent}' cannot be written")
    if shutil.disk_usage(path.parent).free < MIN_FREE_BYTES:
        raise InputError(f"--record '{path}': the disk has less than {MIN_FREE_BYTES / 1e6:.0f} MB left")


def _fit(canvas: Image, size_wh: tuple[int, int]) -> Image:
    width, height = size_wh
    rows, columns = canvas.shape[:2]
    if (columns // 2 * 2, rows // 2 * 2) == size_wh:
        return np.ascontiguousarray(canvas[:height, :width])
    scale = min(width / columns, height / rows)
    inner = (max(1, int(columns * scale)), max(1, int(rows * scale)))
    sheet = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    sheet[top : top + inner[1], left : left + inner[0]] = cv2.resize(canvas, inner, interpolation=cv2.INTER_AREA)
    return sheet


def _readable(path: Path) -> bool:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        return capture.isOpened() and capture.read()[0]
    finally:
        capture.release()
