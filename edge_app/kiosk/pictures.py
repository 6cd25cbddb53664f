"""Frames as JPEG, each made once however many browsers look."""

import threading

import cv2

from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import Image, resize_exact

from ..connection import Frame
from ..overlay import View, draw_found

# 1280x720 at this quality is about 120 KB and 4 ms on one x86 core, 480x360 a tenth of both.
QUALITY = 80
WIDTHS = (480, 800, 1280)


class Pictures:
    """Encodes frames at the widths that pages ask for. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._locks = {width: threading.Lock() for width in WIDTHS}
        self._ready: dict[int, tuple[int, bytes]] = {}

    def jpeg(self, frame: Frame, view: View, wanted: int) -> bytes:
        """A frame with what was found in it, at the smallest width that is at least `wanted`, never enlarged."""
        width = next((one for one in WIDTHS if one >= wanted), WIDTHS[-1])
        with self._locks[width]:
            number, data = self._ready.get(width, (-1, b""))
            if number != frame.number:
                data = encode(_drawn(frame.image_bgr, view), width)
                self._ready[width] = (frame.number, data)
            return data


def _drawn(image_bgr: Image, view: View) -> Image:
    if not view.objects and view.segmentation is None:
        return image_bgr
    canvas = image_bgr.copy()
    draw_found(canvas, view)
    return canvas


def encode(image_bgr: Image, width: int) -> bytes:
    """Encode a picture, shrunk to at most `width` columns.

    Raises:
        InputError: OpenCV cannot encode it.
    """
    rows, columns = image_bgr.shape[:2]
    if columns > width:
        image_bgr = resize_exact(image_bgr, width, max(1, round(rows * width / columns)))
    done, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise InputError("the picture cannot be encoded as JPEG")
    return data.tobytes()
