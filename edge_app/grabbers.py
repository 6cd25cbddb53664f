"""Sources that not every machine has: the Raspberry Pi's ribbon camera and the screen."""

import os
import threading
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from sightline.runtime.errors import SourceError
from sightline.runtime.preprocess import Image

from .captures import VideoCapture, as_bgr

_PI_HINT = (
    "it needs the package picamera2 (sudo apt install python3-picamera2, "
    "in a virtual environment made with --system-site-packages)"
)
_environment = threading.Lock()


class PiCamera:
    """A camera on the ribbon of a Raspberry Pi, which OpenCV cannot open since libcamera.

    Args:
        number: Which camera.
        name: What messages call it.
        size_wh: Columns and rows.
        fps: Frames a second to ask for.

    Raises:
        SourceError: There is no such camera.
    """

    def __init__(self, number: int, name: str, size_wh: tuple[int, int], fps: int) -> None:
        self._name = name
        self.fps: float | None = float(fps)
        try:
            self._camera: Any = import_module("picamera2").Picamera2(number)
            # libcamera's RGB888 lies in memory as blue, green, red: what OpenCV calls BGR.
            layout = {"format": "RGB888", "size": size_wh}
            self._camera.configure(self._camera.create_video_configuration(main=layout, controls={"FrameRate": fps}))
            self._camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            raise SourceError(f"source '{name}' cannot be opened: {error or 'there is no such camera'}") from error

    def read(self) -> Image:
        """Give the next frame.

        Raises:
            SourceError: The camera failed.
        """
        try:
            return as_bgr(self._camera.capture_array("main"))
        except (RuntimeError, OSError) as error:
            raise SourceError(f"source '{self._name}' failed while reading: {error}") from error

    def skip(self) -> None:
        """Pass over the next frame; it is copied all the same.

        Raises:
            SourceError: The camera failed.
        """
        self.read()

    def interrupt(self) -> None:
        """picamera2 gives no way to end a wait."""

    def close(self) -> None:
        """Release the camera."""
        self._camera.close()


def pi_camera_problem() -> str | None:
    """Say why no Pi camera can be opened here, or None."""
    return None if find_spec("picamera2") is not None else _PI_HINT


def screen_problem() -> str | None:
    """Say why the screen cannot be grabbed here, or None."""
    return None if os.environ.get("DISPLAY") else "the screen is grabbed from X11, and DISPLAY is not set"


def open_screen(name: str, size: str, left: int, top: int, fps: int) -> VideoCapture:
    """Open the screen through FFmpeg's x11grab.

    Args:
        name: What messages call it.
        size: Columns and rows as "640x480"; "" takes the whole screen.
        left: First column.
        top: First row.
        fps: Frames a second.

    Raises:
        SourceError: It cannot be grabbed.
    """
    asked = f"input_format;x11grab|framerate;{fps}" + (f"|video_size;{size}" if size else "")
    with _environment:
        before = os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS")
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = asked
        try:
            return VideoCapture(f"{os.environ.get('DISPLAY', ':0')}+{left},{top}", name)
        finally:
            del os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"]
            if before is not None:
                os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = before
