"""The only place where pixels become a model input: decode, crop, resize.

Training (after augmentation), calibration, evaluation and the device all call `prepare`; its parameters, an
`InputSpec`, travel in the bundle. Normalization is inside the ONNX graph, so what leaves here is uint8 RGB.

The output is bit-identical on x86 and arm64: exact halvings (INTER_AREA by two, an integer mean) until the
next halving would undershoot, then INTER_LINEAR_EXACT. On a 1080p frame that costs 0.5 ms on one x86 core,
where INTER_AREA in one step costs 2.4 ms and INTER_LINEAR alone aliases.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

# A header of a few bytes may promise gigabytes of pixels; OpenCV reads this limit once, at import.
MAX_IMAGE_PIXELS = 150_000_000
MAX_IMAGE_FILE_BYTES = 200_000_000
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_IMAGE_PIXELS))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2  # noqa: E402  (after the limit is set)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".ppm", ".pgm"})

Image: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How a frame is brought to the model's input.

    Attributes:
        height: Rows of the model input, pixels.
        width: Columns of the model input, pixels.
        crop: Part of the largest centred rectangle of the input's aspect ratio that is kept, in (0, 1];
            0.875 is the usual "shorter side 256, centre crop 224".
        stretch: Whether that rectangle has the frame's aspect ratio instead and is stretched to the input's, as
            detectors want it: with a crop of 1 nothing of the frame is left out.
    """

    height: int = 224
    width: int = 224
    crop: float = 0.875
    stretch: bool = False

    def __post_init__(self) -> None:
        if not (8 <= self.height <= 4096 and 8 <= self.width <= 4096):
            raise InputError(f"input size must lie in 8 to 4096 pixels, not {self.width}x{self.height}")
        if not 0.1 <= self.crop <= 1.0:
            raise InputError(f"crop must lie in 0.1 to 1, not {self.crop}")


def prepare(frame_bgr: Image, spec: InputSpec) -> Image:
    """Crop and resize one frame to the model's input.

    Args:
        frame_bgr: uint8, shape (height, width, 3), BGR as OpenCV gives it; any size of at least 1x1.
        spec: The size and crop wanted.

    Returns:
        uint8, shape (spec.height, spec.width, 3), RGB.

    Raises:
        InputError: The array is not such a frame.
    """
    check_frame(frame_bgr)
    resized = resize_exact(_centre_crop(frame_bgr, spec), spec.width, spec.height)
    return cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def prepare_batch(frames_bgr: list[Image], spec: InputSpec) -> Image:
    """Stack `prepare` of several frames: uint8, shape (frames, spec.height, spec.width, 3), RGB."""
    batch = np.empty((len(frames_bgr), spec.height, spec.width, 3), np.uint8)
    for row, frame_bgr in enumerate(frames_bgr):
        batch[row] = prepare(frame_bgr, spec)
    return batch


def crop_box(rows: int, columns: int, spec: InputSpec) -> tuple[int, int, int, int]:
    """Give the part of a frame that the model sees: top, left, bottom and right, pixels."""
    scale = min(rows / spec.height, columns / spec.width) * spec.crop
    wanted = (rows * spec.crop, columns * spec.crop) if spec.stretch else (spec.height * scale, spec.width * scale)
    height, width = min(rows, max(1, round(wanted[0]))), min(columns, max(1, round(wanted[1])))
    top, left = (rows - height) // 2, (columns - width) // 2
    return top, left, top + height, left + width


def resize_exact(image: Image, width: int, height: int) -> Image:
    """Resize without aliasing, with the same bytes on every CPU.

    Args:
        image: uint8, shape (rows, columns, channels).
        width: Columns wanted.
        height: Rows wanted.

    Returns:
        uint8, shape (height, width, channels).
    """
    rows, columns = image.shape[:2]
    while rows >= 2 * height and columns >= 2 * width:
        rows, columns = rows // 2, columns // 2
        # An odd last row or column is dropped: only an exact factor of two is an integer mean.
        image = cv2.resize(image[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if (columns, rows) == (width, height):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)  # type: ignore[return-value]


def read_image(path: str | Path) -> Image:
    """Read a picture the way a person sees it: turned by its EXIF note, on white where it is transparent.

    Args:
        path: A file in a format that OpenCV decodes (JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF).

    Returns:
        uint8, shape (height, width, 3), BGR. Grey, CMYK and 16-bit pictures are converted.

    Raises:
        InputError: The file is missing, too large, truncated or no picture.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > MAX_IMAGE_FILE_BYTES:
            raise InputError(f"image '{path}' has {size} bytes, more than the {MAX_IMAGE_FILE_BYTES} allowed")
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"image '{path}' cannot be read: {error.strerror or error}") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str = "image") -> Image:
    """Decode an encoded picture from memory; see `read_image`.

    Args:
        data: The bytes of the file.
        name: What messages call it.

    Returns:
        uint8, shape (height, width, 3), BGR.

    Raises:
        InputError: The bytes are truncated, too large or no picture.
    """
    buffer = np.frombuffer(data, np.uint8)
    try:
        flat = None if buffer.size == 0 or _ends_early(data) else cv2.imdecode(buffer, cv2.IMREAD_COLOR)
        if flat is not None and _may_be_transparent(data):
            flat = _on_white(flat, cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED))
    except cv2.error as error:
        if "MAX_IMAGE" in str(error):
            raise InputError(f"image '{name}' has more than {MAX_IMAGE_PIXELS} pixels: shrink it") from error
        flat = None
    if flat is None:
        raise InputError(f"image '{name}' cannot be decoded: truncated, or not a picture OpenCV reads")
    return flat  # type: ignore[return-value]


def check_frame(frame_bgr: Image) -> None:
    """Raise InputError unless the array is uint8 of shape (height, width, 3) with pixels in it."""
    if not isinstance(frame_bgr, np.ndarray) or frame_bgr.dtype != np.uint8:
        kind = getattr(frame_bgr, "dtype", type(frame_bgr).__name__)
        raise InputError(f"a frame is a uint8 array, not {kind}")
    if frame_bgr.ndim != 3 or frame_bgr.shape[2] != 3 or 0 in frame_bgr.shape:
        raise InputError(f"a frame has shape (height, width, 3), not {tuple(frame_bgr.shape)}")


def _centre_crop(image: Image, spec: InputSpec) -> Image:
    top, left, bottom, right = crop_box(image.shape[0], image.shape[1], spec)
    return image[top:bottom, left:right]


def _ends_early(data: bytes) -> bool:
    # OpenCV 4 fills what is missing of a cut-off JPEG with grey and calls it a success.
    return data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-65536:]


def _may_be_transparent(data: bytes) -> bool:
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return data[25:26] in (b"\x04", b"\x06") or b"tRNS" in data[:4096]
    return data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X" and bool(data[20] & 0x10)


def _on_white(flat: NDArray[Any], full: object) -> Image:
    if not isinstance(full, np.ndarray) or full.ndim != 3 or full.shape[2] != 4 or full.shape[:2] != flat.shape[:2]:
        return flat.astype(np.uint8, copy=False)
    alpha = full[..., 3:].astype(np.uint32) * 255 // np.iinfo(full.dtype).max
    mixed = (flat * alpha + 255 * (255 - alpha) + 127) // 255
    return mixed.astype(np.uint8)
