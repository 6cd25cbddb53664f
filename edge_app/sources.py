"""Where frames come from, by URI.

0, camera://0?width=1280&height=720&fps=30     a USB camera by number
/dev/video0, v4l2:///dev/v4l/by-id/...         a Linux camera by path; links are followed at every opening
clip.mp4, file:///data/clip.mp4                a video file, every frame
photo.jpg, folder/, 'photos/*.jpg'             pictures, every one, in order
http(s)://host/stream                          MJPEG, or one picture that is fetched again and again
rtsp://host/stream                             and what else FFmpeg opens: rtsps, rtmp, udp, tcp
picamera://0?width=1280&height=720&fps=30      the ribbon camera of a Raspberry Pi
screen://?size=640x480&x=0&y=0&fps=10          an X11 screen
test://?size=640x480&fps=30&frames=0           a moving pattern

`parse_source` opens nothing but says at once when a file is missing. Credentials stay in the closure that
opens the source: `Source.name` is what logs, pages and messages may show.
"""

import glob
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from sightline.runtime.dataset import list_images
from sightline.runtime.errors import InputError, SourceError
from sightline.runtime.preprocess import IMAGE_SUFFIXES

from .captures import Capture, Pictures, TestPattern, camera_opener, open_file, open_stream
from .grabbers import PiCamera, open_screen, pi_camera_problem, screen_problem
from .mjpeg import open_http

# A GIF is a clip here: its frames are what a person sees.
_PICTURE_SUFFIXES = IMAGE_SUFFIXES - {".gif"}
_VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".gif"})
_STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "rtp", "srt")
_SECRET = re.compile(r"user|pass|pwd|token|key|auth|secret|login|sig", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """A place that frames come from, not opened yet.

    Attributes:
        name: The URI without credentials.
        live: Whether the newest frame wins and a loss is waited out; a file gives every frame and ends.
        freezes: Whether the very same picture for long means a stuck camera.
        open: Opens it; raises SourceError.
    """

    name: str
    live: bool
    freezes: bool
    open: Callable[[], Capture]


def parse_source(uri: str) -> Source:
    """Read a source's URI.

    Raises:
        InputError: The URI is of no known kind, or an option in it is wrong.
        SourceError: It names a file or folder that is not there.
    """
    text = uri.strip()
    if not text:
        raise InputError("--source is empty: expected a camera number, a file, a folder or an address")
    if text.isdecimal():
        return _camera(text, {}, f"camera://{int(text)}")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise InputError(f"source '{redact(text)}' is no address: {error}") from error
    if "://" not in text:
        return _by_path(text)
    known = {
        "camera": _by_number,
        "v4l2": _by_node,
        "picamera": _by_ribbon,
        "screen": _by_screen,
        "file": _by_file,
        "test": _by_pattern,
    }
    if parts.scheme in known:
        return known[parts.scheme](parts, redact(text))
    return _by_network(parts, text)


def redact(uri: str) -> str:
    """Take user names, passwords and keys out of an address."""
    head, separator, rest = uri.partition("://")
    if not separator:
        return uri
    authority, slash, path = re.match(r"([^/?#]*)(/?)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    if "@" in authority:
        authority = "***@" + authority.rpartition("@")[2]
    secret = re.compile(r"([?&;]([^=&;#]*)=)[^&;#]*")
    path = secret.sub(lambda found: found[1] + "***" if _SECRET.search(found[2]) else found[0], path)
    return f"{head}://{authority}{slash}{path}"


def _by_number(parts: SplitResult, name: str) -> Source:
    device = parts.netloc or parts.path.strip("/")
    if not device.isdecimal():
        raise InputError(f"source '{name}' names no camera: expected camera:// and a number, as camera://0")
    return _camera(device, _options(parts, name, {"width", "height", "fps"}), name)


def _by_node(parts: SplitResult, name: str) -> Source:
    path = unquote(parts.path if not parts.netloc else f"/dev/{parts.netloc}{parts.path}")
    return _camera(path, _options(parts, name, {"width", "height", "fps"}), name)


def _camera(device: str, options: Mapping[str, str], name: str) -> Source:
    width, height, fps = (_number(options, key, name) for key in ("width", "height", "fps"))
    return Source(name, True, True, camera_opener(device, name, width, height, fps))


def _by_ribbon(parts: SplitResult, name: str) -> Source:
    device = parts.netloc or parts.path.strip("/") or "0"
    if not device.isdecimal():
        raise InputError(f"source '{name}' names no camera: expected picamera:// and a number, as picamera://0")
    options = _options(parts, name, {"width", "height", "fps"})
    width, height, fps = (_number(options, key, name) for key in ("width", "height", "fps"))
    _require(name, pi_camera_problem())
    size_wh = (width or 1280, height or 720)
    return Source(name, True, True, lambda: PiCamera(int(device), name, size_wh, fps or 30))


def _by_screen(parts: SplitResult, name: str) -> Source:
    options = _options(parts, name, {"size", "x", "y", "fps"})
    size = options.get("size", "")
    if size and not re.fullmatch(r"\d{2,5}x\d{2,5}", size):
        raise InputError(f"source '{name}': size is written as 640x480, not {size!r}")
    left, top, fps = (_number(options, key, name) for key in ("x", "y", "fps"))
    _require(name, screen_problem())
    return Source(name, True, False, lambda: open_screen(name, size, left, top, fps or 10))


def _require(name: str, problem: str | None) -> None:
    if problem is not None:
        raise SourceError(f"source '{name}' is not to be had here: {problem}")


def _by_file(parts: SplitResult, name: str) -> Source:
    return _by_path(unquote(parts.path))


def _by_path(text: str) -> Source:
    path = Path(text).expanduser()
    if text.startswith("/dev/"):
        return _camera(str(path), {}, text)
    if path.is_dir():
        files = _pictures(path)
        return Source(text, False, False, lambda: Pictures(files))
    if not path.exists():
        return _by_glob(text)
    if path.suffix.lower() in _PICTURE_SUFFIXES:
        return Source(text, False, False, lambda: Pictures([path]))
    return Source(text, False, False, lambda: open_file(path, text))


def _by_glob(text: str) -> Source:
    found = sorted(map(Path, glob.glob(str(Path(text).expanduser()), recursive=True)))  # noqa: PTH207
    files = [path for path in found if path.suffix.lower() in _PICTURE_SUFFIXES and path.is_file()]
    if not files:
        wanted = "no picture fits this pattern" if glob.has_magic(text) else "no such file, folder or camera"
        raise SourceError(f"source '{text}' is not there: {wanted}")
    return Source(text, False, False, lambda: Pictures(files))


def _pictures(folder: Path) -> list[Path]:
    try:
        return list_images([folder])
    except InputError as error:
        raise SourceError(f"source {error}") from error


def _by_pattern(parts: SplitResult, name: str) -> Source:
    options = _options(parts, name, {"size", "fps", "frames"})
    size = re.fullmatch(r"(\d{2,4})x(\d{2,4})", options.get("size", "640x480"))
    if size is None:
        raise InputError(f"source '{name}': size is written as 640x480, not {options['size']!r}")
    width, height = int(size[1]), int(size[2])
    fps = _number(options, "fps", name) if "fps" in options else 30
    frames = _number(options, "frames", name)
    # With an end it stands for a file, so that every frame is seen and two runs are alike.
    return Source(name, not frames, False, lambda: TestPattern(width, height, fps, frames))


def _by_network(parts: SplitResult, text: str) -> Source:
    name = redact(text)
    if parts.scheme in _STREAMS or parts.scheme in ("http", "https"):
        if not parts.hostname:
            raise InputError(f"source '{name}' names no host")
        if parts.scheme in _STREAMS:
            return Source(name, True, True, lambda: open_stream(text, name))
        if Path(parts.path).suffix.lower() in _VIDEO_SUFFIXES:
            return Source(name, False, False, lambda: open_stream(text, name))
        return Source(name, True, True, lambda: open_http(text, name))
    kinds = "a number, a file, a folder, camera://, v4l2://, picamera://, screen://, http(s)://, rtsp:// or test://"
    raise InputError(f"source '{name}' is of an unknown kind: expected {kinds}")


def _options(parts: SplitResult, name: str, allowed: set[str]) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - allowed)
    if unknown:
        raise InputError(f"source '{name}' has no option '{unknown[0]}', only {', '.join(sorted(allowed))}")
    return options


def _number(options: Mapping[str, str], key: str, name: str) -> int:
    value = options.get(key, "0")
    if not value.isdecimal() or int(value) > 100_000_000:
        raise InputError(f"source '{name}': {key} is a whole number, not {value!r}")
    return int(value)
