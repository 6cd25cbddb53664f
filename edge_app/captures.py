"""What a source is read through: one `read` at a time, on a thread that may be left behind.

A capture is opened by the call that makes it, gives uint8 BGR frames from `read`, and raises
EndOfStream        when a file is over,
DamagedFrame       when one frame cannot be used and the next may,
SourceError        when the source is lost; SourceRefused when it answered and said no.

Here are those that OpenCV reads, folders of pictures and the test patterns; `mjpeg` holds HTTP cameras.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

# OpenCV warns beside our own sentence, FFmpeg prints addresses with their passwords, and a V4L2 camera that was
# unplugged blocks a read for 10 s unless told otherwise.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")

import cv2
import numpy as np

from sightline.runtime.errors import InputError, SourceError
from sightline.runtime.preprocess import Image, read_image

OPEN_TIMEOUT_MS = 5_000
READ_TIMEOUT_MS = 5_000


class EndOfStream(Exception):
    """A file has no further frame."""


class DamagedFrame(SourceError):
    """One frame cannot be decoded; the source goes on."""


class SourceRefused(SourceError):
    """The source is there and says no (password, address, kind): trying often does not help."""


class Capture(Protocol):
    """An opened source."""

    fps: float | None

    def read(self) -> Image:
        """Give the next frame, uint8, shape (height, width, 3), BGR; may block as long as the driver does."""

    def skip(self) -> None:
        """Pass over the next frame of a camera, without decoding it where the source can; raises as `read`."""

    def interrupt(self) -> None:
        """End a `read` that waits, where the source can; may be called from another thread."""

    def close(self) -> None:
        """Release the device, file or connection."""


class VideoCapture:
    """A file, stream or camera that OpenCV reads.

    Args:
        address: What OpenCV opens: a path, an address or a device number.
        name: What messages call it; no password in it.
        backend: One of OpenCV's CAP_ constants.
        settings: Pairs of OpenCV capture properties and values, set while opening.
        ends: Whether a missing frame means the end (files) or a loss (cameras).

    Raises:
        SourceError: It cannot be opened.
    """

    def __init__(
        self,
        address: str | int,
        name: str,
        backend: int = cv2.CAP_FFMPEG,
        settings: Sequence[int] = (),
        ends: bool = False,
    ) -> None:
        self._name, self._ends = name, ends
        self._capture = cv2.VideoCapture(address, backend, list(settings))
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(f"source '{name}' cannot be opened: {_why_not(address)}")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(rate) if 0.5 <= rate <= 1000 else None
        # Drivers that know it keep one frame instead of four; those that do not ignore it.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def read(self) -> Image:
        """Give the next frame.

        Raises:
            EndOfStream: A file is over.
            SourceError: A camera or stream gave no frame.
        """
        try:
            arrived, frame = self._capture.read()
        except cv2.error as error:
            raise SourceError(f"source '{self._name}' failed while reading: {error.err}") from error
        if arrived and frame is not None and frame.size:
            return as_bgr(frame)
        if self._ends:
            raise EndOfStream
        raise SourceError(f"source '{self._name}' gives no more frames: unplugged, closed or out of reach")

    def skip(self) -> None:
        """Pass over the next frame; a camera's JPEG is not decoded.

        Raises:
            EndOfStream: A file is over.
            SourceError: A camera or stream gave no frame.
        """
        if not self._capture.grab():
            self.read()

    def interrupt(self) -> None:
        """OpenCV's captures are not safe to touch from another thread: nothing is done."""

    def close(self) -> None:
        """Release what OpenCV holds."""
        self._capture.release()


class Pictures:
    """Picture files one after another, each a frame."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.fps: float | None = None
        self._files = iter(files)

    def read(self) -> Image:
        """Decode the next file.

        Raises:
            EndOfStream: There is none left.
            DamagedFrame: The file cannot be decoded.
        """
        file = next(self._files, None)
        if file is None:
            raise EndOfStream
        try:
            return read_image(file)
        except InputError as error:
            raise DamagedFrame(str(error)) from error

    def skip(self) -> None:
        """Pass over the next file.

        Raises:
            EndOfStream: There is none left.
        """
        if next(self._files, None) is None:
            raise EndOfStream

    def interrupt(self) -> None:
        """It never waits for long."""

    def close(self) -> None:
        """Nothing is held."""


class TestPattern:
    """A picture that moves, for trying the loop without a camera.

    Args:
        width: Columns of the frames.
        height: Rows of the frames.
        fps: Frames a second, kept by the clock; 0 means as fast as they are taken.
        frames: How many there are; 0 means no end.
    """

    __test__ = False  # pytest takes every class named Test for its own

    def __init__(self, width: int, height: int, fps: float, frames: int) -> None:
        self.fps: float | None = fps or None
        self._frames, self._count = frames, 0
        self._due = time.monotonic()
        hue = np.linspace(0, 179, width, dtype=np.uint8)
        bars = np.dstack([hue, np.full(width, 200, np.uint8), np.full(width, 220, np.uint8)])
        row = cv2.cvtColor(bars.reshape(1, width, 3), cv2.COLOR_HSV2BGR)
        self._bars = np.repeat(row, height, axis=0).astype(np.uint8)

    def read(self) -> Image:
        """Give the next frame when it is due.

        Raises:
            EndOfStream: The asked number of frames was given.
        """
        self.skip()
        count = self._count - 1
        frame: Image = np.roll(self._bars, 4 * count, axis=1)
        height, width = frame.shape[:2]
        centre = (int(width * (0.5 + 0.3 * np.sin(count / 20))), height // 2)
        cv2.circle(frame, centre, height // 6, (255, 255, 255), -1, cv2.LINE_AA)
        return frame

    def skip(self) -> None:
        """Wait until the next frame is due, and draw none.

        Raises:
            EndOfStream: The asked number of frames was given.
        """
        if self._frames and self._count >= self._frames:
            raise EndOfStream
        if self.fps:
            self._due = max(self._due + 1 / self.fps, time.monotonic() - 1)
            time.sleep(max(0.0, self._due - time.monotonic()))
        self._count += 1

    def interrupt(self) -> None:
        """It never waits for long."""

    def close(self) -> None:
        """Nothing is held."""


def as_bgr(frame: object) -> Image:
    """Bring what OpenCV read to uint8 BGR: grey and four-channel cameras exist.

    Raises:
        DamagedFrame: It is no picture.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim not in (2, 3):
        raise DamagedFrame("a frame arrived that is no 8-bit picture")
    channels = 1 if frame.ndim == 2 else frame.shape[2]
    if channels == 3:
        return frame
    if channels == 1:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]
    if channels == 4:
        return cv2.cvtColor(frame, cv2.COLOR_BGRA2BGR)  # type: ignore[return-value]
    raise DamagedFrame(f"a frame arrived with {channels} channels instead of 3")


def open_stream(address: str, name: str) -> VideoCapture:
    """Open an RTSP, RTMP, UDP or HTTP video stream through FFmpeg, with limits on opening and reading."""
    limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS)
    return VideoCapture(address, name, settings=limits)


def open_file(path: Path, name: str) -> VideoCapture:
    """Open a video file."""
    return VideoCapture(str(path), name, ends=True)


def camera_opener(device: str, name: str, width: int, height: int, fps: int) -> Callable[[], VideoCapture]:
    """Make the function that opens a camera, and finds it again when it comes back under another number.

    Args:
        device: A number, or a path such as `/dev/video0` or `/dev/v4l/by-id/...`.
        name: What messages call it.
        width: Columns to ask the camera for; 0 leaves it to the camera.
        height: Rows to ask for; 0 leaves it to the camera.
        fps: Frames a second to ask for; 0 leaves it to the camera.
    """
    stable: list[Path] = []

    def open_camera() -> VideoCapture:
        address = _address(device, stable)
        backend = cv2.CAP_V4L2 if os.name == "posix" and Path("/dev").is_dir() else cv2.CAP_ANY
        capture = VideoCapture(address, name, backend, _wishes(width, height, fps))
        stable[:] = stable or _stable_names(address)
        return capture

    return open_camera


def _wishes(width: int, height: int, fps: int) -> list[int]:
    # Above 640x480 USB 2 has no room for raw pictures: most cameras then fall to 5 frames a second.
    packed = [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")] if width > 640 or height > 480 else []
    asked = {cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height, cv2.CAP_PROP_FPS: fps}
    return packed + [item for pair in asked.items() if pair[1] for item in pair]


def _address(device: str, stable: Sequence[Path]) -> str | int:
    for link in stable:
        if link.exists():
            return str(link.resolve())
    if device.isdecimal():
        node = Path(f"/dev/video{device}")
        return str(node) if node.exists() else int(device)
    # OpenCV takes only /dev/videoN, not the links of /dev/v4l/by-id.
    return str(Path(device).resolve())


def _stable_names(address: str | int, folder: Path = Path("/dev/v4l/by-id")) -> list[Path]:
    node = Path(f"/dev/video{address}") if isinstance(address, int) else Path(address)
    return [link for link in sorted(folder.glob("*")) if link.resolve() == node]


def _why_not(address: str | int) -> str:
    path = Path(f"/dev/video{address}") if isinstance(address, int) else Path(address)
    if "://" in str(address):
        return "nobody answers there, or what answers is no video"
    device = isinstance(address, int) or str(address).startswith("/dev/")
    if not path.exists():
        return f"{path} does not exist{_cameras_there() if device else ''}"
    if not os.access(path, os.R_OK):
        return f"{path} may not be read" + ("; add this user to the group 'video'" if device else "")
    return "another program may be using it" if device else "it is no video that OpenCV reads"


def _cameras_there() -> str:
    there = sorted(str(node) for node in Path("/dev").glob("video*"))
    return f" (there are {', '.join(there)})" if there else " and no other camera is connected"
