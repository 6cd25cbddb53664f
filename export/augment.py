"""What makes one photo many: a random part of it, mirrored, turned a little, in other light, partly hidden.

The part is chosen on the decoded frame, then brought to size by the same `resize_exact` that the device uses.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from sightline.runtime.preprocess import Image, resize_exact

# Part of a picture that random erasing hides.
_HIDDEN_AREA = (0.02, 0.33)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a training picture may differ from its photo.

    Attributes:
        crop_area: Least part of the photo's area that a crop keeps, in (0, 1].
        aspect: Most that a crop is stretched, as a ratio of at least 1.
        flip: How often a picture is mirrored left to right.
        colour: Most that brightness, contrast and saturation change, as a part of themselves.
        tint: Most that one of the RGB channels grows or shrinks on its own: lamps and cameras differ in white.
        rotation: Most that a picture is turned, degrees.
        erase: How often a rectangle is hidden behind one colour (Zhong et al. 2017, Random Erasing).
    """

    crop_area: float
    aspect: float
    flip: float
    colour: float
    tint: float = 0.0
    rotation: float = 0.0
    erase: float = 0.0


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
    picture: Image = cv2.cvtColor(part, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
    picture = _turn(_recolour(picture, how.colour, how.tint, rng), how.rotation, rng)
    if rng.random() < how.erase:
        _hide(picture, rng)
    return picture


def crop_box(rows: int, columns: int, how: Augmentation, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Choose a crop: top, left, height, width in pixels, inside the frame.

    The area is drawn evenly, the ratio evenly on a log scale (Szegedy et al. 2015, Inception).
    """
    area = rows * columns * rng.uniform(how.crop_area, 1.0)
    ratio = math.exp(rng.uniform(-math.log(how.aspect), math.log(how.aspect)))
    width = min(columns, max(1, round(math.sqrt(area * ratio))))
    height = min(rows, max(1, round(math.sqrt(area / ratio))))
    return int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1)), height, width


def _recolour(image: Image, strength: float, tint: float, rng: np.random.Generator) -> Image:
    if strength <= 0 and tint <= 0:
        return image
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    gains = rng.uniform(1 - tint, 1 + tint, 3)
    grey = np.array([0.299, 0.587, 0.114])
    # Saturation, contrast, brightness and gains are affine in RGB, so one matrix does them all.
    mix = saturation * np.eye(3) + (1 - saturation) * np.ones((3, 1)) * grey
    mean = float(np.mean(image))
    matrix = np.concatenate([brightness * contrast * mix, np.full((3, 1), brightness * (1 - contrast) * mean)], axis=1)
    return cv2.transform(image, gains[:, None] * matrix)  # type: ignore[return-value]


def _turn(image: Image, rotation: float, rng: np.random.Generator) -> Image:
    if rotation <= 0:
        return image
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rng.uniform(-rotation, rotation), 1.0)
    # What comes in at the corners is the picture mirrored: no black wedge that a camera never shows.
    return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)  # type: ignore[return-value]


def _hide(image: Image, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    area, ratio = rng.uniform(*_HIDDEN_AREA) * height * width, math.exp(rng.uniform(-1.0, 1.0))
    rows, columns = min(height, round(math.sqrt(area / ratio))), min(width, round(math.sqrt(area * ratio)))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    image[top : top + rows, left : left + columns] = rng.integers(0, 256, 3)
