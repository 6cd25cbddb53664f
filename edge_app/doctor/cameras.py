"""Cameras of this machine, asked by ioctl without opening a stream."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from .finding import Finding, Level, ok

# struct v4l2_capability: driver[16], card[32], bus_info[32], version, capabilities, device_caps, reserved[3].
_QUERYCAP = 0x80685600
_CAPABILITY_BYTES = 104
_DEVICE_CAPS_AT = 88
_VIDEO_CAPTURE = 0x00000001 | 0x00001000


def examine_cameras(root: Path) -> Iterator[Finding]:
    """Look for cameras: USB ones, and the Raspberry Pi's ribbon."""
    nodes = sorted(root.glob("dev/video*"), key=lambda node: (len(node.name), node.name))
    found = [finding for node in nodes if (finding := _camera(node, root)) is not None]
    yield from found
    if not found:
        remedy = "plug one in, or use an address: rtsp://, http://; in a container pass --device /dev/video0"
        yield Finding("cameras", Level.NOTE, "there is none at /dev/video*", remedy)
    if "raspberry" in _text(root / "proc/device-tree/model").lower() and find_spec("picamera2") is None:
        remedy = "sudo apt install python3-picamera2, in a virtual environment made with --system-site-packages"
        yield Finding("picamera", Level.NOTE, "picamera:// needs picamera2, which is not installed", remedy)


def _camera(node: Path, root: Path) -> Finding | None:
    name = _text(root / f"sys/class/video4linux/{node.name}/name").strip() or "a camera"
    if not os.access(node, os.R_OK | os.W_OK):
        remedy = "add this user to the group: sudo usermod -aG video $USER, then log in again"
        return Finding(node.name, Level.WARN, f"{name} may not be read", remedy)
    captures = _captures(node)
    if captures is False:
        return None
    if captures is None:
        return Finding(node.name, Level.WARN, f"{name} does not answer", "unplug it and plug it in again")
    stable = [link for link in sorted(root.glob("dev/v4l/by-id/*")) if link.resolve() == node.resolve()]
    advice = f"; its name for good is v4l2://{stable[0]}" if stable else ""
    return ok(node.name, f"{name}{advice}")


def _captures(node: Path) -> bool | None:
    """Whether it gives pictures (a camera has further nodes that do not); None where it does not answer."""
    answer = bytearray(_CAPABILITY_BYTES)
    handle = None
    try:
        handle = os.open(node, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(handle, _QUERYCAP, answer)
    except OSError:
        return None
    finally:
        if handle is not None:
            with suppress(OSError):
                os.close(handle)
    return bool(int.from_bytes(answer[_DEVICE_CAPS_AT : _DEVICE_CAPS_AT + 4], "little") & _VIDEO_CAPTURE)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
