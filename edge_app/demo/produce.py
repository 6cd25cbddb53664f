"""The shop's fruit and plants, each drawn anew from a random generator.

Every function draws one item on a `Canvas`, standing on the line y = 0.94, with its colour, ripeness, shape
and small marks chosen by the generator.
"""

import numpy as np

from .brush import Canvas, Layer, as_layer, hsv, spline


def _speckle(canvas: Canvas, rng: np.random.Generator, cells: int) -> Layer:
    """Give smooth noise, mean 0, about -1 to 1, with the given number of cells across."""
    grid = rng.normal(0, 0.5, (cells, cells)).astype(np.float32)
    rows = np.clip(canvas.y[:, 0] * (cells - 1), 0, cells - 1.001)
    low = rows.astype(int)
    part = (rows - low)[:, None]
    tall = grid[low] * (1 - part) + grid[low + 1] * part
    part = part.T
    return as_layer(tall[:, low] * (1 - part) + tall[:, low + 1] * part)


def _leaf(canvas: Canvas, x: float, y: float, dx: float, dy: float, hue: float) -> None:
    nx, ny = -dy * 0.32, dx * 0.32
    middle = (x + dx * 0.5, y + dy * 0.5)
    leaf = canvas.blob([(x, y), (middle[0] + nx, middle[1] + ny), (x + dx, y + dy), (middle[0] - nx, middle[1] - ny)])
    canvas.paint(leaf, hsv(hue, 0.72, 0.52))
    canvas.relief(leaf, 0.05, 0.15)
    canvas.tint(canvas.band([(x, y), middle, (x + dx * 0.9, y + dy * 0.9)], 0.008), hsv(hue, 0.5, 0.7), 0.7)


def apple(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw an apple: red, striped, green or yellow, with stem and sometimes a leaf."""
    wide, lean = rng.uniform(0.34, 0.40), rng.uniform(-0.02, 0.02)
    low, x = 0.94, 0.5
    top = low - rng.uniform(0.62, 0.72)
    outline = [
        (x + lean, top + 0.07),
        (x - wide * 0.5, top),
        (x - wide * 0.95, top + 0.15),
        (x - wide * 0.95, top + 0.36),
        (x - wide * 0.62, low - 0.05),
        (x - wide * 0.28, low),
        (x, low - 0.02),
        (x + wide * 0.28, low),
        (x + wide * 0.62, low - 0.05),
        (x + wide * 0.95, top + 0.36),
        (x + wide * 0.95, top + 0.15),
        (x + wide * 0.5, top),
    ]
    body = canvas.blob(outline)
    skin, blush = _APPLES[rng.integers(len(_APPLES))]
    shift = rng.uniform(-7, 7)
    angle = np.arctan2(canvas.y - top - 0.06, canvas.x - x)
    streak = np.sin(angle * rng.integers(18, 30) + 5 * _speckle(canvas, rng, 6))
    share = np.clip(0.5 + 0.9 * _speckle(canvas, rng, 4) + 0.25 * streak, 0, 1)[..., None]
    colour = share * np.asarray(hsv(skin[0] + shift, *skin[1:])) + (1 - share) * np.asarray(
        hsv(blush[0] + shift, *blush[1:])
    )
    canvas.paint(body, colour)
    dots = [[dot, (dot[0] + 0.006, dot[1])] for dot in rng.uniform((0.2, top + 0.1), (0.8, low - 0.1), (26, 2))]
    canvas.tint(canvas.bands(dots, 0.009), (0.75, 0.9, 0.95), 0.45)
    canvas.relief(body, 0.36, 0.5, 40)
    hollow = canvas.soft(canvas.disc(x + lean, top + 0.065, wide * 0.36, 0.035), 0.014)
    canvas.shade(hollow, 0.5)
    tip = (x + lean + rng.uniform(-0.08, 0.1), top - rng.uniform(0.04, 0.09))
    stem = canvas.band([(x + lean, top + 0.075), (x + lean + 0.01, top), tip], 0.018, 0.02, 0.034)
    canvas.paint(stem, hsv(28, 0.6, rng.uniform(0.25, 0.42)))
    if rng.random() < 0.6:
        side = rng.choice([-1, 1])
        _leaf(canvas, x + lean, top + 0.03, side * rng.uniform(0.16, 0.24), -rng.uniform(0.02, 0.1), 100)


_APPLES = (
    ((2, 0.88, 0.80), (30, 0.72, 0.90)),
    ((355, 0.90, 0.62), (5, 0.85, 0.78)),
    ((88, 0.70, 0.74), (70, 0.60, 0.84)),
    ((4, 0.85, 0.82), (52, 0.62, 0.90)),
    ((50, 0.66, 0.90), (12, 0.66, 0.90)),
)


def aubergine(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw an aubergine lying aslant, purple, striped or white, with its green cap."""
    colour = [hsv(285, 0.65, 0.26), hsv(310, 0.5, 0.42), hsv(60, 0.08, 0.93)][rng.choice(3, p=[0.6, 0.25, 0.15])]
    fat = rng.uniform(0.26, 0.34)
    low = 0.94 - 0.5 * fat
    line = [(0.24, 0.34), (0.42, 0.48), (0.62, 0.66), (0.77, low)]
    body = canvas.band(line, fat * 0.52, fat * 0.7, fat * 0.95, fat * 1.05, fat * 0.9)
    body = np.maximum(body, canvas.disc(0.76, low, fat * 0.5))
    canvas.paint(body, colour)
    if rng.random() < 0.3:
        for offset in (-0.07, 0.0, 0.07):
            stripe = canvas.band([(px - offset, py + offset) for px, py in line], 0.012, 0.02, 0.02, 0.01)
            canvas.tint(stripe * body, hsv(300, 0.2, 0.85), 0.6)
    canvas.relief(body, fat * 0.48, 0.6, 40)
    green = hsv(rng.uniform(85, 115), 0.55, rng.uniform(0.35, 0.5))
    for tip in ((0.36, 0.34), (0.37, 0.43), (0.31, 0.49), (0.24, 0.49), (0.38, 0.50)):
        sepal = canvas.band([(0.22, 0.32), ((0.22 + tip[0]) / 2, (0.32 + tip[1]) / 2), tip], 0.09, 0.09, 0.01)
        canvas.paint(sepal, green)
    stem = canvas.band([(0.25, 0.35), (0.19, 0.28), (0.16, 0.19)], 0.09, 0.05, 0.06)
    canvas.paint(stem, green)
    canvas.relief(stem, 0.03, 0.1)


def cactus(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a potted cactus with arms, ribs, spines and sometimes a flower."""
    hue = rng.uniform(105, 150)
    top = rng.uniform(0.16, 0.26)
    for side in (-1, 1):
        if rng.random() < 0.85:
            y, high = rng.uniform(0.40, 0.50), rng.uniform(0.12, 0.2)
            _cactus_limb(
                canvas, rng, [(0.5, y + 0.06), (0.5 + side * 0.2, y + 0.04), (0.5 + side * 0.24, y - high)], 0.1, hue
            )
    _cactus_limb(canvas, rng, [(0.5, 0.74), (0.5, 0.5), (0.5, top)], rng.uniform(0.19, 0.25), hue)
    if rng.random() < 0.6:
        flower = rng.uniform(310, 345)
        for angle in np.linspace(0, 360, 7)[:-1]:
            c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
            petal = canvas.disc(0.5 + 0.045 * c, top - 0.01 + 0.035 * s, 0.04, 0.022, angle)
            canvas.paint(petal, hsv(flower, 0.55, 0.95))
        canvas.paint(canvas.disc(0.5, top - 0.01, 0.022), hsv(48, 0.8, 0.95))
    _pot(canvas, rng)


def _cactus_limb(
    canvas: Canvas, rng: np.random.Generator, line: list[tuple[float, float]], thick: float, hue: float
) -> None:
    limb = np.maximum(canvas.band(line, thick, thick, thick * 0.95), canvas.disc(*line[-1], thick * 0.475))
    canvas.paint(limb, hsv(hue, 0.58, 0.50))
    canvas.relief(limb, thick * 0.5, 0.15, 12)
    path = spline(line, closed=False)
    for offset in (-0.3, -0.1, 0.1, 0.3):
        rib = canvas.band(np.add(path, (offset * thick, 0)), 0.007, 0.007)
        canvas.shade(canvas.soft(rib * limb, 0.003), 0.72)
        roots = np.add(path[2::3], (offset * thick + 0.1 * thick, 0))
        spines = [[root, root + rng.uniform(-0.02, 0.02, 2)] for root in roots]
        canvas.paint(canvas.bands(spines, 0.006, 0.003), (0.75, 0.88, 0.92), 0.8)


def _pot(canvas: Canvas, rng: np.random.Generator) -> None:
    clay = hsv(rng.uniform(12, 24), rng.uniform(0.5, 0.68), rng.uniform(0.62, 0.8))
    body = canvas.polygon([(0.30, 0.72), (0.70, 0.72), (0.64, 0.94), (0.36, 0.94)])
    canvas.paint(body, clay)
    canvas.lathe(body, 0.2 - (canvas.y - 0.72) * 0.27, 0.06)
    rim = canvas.polygon([(0.275, 0.655), (0.725, 0.655), (0.715, 0.745), (0.285, 0.745)])
    canvas.shade(canvas.soft(canvas.band([(0.29, 0.76), (0.71, 0.76)], 0.03), 0.01), 0.7)
    canvas.paint(rim, clay)
    canvas.lathe(rim, 0.225, 0.06)
