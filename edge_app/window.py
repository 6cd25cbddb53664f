"""A window with keys, and the question whether there can be one.

`cv2.imshow` without a display aborts the whole process (OpenCV 5.0, Qt), so `display_problem` tries it in a
child process first.
"""

import os
import subprocess
import sys
from dataclasses import dataclass

import cv2

from sightline.runtime.preprocess import Image

from .controls import Command

PROBE_TIMEOUT_S = 20.0
_PROBE = "import cv2; cv2.namedWindow('probe', cv2.WINDOW_NORMAL); cv2.waitKey(1); cv2.destroyAllWindows()"
_SHIFT = (0xFFE1, 0xFFE2)
_ENTER, _BACKSPACE, _ESCAPE = (10, 13, 0xFF0D, 0xFF8D), (8, 127, 0xFF08), (27, 0xFF1B)
_NO_KEY = -1
# X key codes of other alphabets are an old 8-bit character set with its number in front.
_ALPHABETS = {
    1: "iso8859_2",
    2: "iso8859_3",
    3: "iso8859_4",
    5: "iso8859_6",
    6: "koi8_u",
    7: "iso8859_7",
    12: "iso8859_8",
}
MAX_NAME_LETTERS = 80


KEYS = {
    ord("q"): Command.QUIT,
    ord("t"): Command.TEACH,
    ord("u"): Command.UNDO,
    ord(" "): Command.PAUSE,
    **dict.fromkeys(_ESCAPE, Command.QUIT),
}


def display_problem() -> str | None:
    """Say why no window can be opened, or give None where one can; takes about half a second."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display (DISPLAY is not set)"
    if "GUI:                           NONE" in cv2.getBuildInformation():
        return "this OpenCV is built without windows (opencv-python-headless)"
    try:
        probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=PROBE_TIMEOUT_S)
    except (subprocess.TimeoutExpired, OSError):
        return "the display does not answer"
    return None if probe.returncode == 0 else "the display cannot be opened"


@dataclass(slots=True)
class Prompt:
    """A line of text typed in the window, key by key.

    Attributes:
        text: What was typed so far.
        done: Whether Enter was pressed.
        cancelled: Whether Escape was pressed.
    """

    text: str = ""
    done: bool = False
    cancelled: bool = False
    _capital: bool = False

    def press(self, key: int) -> None:
        """Take in one key code as `cv2.waitKeyEx` gives it."""
        if key in _SHIFT:
            # OpenCV's Qt window reports letters without their case, and Shift as a key of its own.
            self._capital = True
            return
        if key in _ENTER:
            self.done = bool(self.text.strip())
        elif key in _ESCAPE:
            self.cancelled = True
        elif key in _BACKSPACE:
            self.text = self.text[:-1]
        else:
            letter = _letter(key)
            self.text = (self.text + (letter.upper() if self._capital else letter))[:MAX_NAME_LETTERS]
        self._capital = False


class Window:
    """An OpenCV window; closing it asks to quit.

    Args:
        title: What its title bar says.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._sized = False
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)

    def show(self, canvas: Image) -> None:
        """Show a picture; the first one sizes the window."""
        if not self._sized:
            rows, columns = canvas.shape[:2]
            scale = max(1.0, min(960 / columns, 720 / rows))
            cv2.resizeWindow(self._title, int(columns * scale), int(rows * scale))
            self._sized = True
        cv2.imshow(self._title, canvas)

    def keys(self, wait_ms: int = 1) -> list[int]:
        """Give the keys pressed since the last call, after letting the window work for `wait_ms`."""
        pressed: list[int] = []
        while (key := cv2.waitKeyEx(max(1, wait_ms))) != _NO_KEY and len(pressed) < 32:
            pressed.append(key)
            wait_ms = 1
        return pressed

    @property
    def closed(self) -> bool:
        """Whether a person closed it."""
        return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1

    def close(self) -> None:
        """Close it."""
        cv2.destroyAllWindows()
        cv2.waitKey(1)


def _letter(key: int) -> str:
    """The letter of a key code of OpenCV's Qt window; "" where it is none."""
    if key < 0:
        # Qt names the key by its capital, and OpenCV passes it on as a signed byte.
        letter = chr(key & 0xFF).lower()
    elif key > 0x01000000:
        letter = chr(key - 0x01000000) if key <= 0x0110FFFF else ""
    elif key >> 8 in _ALPHABETS:
        letter = bytes([key & 0xFF]).decode(_ALPHABETS[key >> 8], "ignore")
    else:
        letter = chr(key) if key < 0x100 else ""
    return letter if letter.isprintable() else ""
