"""The shop's odds and ends: sneakers, alarm clocks, rubber ducks.

As in `produce`, every function draws one item on a `Canvas`, standing on the line y = 0.94.
"""

import numpy as np

from .brush import Canvas, Colour, hsv, spline

_INK: Colour = (0.16, 0.12, 0.12)


def sneaker(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a sneaker from its side: sole, upper, toe cap, stripes and laces."""
    hue, value = rng.uniform(0, 360), rng.uniform(0.4, 0.85)
    cloth = hsv(hue, rng.uniform(0.45, 0.85), value)
    trim = hsv(hue + rng.uniform(120, 240), rng.uniform(0.1, 0.8), rng.uniform(0.75, 1.0))
    tall = rng.uniform(0.0, 0.12)
    tongue = canvas.blob([(0.30, 0.50), (0.36, 0.36 - tall), (0.47, 0.34 - tall), (0.56, 0.56), (0.4, 0.6)])
    canvas.paint(tongue, np.asarray(cloth) * 0.75)
    canvas.relief(tongue, 0.05, 0.1)
    upper = canvas.polygon(
        spline(
            [
                (0.07, 0.84),
                (0.06, 0.66),
                (0.075, 0.47 - tall),
                (0.16, 0.455 - tall),
                (0.25, 0.50 - tall * 0.7),
                (0.36, 0.47 - tall),
                (0.44, 0.46 - tall),
                (0.56, 0.60),
                (0.70, 0.67),
                (0.86, 0.71),
                (0.945, 0.78),
                (0.95, 0.85),
                (0.6, 0.88),
                (0.3, 0.88),
            ]
        )
    )
    canvas.paint(upper, cloth)
    collar = canvas.disc(0.255, 0.485 - tall, 0.13, 0.035, 8) * upper
    canvas.tint(collar, np.asarray(cloth) * 0.4)
    cap = canvas.blob([(0.74, 0.87), (0.75, 0.70), (0.86, 0.70), (0.97, 0.78), (0.97, 0.88)]) * upper
    canvas.tint(cap, trim)
    heel = canvas.blob([(0.05, 0.86), (0.04, 0.6), (0.14, 0.62), (0.17, 0.86)]) * upper
    canvas.tint(heel, trim, 0.9)
    for shift in (0.0, 0.07, 0.14)[: rng.integers(1, 4)]:
        stripe = canvas.band([(0.28 + shift, 0.86), (0.36 + shift, 0.72), (0.41 + shift, 0.60)], 0.038, 0.03)
        canvas.tint(stripe * upper, trim)
    canvas.relief(upper, 0.11, 0.18, 12)
    for t in np.linspace(0, 1, 5):
        cx, cy = 0.455 + 0.15 * t, 0.475 - tall * (1 - t) + 0.145 * t
        lace = canvas.band([(cx - 0.075, cy + 0.045), (cx, cy - 0.012), (cx + 0.012, cy + 0.01)], 0.02, 0.02)
        canvas.shade(canvas.soft(lace, 0.005), 0.8)
        canvas.paint(lace, (0.94, 0.95, 0.96))
    _sole(canvas, cloth)


def _sole(canvas: Canvas, cloth: Colour) -> None:
    sole = canvas.blob(
        [
            (0.04, 0.83),
            (0.3, 0.86),
            (0.6, 0.86),
            (0.85, 0.83),
            (0.975, 0.82),
            (0.975, 0.90),
            (0.9, 0.94),
            (0.5, 0.94),
            (0.1, 0.94),
            (0.04, 0.91),
        ]
    )
    canvas.paint(sole, (0.93, 0.95, 0.96))
    canvas.relief(sole, 0.04, 0.1)
    line = canvas.band([(0.05, 0.895), (0.5, 0.905), (0.97, 0.88)], 0.012, 0.012)
    canvas.tint(line * sole, cloth, 0.9)


def rubber_duck(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a bath duck: round body, head, orange bill and an eye."""
    yellow = hsv(rng.uniform(44, 54), rng.uniform(0.78, 0.92), rng.uniform(0.93, 1.0))
    bill = hsv(rng.uniform(12, 24), 0.9, 0.95)
    hx, hy, hr = rng.uniform(0.62, 0.66), rng.uniform(0.33, 0.37), rng.uniform(0.165, 0.185)
    body = canvas.blob(
        [
            (0.08, 0.50),
            (0.17, 0.60),
            (0.32, 0.60),
            (0.50, 0.52),
            (0.72, 0.50),
            (0.84, 0.64),
            (0.82, 0.82),
            (0.68, 0.93),
            (0.45, 0.94),
            (0.24, 0.92),
            (0.11, 0.80),
            (0.05, 0.62),
        ]
    )
    canvas.paint(body, yellow)
    canvas.relief(body, 0.22, 0.4, 30)
    beak = canvas.blob(
        [(hx + 0.11, hy), (hx + 0.22, hy + 0.0), (hx + 0.31, hy + 0.05), (hx + 0.22, hy + 0.10), (hx + 0.1, hy + 0.10)]
    )
    canvas.paint(beak, bill)
    canvas.relief(beak, 0.05, 0.4)
    canvas.shade(canvas.band([(hx + 0.14, hy + 0.055), (hx + 0.29, hy + 0.05)], 0.008, 0.006), 0.55)
    head = canvas.disc(hx, hy, hr * 1.04, hr)
    canvas.shade(canvas.soft(canvas.disc(hx, hy + hr, hr * 0.9, 0.05), 0.03), 0.8)
    canvas.paint(head, yellow)
    canvas.relief(head, 0.16, 0.45, 30)
    wing = canvas.blob([(0.24, 0.68), (0.42, 0.64), (0.58, 0.70), (0.50, 0.82), (0.34, 0.84), (0.18, 0.74)])
    canvas.shade(canvas.soft(wing, 0.012), 0.82)
    canvas.tint(wing, np.asarray(yellow) * 0.96)
    canvas.relief(wing, 0.07, 0.2)
    ex, ey = hx + 0.065, hy - 0.04
    for r, colour in ((0.036, (0.96, 0.97, 0.98)), (0.027, _INK)):
        canvas.paint(canvas.disc(ex, ey, r * 0.85, r), colour)
    canvas.paint(canvas.disc(ex - 0.008, ey - 0.01, 0.008), (1, 1, 1))


def alarm_clock(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw an alarm clock with two bells, feet, numerals and hands."""
    paint = hsv(rng.uniform(0, 360), rng.uniform(0.2, 0.8), rng.uniform(0.4, 0.9))
    dial = hsv(rng.uniform(30, 60), rng.uniform(0.0, 0.2), rng.uniform(0.88, 0.98))
    y, radius = 0.60, rng.uniform(0.28, 0.32)
    for side in (-1, 1):
        foot = canvas.band([(0.5 + side * 0.15, 0.82), (0.5 + side * 0.24, 0.935)], 0.06, 0.035)
        bell = canvas.disc(0.5 + side * 0.17, y - radius - 0.01, 0.115, 0.085, side * 32)
        for part in (foot, bell):
            canvas.paint(part, (0.62, 0.70, 0.76))
            canvas.relief(part, 0.06, 0.6, 30)
    canvas.paint(
        canvas.band([(0.44, y - radius - 0.1), (0.5, y - radius - 0.16), (0.56, y - radius - 0.1)], 0.022),
        (0.5, 0.55, 0.6),
    )
    case = canvas.disc(0.5, y, radius)
    canvas.paint(case, paint)
    canvas.relief(case, 0.07, 0.5)
    canvas.paint(canvas.disc(0.5, y, radius * 0.84), dial)
    ticks = [(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 13)[:-1]]
    marks = [
        [(0.5 + c * radius * 0.66, y + s * radius * 0.66), (0.5 + c * radius * 0.77, y + s * radius * 0.77)]
        for c, s in ticks
    ]
    canvas.paint(canvas.bands(marks, 0.016), _INK)
    for length, width in ((0.42, 0.024), (0.62, 0.015)):
        angle = rng.uniform(0, 2 * np.pi)
        tip = (0.5 + length * radius * np.cos(angle), y + length * radius * np.sin(angle))
        canvas.paint(canvas.band([(0.5, y), tip], width, width * 0.6), _INK)
    canvas.paint(canvas.disc(0.5, y, 0.018), hsv(0, 0.8, 0.8))
    glass = canvas.soft(canvas.disc(0.5 - radius * 0.3, y - radius * 0.35, radius * 0.3, radius * 0.16, -40), 0.02)
    canvas.shine(glass, 0.25)
