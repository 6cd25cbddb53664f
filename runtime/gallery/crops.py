"""The small picture kept with an entry."""

import cv2

from ..errors import GalleryError
from ..preprocess import Image, check_frame, resize_exact

LARGEST_SIDE = 160
_QUALITY = 88


def shrink(frame_bgr: Image) -> Image:
    """Bring a frame to at most 160 pixels a side.

    Args:
        frame_bgr: uint8, shape (height, width, 3), BGR.

    Raises:
        InputError: The array is no frame.
    """
    check_frame(frame_bgr)
    height, width = frame_bgr.shape[:2]
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    return resize_exact(frame_bgr, max(1, round(width * scale)), max(1, round(height * scale)))


def encode_crop(frame_bgr: Image) -> bytes:
    """Shrink a frame and encode it as JPEG: about 5 KB.

    Raises:
        InputError: The array is no frame.
        GalleryError: OpenCV cannot encode it.
    """
    done, data = cv2.imencode(".jpg", shrink(frame_bgr), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise GalleryError("the entry's picture cannot be encoded as JPEG")
    return data.tobytes()
