"""A small paint box: shapes with soft edges, shading as if they were round, prints and lettering.

Everything is drawn in unit coordinates (x to the right, y down, both 0 to 1), so that one drawing serves a
training photo of 160 pixels and a poster of 480. A `Canvas` is one item on glass: colour and coverage, the
colour premultiplied so that edges keep no dark fringe when the item is laid over a scene.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Layer: TypeAlias = NDArray[np.float32]
Colour: TypeAlias = tuple[float, float, float]
Points: TypeAlias = Sequence[tuple[float, float]] | NDArray[np.float64]

_SHIFT = 6  # OpenCV takes fixed-point vertices: 1/64 of a pixel keeps slow motion smooth.


@dataclass(frozen=True, slots=True)
class Light:
    """Where the light comes from: a unit vector towards the lamp, x right, y down, z to the viewer."""

    x: float = -0.45
    y: float = -0.6
    z: float = 0.66


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Give the BGR colour (each 0 to 1) of a hue in degrees, a saturation and a value."""
    sector = np.array([1.0, 3.0, 5.0]) + (hue % 360) / 60.0
    sector %= 6.0
    blue, green, red = value - value * saturation * np.clip(np.minimum(sector, 4.0 - sector), 0.0, 1.0)
    return float(blue), float(green), float(red)


def spline(points: Points, closed: bool = True, steps: int = 10) -> NDArray[np.float64]:
    """Run a Catmull-Rom curve through points.

    Args:
        points: The corner points, shape (n, 2), in unit coordinates.
        closed: Whether the curve returns to its first point.
        steps: Curve points for each corner point.

    Returns:
        float64, shape (m, 2).
    """
    p = np.asarray(points, np.float64)
    if not closed:
        p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (
        (np.roll(p, shift, 0) if closed else p[1 - shift : len(p) - 2 - shift])[:, None, :] for shift in (1, 0, -1, -2)
    )
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    flat = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, p[-2:-1]])


def ribbon(points: Points, widths: Sequence[float], steps: int = 10) -> NDArray[np.float64]:
    """Give the outline of a band that follows a curve with a width that changes along it (unit coordinates)."""
    line = np.asarray(points, np.float64) if len(points) == 2 else spline(points, closed=False, steps=steps)
    half = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(widths)), widths)[:, None] / 2
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], 1) * half
    return np.concatenate([line + across, (line - across)[::-1]])


class Canvas:
    """One item on glass, drawn in unit coordinates.

    Attributes:
        size: Height and width, pixels.
        light: Where the light comes from.
        colour: float32, shape (size, size, 3), BGR 0 to 1, premultiplied by the coverage.
        alpha: float32, shape (size, size), coverage 0 to 1.
        x: float32, shape (1, size), the unit coordinate of each column.
        y: float32, shape (size, 1), the unit coordinate of each row.
    """

    def __init__(self, size: int, light: Light | None = None) -> None:
        self.size = size
        self.light = light or Light()
        self.colour: Layer = np.zeros((size, size, 3), np.float32)
        self.alpha: Layer = np.zeros((size, size), np.float32)
        unit = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x, self.y = unit[None, :], unit[:, None]

    def polygon(self, points: Points) -> Layer:
        """Cover the inside of an outline: float32, shape (size, size), 0 to 1."""
        mask = np.zeros((self.size, self.size), np.uint8)
        corners = np.rint((np.asarray(points) * self.size - 0.5) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, _SHIFT)
        return as_layer(mask) / np.float32(255)

    def blob(self, points: Points) -> Layer:
        """Cover the inside of a smooth closed curve through points."""
        return self.polygon(spline(points))

    def disc(self, cx: float, cy: float, rx: float, ry: float | None = None, turn: float = 0.0) -> Layer:
        """Cover an ellipse of radii rx and ry, turned by degrees."""
        t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        px, py = rx * np.cos(t), (rx if ry is None else ry) * np.sin(t)
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        return self.polygon(np.stack([cx + c * px - s * py, cy + s * px + c * py], 1))

    def band(self, points: Points, *widths: float) -> Layer:
        """Cover a brush stroke along a curve; several widths taper it."""
        return self.polygon(ribbon(points, widths))

    def bands(self, lines: Sequence[Points], *widths: float) -> Layer:
        """Cover many strokes at once; a tuft of leaflets is one layer, not fifty."""
        mask = np.zeros((self.size, self.size), np.uint8)
        for line in lines:
            corners = np.rint((ribbon(line, widths, 4) * self.size - 0.5) * (1 << _SHIFT)).astype(np.int32)
            cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, _SHIFT)
        return as_layer(mask) / np.float32(255)

    def soft(self, mask: Layer, sigma: float) -> Layer:
        """Blur a cover by a sigma in unit coordinates."""
        return as_layer(cv2.GaussianBlur(mask, (0, 0), max(sigma * self.size, 0.3)))

    def paint(self, mask: Layer, colour: ArrayLike, opacity: float = 1.0) -> None:
        """Lay a colour (BGR 0 to 1, one or a picture of them) over what is there."""
        cover = mask[..., None] * np.float32(opacity)
        self.colour += (np.asarray(colour, np.float32) - self.colour) * cover
        self.alpha += (1 - self.alpha) * cover[..., 0]

    def tint(self, mask: Layer, colour: ArrayLike, opacity: float = 1.0) -> None:
        """Lay a colour over what is there, only where the item already is."""
        cover = (mask * np.float32(opacity))[..., None]
        self.colour += (np.asarray(colour, np.float32) * self.alpha[..., None] - self.colour) * cover

    def shade(self, mask: Layer, factor: ArrayLike) -> None:
        """Darken (factor below 1) or brighten the covered part."""
        self.colour *= 1 + (mask * (np.asarray(factor, np.float32) - 1))[..., None]

    def shine(self, mask: Layer, strength: ArrayLike) -> None:
        """Add white light to the covered part of the item."""
        self.colour += (mask * np.asarray(strength, np.float32) * self.alpha)[..., None]
        np.minimum(self.colour, self.alpha[..., None], out=self.colour)

    def relief(self, mask: Layer, roundness: float, gloss: float = 0.25, sharpness: float = 24.0) -> None:
        """Shade a cover as if it were cushioned: flat in the middle, falling away at its outline.

        Args:
            mask: The cover, already painted.
            roundness: How far in from the outline the falling away begins, unit coordinates.
            gloss: Strength of the highlight, 0 to 1.
            sharpness: Phong exponent of the highlight; more is smaller.
        """
        inside = (mask > 0.5).astype(np.uint8)
        deep = cv2.distanceTransform(inside, cv2.DIST_L2, 3) / np.float32(roundness * self.size)
        deep = np.clip(deep, 0, 1)
        height = self.soft(as_layer(np.sqrt(deep * (2 - deep))), roundness * 0.22)
        scale = roundness * self.size / 2
        nx = -cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=scale / 4)
        ny = -cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=scale / 4)
        self._lit(mask, as_layer(nx), as_layer(ny), gloss, sharpness)

    def lathe(self, mask: Layer, radius: ArrayLike, gloss: float = 0.3, centre: float = 0.5) -> None:
        """Shade a cover as a body of revolution about an upright axis of the given radius (per row)."""
        across = np.clip((self.x - centre) / np.maximum(np.asarray(radius, np.float32), 1e-3), -0.99, 0.99)
        nx = as_layer(np.broadcast_to(across / np.sqrt(1 - across**2), mask.shape))
        self._lit(mask, nx, np.zeros_like(mask), gloss, 30.0)

    def _lit(self, mask: Layer, nx: Layer, ny: Layer, gloss: float, sharpness: float) -> None:
        light = self.light
        length = np.sqrt(nx * nx + ny * ny + 1)
        diffuse = np.clip((nx * light.x + ny * light.y + light.z) / length, 0, 1)
        self.shade(mask, 0.42 + 0.78 * diffuse)
        hx, hy, hz = light.x, light.y, light.z + 1
        half = np.float32(np.sqrt(hx * hx + hy * hy + hz * hz))
        glint = np.clip((nx * hx + ny * hy + hz) / (length * half), 0, 1)
        self.shine(mask, gloss * glint**sharpness)

    def wrap(self, mask: Layer, print_: Layer, box: tuple[float, float, float, float], sag: float) -> None:
        """Wrap a printed label round an upright cylinder.

        Args:
            mask: Where the label may show.
            print_: float32, shape (rows, columns, 3), BGR 0 to 1: the half of the label that is seen.
            box: Left, top, right, bottom of the label on the cylinder.
            sag: How far the label's lines hang in the middle, because one looks at the can from above.
        """
        left, top, right, bottom = box
        u = np.clip(2 * (self.x - left) / (right - left) - 1, -1, 1)
        column = (np.arcsin(u) / np.pi + 0.5) * (print_.shape[1] - 1)
        row = (self.y - top - sag * np.sqrt(1 - u * u)) / (bottom - top) * (print_.shape[0] - 1)
        inside = ((row >= 0) & (row <= print_.shape[0] - 1)).astype(np.float32)
        column = np.broadcast_to(column, row.shape).astype(np.float32)
        picture = cv2.remap(print_, column, row.astype(np.float32), cv2.INTER_LINEAR)
        self.paint(as_layer(mask * self.soft(inside, 0.002)), picture)

    def face(self, print_: Layer, corners: Points) -> Layer:
        """Lay a print on a flat four-cornered face (top left, top right, bottom right, bottom left)."""
        rows, columns = print_.shape[:2]
        source = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32) - 0.5
        target = (np.asarray(corners) * self.size - 0.5).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(source, target)
        picture = cv2.warpPerspective(
            print_, matrix, (self.size, self.size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
        mask = self.polygon(corners)
        self.paint(mask, picture)
        return mask


def as_layer(array: ArrayLike) -> Layer:
    """Give an array as float32, as OpenCV's answers are not typed."""
    return np.asarray(array, np.float32)


def sheet(rows: int, columns: int, colour: Colour) -> Layer:
    """Give an empty print of one colour: float32, shape (rows, columns, 3)."""
    return np.full((rows, columns, 3), colour, np.float32)


def lettering(
    print_: Layer,
    text: str,
    centre: tuple[float, float],
    width: float,
    colour: Colour,
    weight: float = 1.0,
    font: int = cv2.FONT_HERSHEY_DUPLEX,
) -> None:
    """Print a line of text so that it fills a width (unit coordinates of the print)."""
    rows, columns = print_.shape[:2]
    (natural, _), _ = cv2.getTextSize(text, font, 1.0, 1)
    scale = width * columns / max(natural, 1)
    thick = max(1, round(scale * 2.6 * weight))
    (wide, high), _ = cv2.getTextSize(text, font, scale, thick)
    mask = np.zeros((rows, columns), np.uint8)
    origin = (round(centre[0] * columns - wide / 2), round(centre[1] * rows + high / 2))
    cv2.putText(mask, text, origin, font, scale, 255, thick, cv2.LINE_AA)
    print_ += (np.asarray(colour, np.float32) - print_) * (mask.astype(np.float32) / 255)[..., None]


def stamp(print_: Layer, points: Points, colour: Colour) -> None:
    """Print a filled outline (unit coordinates of the print)."""
    rows, columns = print_.shape[:2]
    place = np.asarray(points) * (columns, rows) - 0.5
    left, top = np.clip(np.floor(place.min(0)).astype(int) - 1, 0, None)
    right, bottom = np.ceil(place.max(0)).astype(int) + 2
    # Only the part under the outline is touched: a cereal box is printed with thirty small flakes.
    part = print_[top:bottom, left:right]
    mask = np.zeros(part.shape[:2], np.uint8)
    if mask.size:
        corners = np.rint((place - (left, top)) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, _SHIFT)
        part += (np.asarray(colour, np.float32) - part) * (mask.astype(np.float32) / 255)[..., None]


def ring(cx: float, cy: float, rx: float, ry: float, points: int = 40) -> NDArray[np.float64]:
    """Give the outline of an ellipse."""
    t = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], 1)


def star(cx: float, cy: float, radius: float, rays: int, inner: float = 0.6) -> NDArray[np.float64]:
    """Give the outline of a star, as on a price tag."""
    t = np.linspace(0, 2 * np.pi, 2 * rays, endpoint=False)
    r = radius * np.where(np.arange(2 * rays) % 2, inner, 1.0)
    return np.stack([cx + r * np.cos(t), cy + r * np.sin(t)], 1)
