"""What stands behind and under the shop's items: walls, table tops, and out-of-focus clutter.

All pictures are float32, shape (rows, columns, 3), BGR 0 to 1. `unit` is the height of the view in pixels, so
that a plank is as wide in a training photo as in the clip's long shelf.
"""

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np

from .brush import Colour, Layer, as_layer, hsv, lettering, sheet, stamp

Rng: TypeAlias = np.random.Generator
Texture: TypeAlias = Callable[[Rng, int, int, int], Layer]


def noise(rng: Rng, rows: int, columns: int, cell_rows: float, cell_columns: float) -> Layer:
    """Give smooth noise, mean 0, deviation about 0.5, with cells of the given size in pixels."""
    shape = (max(2, round(rows / cell_rows) + 1), max(2, round(columns / cell_columns) + 1))
    grid = rng.normal(0, 0.6, shape).astype(np.float32)
    return as_layer(cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC))


def _toned(colour: Colour, tone: Layer) -> Layer:
    return as_layer(np.clip(np.asarray(colour, np.float32) * tone[..., None], 0, 1))


def wood(rng: Rng, rows: int, columns: int, unit: int) -> Layer:
    """Give planks with grain, seams and knots of tone."""
    colour = hsv(rng.uniform(18, 34), rng.uniform(0.3, 0.62), rng.uniform(0.42, 0.82))
    tone = 1 + 0.10 * noise(rng, rows, columns, unit / 60, unit / 3)
    tone += 0.06 * np.sin(24 * noise(rng, rows, columns, unit / 5, unit * 1.2))
    plank = max(6, round(unit * rng.uniform(0.16, 0.3)))
    for top in range(0, rows, plank):
        tone[top : top + plank] *= rng.uniform(0.88, 1.1)
        tone[top : top + max(1, unit // 110)] *= 0.55
    return _toned(colour, tone)


def cloth(rng: Rng, rows: int, columns: int, unit: int) -> Layer:
    """Give a checked or plain woven cloth."""
    base = np.asarray(hsv(rng.uniform(0, 360), rng.uniform(0.05, 0.25), rng.uniform(0.75, 0.95)), np.float32)
    dye = np.asarray(hsv(rng.uniform(0, 360), rng.uniform(0.3, 0.8), rng.uniform(0.35, 0.85)), np.float32)
    period = unit * rng.uniform(0.09, 0.2)
    x = (np.arange(columns) / period % 1 < 0.5).astype(np.float32)[None, :]
    y = (np.arange(rows) / period % 1 < 0.5).astype(np.float32)[:, None]
    share = 0.5 * (x + y) if rng.random() < 0.65 else np.broadcast_to(y * 0.8, (rows, columns))
    if rng.random() < 0.3:
        share = np.full((rows, columns), 0.7)
    weave = 1 + 0.07 * rng.standard_normal((rows, columns)) + 0.12 * noise(rng, rows, columns, unit / 4, unit / 3)
    picture = base + (dye - base) * share[..., None]
    return as_layer(np.clip(picture * weave[..., None], 0, 1))


def stone(rng: Rng, rows: int, columns: int, unit: int) -> Layer:
    """Give a marble or slate top with veins."""
    dark = rng.random() < 0.35
    colour = hsv(rng.uniform(0, 360), rng.uniform(0, 0.12), rng.uniform(0.22, 0.4) if dark else rng.uniform(0.75, 0.92))
    veins = np.abs(noise(rng, rows, columns, unit / 3, unit / 2) + 0.4 * noise(rng, rows, columns, unit / 9, unit / 9))
    tone = 1 - 0.22 * np.exp(-veins * 9) * (1 if not dark else -0.8)
    tone += 0.05 * noise(rng, rows, columns, unit / 14, unit / 14)
    return _toned(colour, as_layer(tone))


def plaster(rng: Rng, rows: int, columns: int, unit: int) -> Layer:
    """Give a painted wall, uneven in the light."""
    colour = hsv(rng.uniform(0, 360), rng.uniform(0.04, 0.42), rng.uniform(0.45, 0.92))
    tone = (
        1
        + 0.08 * noise(rng, rows, columns, unit / 2, unit / 2)
        + 0.03 * noise(rng, rows, columns, unit / 40, unit / 40)
    )
    return _toned(colour, as_layer(tone))


def tiles(rng: Rng, rows: int, columns: int, unit: int) -> Layer:
    """Give glazed wall tiles with grout."""
    colour = hsv(rng.uniform(0, 360), rng.uniform(0.03, 0.4), rng.uniform(0.6, 0.95))
    high = max(8, round(unit * rng.uniform(0.12, 0.2)))
    wide = round(high * rng.choice([1.0, 2.0]))
    y, x = np.arange(rows)[:, None], np.arange(columns)[None, :]
    course = y // high
    x = x + (course % 2) * (wide // 2) if wide > high else x + 0 * course
    glaze = rng.normal(1, 0.045, 997).astype(np.float32)[(course * 31 + x // wide * 7) % 997]
    gap = max(1, unit // 120)
    grout = (y % high < gap) | (x % wide < gap)
    sheen = 1 + 0.06 * (1 - (y % high) / high)
    return _toned(colour, as_layer(np.where(grout, 0.72, glaze * sheen)))


def wallpaper(rng: Rng, rows: int, columns: int, unit: int) -> Layer:
    """Give striped or dotted wallpaper."""
    hue = rng.uniform(0, 360)
    base = hsv(hue, rng.uniform(0.08, 0.3), rng.uniform(0.75, 0.95))
    ink = np.asarray(hsv(hue + rng.uniform(-40, 40), rng.uniform(0.2, 0.5), rng.uniform(0.5, 0.9)), np.float32)
    period = unit * rng.uniform(0.06, 0.16)
    y, x = np.arange(rows, dtype=np.float32)[:, None], np.arange(columns, dtype=np.float32)[None, :]
    if rng.random() < 0.5:
        share = np.broadcast_to((np.sin(2 * np.pi * x / period) > 0.2).astype(np.float32), (rows, columns))
    else:
        share = (np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period) > 0.6).astype(np.float32)
    picture = np.asarray(base, np.float32) + (ink - np.asarray(base, np.float32)) * share[..., None] * 0.7
    return as_layer(picture * (1 + 0.05 * noise(rng, rows, columns, unit / 2, unit / 2))[..., None])


WALLS: tuple[Texture, ...] = (plaster, tiles, wallpaper, plaster, wood)
TOPS: tuple[Texture, ...] = (wood, cloth, stone, wood)


def clutter(wall: Layer, rng: Rng, unit: int, amount: int) -> None:
    """Stand out-of-focus jars, cartons and lamps in front of a wall, in place."""
    rows, columns = wall.shape[:2]
    layer = wall.copy()
    shelf = rows * rng.uniform(0.75, 1.0)
    for _ in range(amount):
        wide, high = unit * rng.uniform(0.07, 0.2), unit * rng.uniform(0.12, 0.42)
        x = rng.uniform(0, columns)
        tone = np.asarray(hsv(rng.uniform(0, 360), rng.uniform(0.1, 0.7), rng.uniform(0.25, 0.9)))
        box = [(x - wide / 2, shelf - high), (x + wide / 2, shelf - high), (x + wide / 2, shelf), (x - wide / 2, shelf)]
        cv2.fillPoly(layer, [np.rint(box).astype(np.int32)], tone.tolist())
        band = np.rint([(box[0][0], shelf - high * 0.6), (box[1][0], shelf - high * 0.3)]).astype(int)
        cv2.rectangle(layer, band[0].tolist(), band[1].tolist(), (tone * 0.4 + 0.55).tolist(), -1)
    wall[:] = cv2.GaussianBlur(layer, (0, 0), unit * rng.uniform(0.018, 0.035))


def table(rng: Rng, rows: int, columns: int, unit: int) -> Layer:
    """Give a table top seen at a slant: its pattern narrows towards the far edge."""
    texture = TOPS[rng.integers(len(TOPS))](rng, rows * 2, columns, unit)
    inset = min(columns * 0.22, unit * 0.22)
    source = np.array([[inset, 0], [columns - inset, 0], [columns, rows * 2], [0, rows * 2]], np.float32)
    target = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    flat = as_layer(cv2.warpPerspective(texture, matrix, (columns, rows), borderMode=cv2.BORDER_REFLECT))
    return flat * np.linspace(0.82, 1.05, rows, dtype=np.float32)[:, None, None]


def shelf_edge(picture: Layer, rng: Rng, unit: int, top: int) -> None:
    """Draw a shelf's front edge with price tags from row `top` to the bottom, in place."""
    rows, columns = picture.shape[:2]
    if rows - top < 4:
        return
    board = hsv(rng.uniform(20, 36), rng.uniform(0.1, 0.5), rng.uniform(0.35, 0.9))
    picture[top:] = _toned(board, 1 + 0.05 * noise(rng, rows - top, columns, unit / 50, unit / 2))
    picture[top : top + max(1, unit // 90)] *= 1.15
    np.clip(picture, 0, 1, out=picture)
    high = min(rows - top - 2, round(unit * 0.07))
    wide = round(high * 1.7)
    for left in range(
        round(rng.uniform(0.02, 0.3) * unit), columns - wide, max(wide + 4, round(unit * rng.uniform(0.45, 0.8)))
    ):
        tag = _price_tag(rng, high, wide)
        picture[top + 2 : top + 2 + high, left : left + wide] = tag


def _price_tag(rng: Rng, high: int, wide: int) -> Layer:
    tag = sheet(high * 3, wide * 3, (0.97, 0.98, 0.98))
    stamp(tag, [(0, 0), (1, 0), (1, 0.22), (0, 0.22)], hsv(rng.choice([0.0, 48.0, 205.0]), 0.8, 0.85))
    price = f"{rng.integers(0, 9)}.{rng.integers(10, 99)}"
    lettering(tag, price, (0.5, 0.62), 0.7, (0.12, 0.12, 0.12), 1.2)
    return as_layer(cv2.resize(tag, (wide, high), interpolation=cv2.INTER_AREA))


def backdrop(rng: Rng, rows: int, columns: int, unit: int, horizon: int) -> Layer:
    """Give a wall above row `horizon` and a table below it."""
    picture = np.empty((rows, columns, 3), np.float32)
    horizon = int(np.clip(horizon, 0, rows))
    if horizon:
        wall = WALLS[rng.integers(len(WALLS))](rng, horizon, columns, unit)
        clutter(wall, rng, unit, int(rng.poisson(1.6 * columns / unit)))
        picture[:horizon] = wall
    if horizon < rows:
        picture[horizon:] = table(rng, rows - horizon, columns, unit)
        rim = max(1, unit // 40)
        picture[max(0, horizon - rim) : horizon] *= 0.8
    return picture
