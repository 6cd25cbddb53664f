"""What makes one photo many: a random part of it, mirrored, in other light.

The part is chosen on the decoded frame, then brought to size by the same `resize_exact` that the device uses.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from sightline.runtime.preprocess import Image, resize_exact


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a training picture may differ from its photo.

    Attributes:
        crop_area: Least part of the photo's area that a crop keeps, in (0, 1].
        aspect: Most that a crop is stretched, as a ratio of at least 1.
        flip: How often a picture is mirrored left to right.
        colour: Most that brightness, contrast and saturation change, as a part of themselves.
    """

    crop_area: float
    aspect: float
    flip: float
    colour: float


def augment(frame_bgr: Image, size: int, how: Augmentation, rng: np.random.Generator) -> Image:
    """Draw one training picture from a photo.

    Args:
        frame_bgr: uint8 [height, width, 3].
        size: Height and width wanted, pixels.
        how: How far it may differ.
        rng: Where chance comes from; its state decides the picture.

    Returns:
        uint8 [size, size, 3], RGB, contiguous.
    """
    top, left, height, width = crop_box(frame_bgr.shape[0], frame_bgr.shape[1], how, rng)
    part = resize_exact(frame_bgr[top : top + height, left : left + width], size, size)
    if rng.random() < how.flip:
        part = cv2.flip(part, 1)  # type: ignore[assignment]
    return _recolour(cv2.cvtColor(part, cv2.COLOR_BGR2RGB), how.colour, rng)  # type: ignore[arg-type]


def crop_box(rows: int, columns: int, how: Augmentation, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Choose a crop: top, left, height, width in pixels, inside the frame.

    The area is drawn evenly, the ratio evenly on a log scale (Szegedy et al. 2015, Inception).
    """
    area = rows * columns * rng.uniform(how.crop_area, 1.0)
    ratio = math.exp(rng.uniform(-math.log(how.aspect), math.log(how.aspect)))
    width = min(columns, max(1, round(math.sqrt(area * ratio))))
    height = min(rows, max(1, round(math.sqrt(area / ratio))))
    return int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1)), height, width


def _recolour(image: Image, strength: float, rng: np.random.Generator) -> Image:
    if strength <= 0:
        return image
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    grey = np.array([0.299, 0.587, 0.114])
    # Saturation, contrast and brightness are affine in RGB, so one matrix does all three.
    mix = saturation * np.eye(3) + (1 - saturation) * np.ones((3, 1)) * grey
    mean = float(np.mean(image))
    matrix = np.concatenate([brightness * contrast * mix, np.full((3, 1), brightness * (1 - contrast) * mean)], axis=1)
    return cv2.transform(image, matrix)  # type: ignore[return-value]
