"""The shop's mugs, bottles, cans, jars and teapots, each drawn anew from a random generator.

As in `produce`, every function draws one item on a `Canvas`, standing on the line y = 0.94.
"""

import numpy as np

from .brush import Canvas, Colour, Layer, hsv, lettering, ring, sheet, spline, stamp

_CREAM: Colour = (0.82, 0.92, 0.96)
_INK: Colour = (0.16, 0.12, 0.12)


def mug(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a glazed mug with a motif, its handle to one side, filled or empty."""
    glaze = hsv(rng.uniform(0, 360), rng.uniform(0.15, 0.75), rng.uniform(0.6, 0.95))
    wide, top = rng.uniform(0.25, 0.29), rng.uniform(0.30, 0.38)
    tilt = rng.uniform(0.035, 0.07)
    side = rng.choice([-1, 1])
    x = 0.5 - side * 0.09
    grip = side * rng.uniform(0.16, 0.24)
    rim_x = x + side * wide * 0.9
    handle = canvas.band(
        [(rim_x, top + 0.12), (rim_x + grip, top + 0.13), (rim_x + grip, 0.76), (rim_x - side * 0.02, 0.79)],
        0.06,
        0.075,
        0.075,
        0.06,
    )
    canvas.paint(handle, glaze)
    canvas.relief(handle, 0.036, 0.4)
    foot = wide * rng.uniform(0.82, 0.98)
    base = 0.94 - tilt * 0.8
    walls = [(x - wide, top), (x - wide, (top + base) / 2), (x - foot, base)]
    under = ring(x, base, foot, tilt * 0.8)[1:20][::-1]
    outline = [*walls, *under, *((2 * x - px, py) for px, py in reversed(walls))]
    body = canvas.polygon(outline)
    canvas.paint(body, glaze)
    canvas.wrap(body, _mug_motif(rng, glaze), (x - wide, top, x + wide, base), tilt)
    canvas.lathe(body, wide, 0.45, x)
    canvas.paint(canvas.disc(x, top, wide, tilt), np.clip(np.asarray(glaze) * 1.15 + 0.06, 0, 1))
    hollow = canvas.disc(x, top + 0.002, wide * 0.92, tilt * 0.84)
    canvas.paint(hollow, np.asarray(glaze) * 0.55)
    if rng.random() < 0.6:
        drink = hsv(rng.uniform(18, 32), rng.uniform(0.5, 0.8), rng.uniform(0.15, 0.5))
        canvas.paint(canvas.disc(x, top + tilt * 0.35, wide * 0.86, tilt * 0.62) * hollow, drink)


def _mug_motif(rng: np.random.Generator, glaze: Colour) -> Layer:
    print_ = sheet(160, 200, glaze)
    ink = _CREAM if sum(glaze) < 1.9 else hsv(rng.uniform(0, 360), 0.8, 0.5)
    kind = rng.integers(4)
    if kind == 0:
        for y in np.arange(0.2, 0.9, rng.uniform(0.14, 0.22)):
            stamp(print_, [(0, y), (1, y), (1, y + 0.07), (0, y + 0.07)], ink)
    elif kind == 1:
        for cx, cy in rng.uniform((0.05, 0.15), (0.95, 0.9), (26, 2)):
            stamp(print_, ring(cx, cy, 0.028, 0.035), ink)
    elif kind == 2:
        heart = [(0.5, 0.36), (0.40, 0.24), (0.29, 0.38), (0.5, 0.74), (0.71, 0.38), (0.60, 0.24)]
        stamp(print_, spline(heart), hsv(rng.uniform(-12, 8), 0.8, 0.8))
    else:
        lettering(print_, "TEA" if rng.random() < 0.5 else "HELLO", (0.5, 0.5), 0.42, ink, 1.2)
    return print_


def bottle(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a glass bottle with cap, label and something in it."""
    glass = _GLASS[rng.integers(len(_GLASS))]
    body_r, neck_r = rng.uniform(0.135, 0.165), rng.uniform(0.045, 0.06)
    shoulder = rng.uniform(0.34, 0.44)
    top = 0.06
    ys = [top, shoulder - 0.14, shoulder - 0.05, shoulder + 0.05, 0.6, 0.91, 0.94]
    rs = [neck_r, neck_r, neck_r * 1.6, body_r * 0.96, body_r, body_r, body_r * 0.86]
    right = spline([(0.5 + r, y) for r, y in zip(rs, ys, strict=True)], closed=False)
    outline = np.concatenate([right, (right * (-1, 1) + (1, 0))[::-1]])
    body = canvas.polygon(outline)
    radius = np.interp(canvas.y[:, 0], right[:, 1], right[:, 0] - 0.5)[:, None]
    canvas.paint(body, np.asarray(hsv(*glass)) * 0.9 + 0.08, 0.80)
    fill = rng.uniform(0.2, shoulder)
    drink = body * (canvas.y > fill)
    canvas.paint(drink, hsv(glass[0] + rng.uniform(-8, 8), glass[1], glass[2] * 0.75), 0.7)
    canvas.lathe(body, radius, 0.2)
    mid = rng.uniform(0.62, 0.7)
    box = (0.5 - body_r, mid - rng.uniform(0.09, 0.13), 0.5 + body_r, mid + rng.uniform(0.09, 0.14))
    before = canvas.alpha.copy()
    canvas.wrap(body, _bottle_label(rng), box, 0.012)
    canvas.lathe(body * (np.abs(canvas.y - mid) < 0.1) * (before > 0), radius, 0.0)
    for offset, width, strength in ((-0.62, 0.02, 0.55), (0.7, 0.012, 0.28)):
        streak = canvas.band([(0.5 + offset * body_r, shoulder + 0.03), (0.5 + offset * body_r, 0.88)], width, width)
        canvas.shine(canvas.soft(streak, 0.006), strength)
    neck = canvas.band([(0.5 - neck_r * 0.5, 0.15), (0.5 - neck_r * 0.5, shoulder - 0.1)], 0.014, 0.01)
    canvas.shine(canvas.soft(neck, 0.004), 0.5)
    cap = canvas.polygon([(0.49 - neck_r, 0.05), (0.51 + neck_r, 0.05), (0.51 + neck_r, 0.13), (0.49 - neck_r, 0.13)])
    canvas.paint(cap, hsv(rng.uniform(0, 360), rng.uniform(0.1, 0.8), rng.uniform(0.3, 0.9)))
    canvas.lathe(cap, neck_r + 0.012, 0.3)


_GLASS = ((140, 0.65, 0.42), (28, 0.80, 0.42), (205, 0.38, 0.72), (95, 0.45, 0.55), (190, 0.12, 0.82))


def _bottle_label(rng: np.random.Generator) -> Layer:
    paper = hsv(rng.uniform(30, 60), rng.uniform(0.02, 0.18), rng.uniform(0.88, 0.98))
    print_ = sheet(150, 200, paper)
    accent = hsv(rng.uniform(0, 360), 0.75, rng.uniform(0.35, 0.7))
    for y in (0.06, 0.88):
        stamp(print_, [(0, y), (1, y), (1, y + 0.06), (0, y + 0.06)], accent)
    lettering(print_, ["SODA", "JUICE", "CIDER", "OLIO"][rng.integers(4)], (0.5, 0.36), 0.44, accent, 1.2)
    stamp(print_, ring(0.5, 0.68, 0.09, 0.12), accent)
    stamp(print_, ring(0.47, 0.64, 0.03, 0.04), paper)
    return print_


def tin_can(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a tin can with a printed paper label, its lid seen from above."""
    wide, top = rng.uniform(0.22, 0.27), rng.uniform(0.22, 0.34)
    tilt = rng.uniform(0.04, 0.075)
    base = 0.94 - tilt
    outline = [(0.5 - wide, top), *ring(0.5, base, wide, tilt)[20::-1], (0.5 + wide, top)]
    body = canvas.polygon(outline)
    steel = rng.uniform(0.68, 0.8)
    canvas.paint(body, (steel * 1.02, steel, steel * 0.98))
    margin = rng.uniform(0.035, 0.055)
    canvas.wrap(body, _can_label(rng), (0.5 - wide, top + margin, 0.5 + wide, base - margin * 0.6), tilt)
    canvas.lathe(body, wide, 0.35)
    u = np.clip((canvas.x - 0.5) / wide, -1, 1)
    for y in (top + 0.012, base - 0.006):
        hoop = np.abs(canvas.y - y - tilt * np.sqrt(1 - u * u)) < 0.012
        canvas.shine(body * hoop, 0.22)
        canvas.shade(body * (np.abs(canvas.y - y - 0.02 - tilt * np.sqrt(1 - u * u)) < 0.006), 0.7)
    angle = np.arctan2((canvas.y - top) / tilt, (canvas.x - 0.5) / wide)
    sheen = 0.72 + 0.2 * np.cos(2 * angle + 1.1)
    for scale, tone in ((1.0, 0.95), (0.93, 0.7), (0.86, 1.0), (0.62, 0.9), (0.58, 1.02)):
        lid = canvas.disc(0.5, top + (1 - scale) * 0.01, wide * scale, tilt * scale)
        canvas.paint(lid, (sheen * tone)[..., None] * np.array([1.0, 0.99, 0.97]))
    if rng.random() < 0.5:
        pull = canvas.band([(0.5, top), (0.5 + wide * 0.5, top + tilt * 0.25)], 0.03, 0.045)
        canvas.paint(pull, (0.78, 0.77, 0.76))
        canvas.shade(canvas.disc(0.5 + wide * 0.4, top + tilt * 0.2, 0.022, 0.009), 0.6)


def _can_label(rng: np.random.Generator) -> Layer:
    name, picture, hue = (
        ("TOMATO", 2, 6),
        ("BEANS", 28, 130),
        ("CORN", 50, 205),
        ("SOUP", 18, 350),
        ("PEAS", 100, 50),
    )[rng.integers(5)]
    paper = hsv(hue + rng.uniform(-8, 8), rng.uniform(0.6, 0.85), rng.uniform(0.5, 0.85))
    print_ = sheet(200, 240, paper)
    stamp(print_, ring(0.5, 0.62, 0.25, 0.27), _CREAM)
    for cx, cy in rng.normal((0.5, 0.64), (0.08, 0.08), (9, 2)):
        stamp(print_, ring(cx, cy, 0.055, 0.06), hsv(picture, 0.85, rng.uniform(0.6, 0.9)))
    stamp(print_, [(0, 0.10), (1, 0.10), (1, 0.33), (0, 0.33)], _CREAM)
    lettering(print_, name, (0.5, 0.215), 0.42, _INK, 1.4)
    return print_


def teapot(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a round teapot with lid, spout and handle."""
    glaze = hsv(rng.uniform(0, 360), rng.uniform(0.1, 0.75), rng.uniform(0.5, 0.95))
    trim = hsv(rng.uniform(0, 360), rng.uniform(0.3, 0.8), rng.uniform(0.4, 0.9))
    wide, y = rng.uniform(0.27, 0.31), 0.68
    handle = canvas.band(
        [(0.28, 0.56), (0.10, 0.50), (0.06, 0.68), (0.16, 0.80), (0.28, 0.82)], 0.055, 0.06, 0.06, 0.05
    )
    spout = canvas.band([(0.70, 0.78), (0.84, 0.68), (0.86, 0.54), (0.95, 0.45)], 0.15, 0.10, 0.07, 0.055)
    for part, roundness in ((handle, 0.028), (spout, 0.045)):
        canvas.paint(part, glaze)
        canvas.relief(part, roundness, 0.4)
    foot = canvas.polygon([(0.38, 0.88), (0.62, 0.88), (0.65, 0.94), (0.35, 0.94)])
    canvas.paint(foot, trim)
    canvas.lathe(foot, 0.14, 0.2)
    body = canvas.disc(0.5, y, wide, 0.235)
    canvas.paint(body, glaze)
    if rng.random() < 0.7:
        kind = rng.integers(2)
        for t in np.linspace(-0.8, 0.8, 5):
            mark = (
                canvas.disc(0.5 + t * wide * 0.9, y + 0.02, 0.03)
                if kind
                else canvas.disc(0.5, y - t * 0.2, wide, 0.012)
            )
            canvas.tint(mark * body, trim)
    canvas.relief(body, 0.22, 0.55, 40)
    lid = canvas.blob(
        [
            (0.5 - wide * 0.62, 0.50),
            (0.5 - wide * 0.4, 0.43),
            (0.5, 0.40),
            (0.5 + wide * 0.4, 0.43),
            (0.5 + wide * 0.62, 0.50),
            (0.5, 0.53),
        ]
    )
    canvas.shade(canvas.soft(lid, 0.015), 0.8)
    canvas.paint(lid, glaze)
    canvas.relief(lid, 0.07, 0.4)
    knob = canvas.disc(0.5, 0.375, 0.042, 0.038)
    canvas.paint(knob, trim)
    canvas.relief(knob, 0.04, 0.5)
