"""Items put into a scene, and the scene photographed: pose, shadow, light, lens and sensor."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from .backdrop import backdrop, noise, shelf_edge
from .brush import Canvas, Layer, Light, as_layer

Draw: TypeAlias = Callable[[Canvas, np.random.Generator], None]
Photo: TypeAlias = NDArray[np.uint8]

GROUND = 0.94  # The row of a canvas on which every item stands, in unit coordinates.


@dataclass(frozen=True, slots=True)
class Item:
    """One article of the shop.

    Attributes:
        name: Its label.
        draw: Draws one specimen on a canvas.
        design: Which of the many looks that `draw` gives: a shop sells one product, not its whole kind.
        mirror: Whether it may be shown mirrored (nothing is written on it).
        roll: How far it may be turned in the picture's plane, degrees.
    """

    name: str
    draw: Draw
    mirror: bool = True
    roll: float = 10.0
    design: int = 0

    def paint(self, canvas: Canvas) -> None:
        """Draw the product, the same colours and print every time, in the canvas's light."""
        self.draw(canvas, np.random.default_rng([self.design, *self.name.encode()]))


@dataclass(frozen=True, slots=True)
class Pose:
    """How an item stands in a scene.

    Attributes:
        x: Column of its middle, pixels.
        ground: Row on which it stands, pixels.
        height: Height of its canvas in the scene, pixels.
        roll: Turn in the picture's plane, degrees.
        skew: Shift of the four corners as part of the height, shape (4, 2).
        mirrored: Whether left and right are swapped.
    """

    x: float
    ground: float
    height: float
    roll: float = 0.0
    skew: NDArray[np.float64] | None = None
    mirrored: bool = False


def put(scene: Layer, canvas: Canvas, pose: Pose, shadow: float = 0.5) -> None:
    """Lay a drawn item and its shadow over a scene, in place."""
    matrix = _to_scene(canvas.size, pose)
    rows, columns = scene.shape[:2]
    reach = int(pose.height * 1.2)
    left, right = max(0, int(pose.x) - reach), min(columns, int(pose.x) + reach)
    top, bottom = max(0, int(pose.ground - 1.6 * pose.height)), min(rows, int(pose.ground + reach * 0.5))
    if left >= right or top >= bottom:
        return
    part = scene[top:bottom, left:right]
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
    size = (right - left, bottom - top)
    _cast(part, canvas, shift @ _flattened(pose, canvas) @ matrix, pose.height * 0.03, shadow)
    contact = _flattened(pose, canvas, tall=0.07, lean=0.0)
    _cast(part, canvas, shift @ contact @ matrix, pose.height * 0.015, shadow * 1.1)
    colour = cv2.warpPerspective(canvas.colour, shift @ matrix, size, flags=cv2.INTER_LINEAR)
    alpha = cv2.warpPerspective(canvas.alpha, shift @ matrix, size, flags=cv2.INTER_LINEAR)
    part *= 1 - as_layer(alpha)[..., None]
    part += as_layer(colour)


def _to_scene(size: int, pose: Pose) -> NDArray[np.float64]:
    unit = np.array([[-0.5, -GROUND], [0.5, -GROUND], [0.5, 1 - GROUND], [-0.5, 1 - GROUND]])
    if pose.skew is not None:
        unit = unit + pose.skew
    if pose.mirrored:
        unit = unit * (-1, 1)
    c, s = np.cos(np.radians(pose.roll)), np.sin(np.radians(pose.roll))
    pivot = np.array([0.0, -0.4])
    turned = (unit - pivot) @ np.array([[c, s], [-s, c]]) + pivot
    target = turned * pose.height + (pose.x, pose.ground)
    source = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(source, target.astype(np.float32)), np.float64)


def _flattened(pose: Pose, canvas: Canvas, tall: float = 0.3, lean: float | None = None) -> NDArray[np.float64]:
    slope = canvas.light.x / max(canvas.light.z, 0.2) * 0.8 if lean is None else lean
    # A point `up` above the ground throws its shadow `tall * up` behind and `slope * up` beside its foot.
    return np.array([[1, slope, -slope * pose.ground], [0, tall, (1 - tall) * pose.ground], [0, 0, 1]], np.float64)


def _cast(part: Layer, canvas: Canvas, matrix: NDArray[np.float64], blur: float, depth: float) -> None:
    size = (part.shape[1], part.shape[0])
    shadow = cv2.warpPerspective(canvas.alpha, matrix, size, flags=cv2.INTER_LINEAR)
    shadow = cv2.GaussianBlur(shadow, (0, 0), max(blur, 0.5))
    part *= 1 - depth * as_layer(shadow)[..., None]


def random_light(rng: np.random.Generator) -> Light:
    """Give a lamp somewhere above and in front."""
    direction = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.9, -0.35), rng.uniform(0.5, 0.9)])
    x, y, z = direction / np.linalg.norm(direction)
    return Light(float(x), float(y), float(z))


def random_pose(item: Item, rng: np.random.Generator, x: float, ground: float, height: float) -> Pose:
    """Turn, skew and sometimes mirror an item at its place."""
    roll = float(rng.normal(0, item.roll / 2)) if rng.random() < 0.85 else float(rng.uniform(-2, 2) * item.roll)
    mirrored = bool(item.mirror and rng.random() < 0.5)
    return Pose(x, ground, height, roll, rng.normal(0, 0.022, (4, 2)), mirrored)


def photograph(item: Item | None, rng: np.random.Generator, size: int = 160) -> Photo:
    """Draw one training photo: the item (or none) on a table in front of a wall, in some light.

    Returns:
        uint8, shape (size, size, 3), BGR.
    """
    horizon = rng.uniform(-0.3, 0.82)
    scene = backdrop(rng, size, size, size, round(max(0.0, horizon) * size))
    ground = rng.uniform(max(0.78, horizon + 0.05), 0.96) * size
    if rng.random() < 0.3:
        shelf_edge(scene, rng, size, round(min(ground + rng.uniform(0.02, 0.08) * size, size - 1)))
    if item is not None:
        height = size * rng.uniform(0.58, 0.98)
        canvas = Canvas(max(48, round(height)), random_light(rng))
        item.paint(canvas)
        centred = (ground + (size * 0.5 + height * 0.44)) / 2
        put(scene, canvas, random_pose(item, rng, size * rng.normal(0.5, 0.045), centred, height))
    return _exposed(scene, rng)


def _exposed(scene: Layer, rng: np.random.Generator) -> Photo:
    rows, columns = scene.shape[:2]
    lit = scene * light_field(rng, rows, columns)
    warm = rng.normal(0, 0.09)
    lit *= np.array([1 - warm, 1 + rng.normal(0, 0.02), 1 + warm], np.float32)
    lit = np.clip(lit * np.exp(rng.normal(0, 0.16)), 0, 1) ** np.float32(np.exp(rng.normal(0, 0.14)))
    lit = as_layer(cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.3, 1.1) * rows / 160))
    if rng.random() < 0.15:
        lit = smear(lit, rng.uniform(2, 6) * rows / 160, rng.uniform(0, 180))
    return grained(lit, rng, rng.uniform(0.004, 0.03))


def light_field(rng: np.random.Generator, rows: int, columns: int) -> Layer:
    """Give the unevenness of the light over a view, shape (rows, columns, 1): a slope, a pool, dark corners."""
    y, x = np.linspace(-1, 1, rows, dtype=np.float32)[:, None], np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    slope = 1 + rng.normal(0, 0.12) * x + rng.normal(0, 0.08) * y
    pool = rng.uniform(0, 0.2) * np.exp(-((x - rng.uniform(-1, 1)) ** 2 + (y + rng.uniform(0, 1)) ** 2))
    corners = rng.uniform(0, 0.2) * (x * x + y * y) / 2
    return as_layer(slope + pool - corners)[..., None]


def smear(picture: Layer, length: float, angle: float) -> Layer:
    """Blur a picture along a direction, as by a hand or a pan; length in pixels, angle in degrees."""
    reach = max(1, round(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    dx, dy = reach * np.cos(np.radians(angle)), reach * np.sin(np.radians(angle))
    cv2.line(kernel, (round(reach - dx), round(reach - dy)), (round(reach + dx), round(reach + dy)), 1.0)
    return as_layer(cv2.filter2D(picture, -1, kernel / kernel.sum()))


def grained(picture: Layer, rng: np.random.Generator, deviation: float) -> Photo:
    """Add a sensor's noise (more in the light parts, a little coloured) and round to uint8."""
    rows, columns = picture.shape[:2]
    grey = rng.standard_normal((rows, columns, 1), np.float32)
    tinted = noise(rng, rows, columns, 2, 2)[..., None] * np.array([1.0, -0.6, 0.8], np.float32)
    noisy = picture + np.float32(deviation) * np.sqrt(picture + 0.05) * (grey + 0.5 * tinted)
    return np.asarray(np.clip(noisy, 0, 1) * 255 + 0.5, np.uint8)
