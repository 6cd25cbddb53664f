"""What an answer rests on, by the model's own word: parts of the picture are covered and the score is taken again.

Zeiler and Fergus (2014), "Visualizing and understanding convolutional networks". Needs no gradients, so it runs where
the model runs, quantized as it is. Large patches over the whole picture first, then smaller ones where they told most.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .preprocess import Image, InputSpec, crop_box

# Patches of a quarter, an eighth and a sixteenth of the picture's side, each moved by half its own side; and the part
# of the picture that is looked at so closely.
_LEVELS = ((4, 1.0), (8, 0.4), (16, 0.15))
_BATCH = 16
# The part of the picture that counts as its most telling.
TELLING = 0.2

Score = Callable[[Image], NDArray[np.float32]]
Heat = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Occlusion:
    """Where a score comes from.

    Attributes:
        heat: float32, shape (height, width) of the model's input, 0 to 1: how much the score falls where the place is
            covered; all 0 where covering changes nothing.
        telling: bool, same shape: the most telling fifth.
        covered: uint8, shape (height, width, 3), RGB: the input with that fifth covered.
        score: Of the whole picture.
        score_covered: Of `covered`.
        passes: How many pictures the model was asked about.
    """

    heat: Heat
    telling: NDArray[np.bool_]
    covered: Image
    score: float
    score_covered: float
    passes: int


def occlude(image: Image, score: Score, advance: Callable[[int], None] = lambda passes: None) -> Occlusion:
    """Find what a score rests on.

    Args:
        image: A prepared input, uint8, shape (height, width, 3), RGB.
        score: Gives the score of each picture of a batch, uint8 (batch, height, width, 3), as (batch,).
        advance: Told how many pictures were asked about.

    Returns:
        About 300 passes' result.
    """
    height, width = image.shape[:2]
    colour = image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    whole = float(score(image[None])[0])
    heat, passes = np.zeros((height, width), np.float32), 1
    for parts, share in _LEVELS:
        if passes > 1 and not heat.any():
            break
        where = heat >= np.quantile(heat, 1 - share) if passes > 1 else np.ones_like(heat, bool)
        boxes = [box for box in _boxes(height, width, parts) if where[_centre(box)]]
        fallen = []
        for start in range(0, len(boxes), _BATCH):
            batch = np.stack([_cover(image, box, colour) for box in boxes[start : start + _BATCH]])
            fallen += (whole - score(batch)).tolist()
            advance(len(batch))
        passes += len(boxes)
        heat += _level(boxes, fallen, heat.shape)
    heat = np.asarray(np.maximum(heat, 0) / max(float(heat.max()), 1e-12), np.float32)
    telling = heat >= max(float(np.quantile(heat, 1 - TELLING)), 1e-6)
    covered = np.where(telling[..., None], colour, image)
    return Occlusion(heat, telling, covered, whole, float(score(covered[None])[0]), passes + 1)


def lead(logits: NDArray[np.float32], column: int) -> NDArray[np.float32]:
    """The lead of a class over its strongest rival: moves where a probability near one or nought no longer does.

    Args:
        logits: float32, shape (batch, classes).
        column: The class.

    Returns:
        float32, shape (batch,).
    """
    others = np.delete(logits, column, axis=1)
    return np.asarray(logits[:, column] - (others.max(axis=1) if others.size else 0), np.float32)


def overlay(frame_bgr: Image, heat: Heat, spec: InputSpec) -> Image:
    """Lay a map over the part of a frame that the model sees; what it does not see is greyed.

    Args:
        frame_bgr: uint8, shape (height, width, 3).
        heat: float32, any shape, 0 to 1.
        spec: What the model sees of the frame.

    Returns:
        uint8, the shape of the frame: dim where nothing depends on, bright and coloured where much does.
    """
    top, left, bottom, right = crop_box(frame_bgr.shape[0], frame_bgr.shape[1], spec)
    grey = cv2.cvtColor(cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.float32)
    whole = grey * 0.25 + 150
    large = cv2.resize(np.clip(heat, 0, 1), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    # The corners of the patches say nothing.
    smooth = np.asarray(cv2.GaussianBlur(large, (0, 0), max(0.5, (right - left) / 40)), np.float32)[..., None]
    seen = smooth / max(float(smooth.max()), 1e-6)
    colours = cv2.applyColorMap((255 * seen).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    photo = frame_bgr[top:bottom, left:right].astype(np.float32)
    # Dark where nothing depends on, the photo itself where something does, coloured where most does.
    mixed = photo * (0.25 + 0.55 * np.sqrt(seen)) + colours * 0.55 * seen
    whole[top:bottom, left:right] = mixed
    return np.asarray(np.clip(whole, 0, 255), np.uint8)


_Box = tuple[int, int, int, int]


def _boxes(height: int, width: int, parts: int) -> Iterator[_Box]:
    """Give top, left, bottom and right of overlapping patches, `parts` side by side along each side."""
    rows, columns = max(2, height // parts), max(2, width // parts)
    for top in range(-(rows // 2), height - rows // 2, max(1, rows // 2)):
        for left in range(-(columns // 2), width - columns // 2, max(1, columns // 2)):
            yield max(0, top), max(0, left), min(height, top + rows), min(width, left + columns)


def _centre(box: _Box) -> tuple[int, int]:
    return (box[0] + box[2]) // 2, (box[1] + box[3]) // 2


def _cover(image: Image, box: _Box, colour: Image) -> Image:
    covered = image.copy()
    covered[box[0] : box[2], box[1] : box[3]] = colour
    return covered


def _level(boxes: list[_Box], fallen: list[float], shape: tuple[int, ...]) -> Heat:
    """Spread what each patch cost over its pixels, the mean where patches overlap; the largest is 1."""
    total, count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for (top, left, bottom, right), fall in zip(boxes, fallen, strict=True):
        total[top:bottom, left:right] += fall
        count[top:bottom, left:right] += 1
    mean = total / np.maximum(count, 1)
    return np.asarray(mean / max(float(mean.max()), 1e-12) if mean.max() > 0 else np.zeros_like(mean), np.float32)
