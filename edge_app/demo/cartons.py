"""The shop's printed goods: cereal and books, each drawn anew from a random generator.

As in `produce`, every function draws one item on a `Canvas`, standing on the line y = 0.94.
"""

import cv2
import numpy as np

from .brush import Canvas, Colour, Layer, hsv, lettering, ring, sheet, spline, stamp, star

_CREAM: Colour = (0.82, 0.92, 0.96)
_INK: Colour = (0.16, 0.12, 0.12)


def cereal_box(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a carton of cereal, turned a little so that its side shows."""
    high, wide = rng.uniform(0.72, 0.84), rng.uniform(0.46, 0.56)
    yaw = rng.uniform(0.2, 0.6) * rng.choice([-1, 1])
    hue = rng.uniform(0, 360)
    front = wide * np.cos(yaw)
    deep = 0.30 * abs(np.sin(yaw)) + 0.02
    left = 0.5 - (front + deep) / 2
    top, low = 0.94 - high, 0.94
    lift = 0.05 * deep / 0.15
    edge = left + front if yaw > 0 else left + deep
    far_left, far_right = left, left + front + deep
    near = [(edge, top), (edge, low)]
    rise_l, rise_r = (0.015, lift) if yaw > 0 else (lift, 0.015)
    left_face = [(far_left, top + rise_l * 0.5), near[0], near[1], (far_left, low - rise_l)]
    right_face = [near[0], (far_right, top + rise_r * 0.5), (far_right, low - rise_r), near[1]]
    picture, spine = _cereal_front(rng, hue), _cereal_side(rng, hue)
    front_face, side_face = (left_face, right_face) if yaw > 0 else (right_face, left_face)
    covers = canvas.face(picture, front_face), canvas.face(spine, side_face)
    facing = 0.5 if yaw > 0 else -0.5
    canvas.shade(covers[0], 0.97 + 0.1 * facing * -canvas.light.x)
    canvas.shade(covers[1], 0.72 - 0.35 * facing * -canvas.light.x)
    canvas.shade(canvas.band(near, 0.006, 0.006), 1.15)
    sheen = np.clip(1 - np.abs(canvas.x + canvas.y * 0.6 - rng.uniform(0.6, 1.0)) * 5, 0, 1)
    canvas.shine(covers[0], 0.08 * sheen)


def _cereal_front(rng: np.random.Generator, hue: float) -> Layer:
    base, accent = hsv(hue, 0.78, 0.85), hsv(hue + rng.uniform(150, 210), 0.8, 0.85)
    print_ = sheet(300, 210, base)
    print_ *= np.linspace(1.12, 0.85, 300, dtype=np.float32)[:, None, None]
    np.clip(print_, 0, 1, out=print_)
    stamp(print_, star(0.5, 0.56, 0.5, 14, 0.8) * (1, 0.72) + (0, 0.16), hsv(hue + 20, 0.45, 0.98))
    name = ["CRUNCH", "HONEY O", "FLAKES", "MUESLI", "POPPIES"][rng.integers(5)]
    lettering(print_, name, (0.515, 0.165), 0.84, _INK, 2.0)
    lettering(print_, name, (0.5, 0.155), 0.84, (0.95, 0.98, 1.0), 1.5)
    stamp(print_, ring(0.5, 0.66, 0.36, 0.07), (0.93, 0.95, 0.96))
    grain = hsv(rng.uniform(28, 42), 0.65, 0.85)
    for cx, cy in rng.normal((0.5, 0.635), (0.12, 0.018), (24, 2)):
        stamp(print_, ring(cx, cy, 0.045, 0.028, 14), np.multiply(grain, rng.uniform(0.7, 1.1)).clip(0, 1).tolist())
    bowl = spline([(0.14, 0.67), (0.22, 0.82), (0.36, 0.90), (0.64, 0.90), (0.78, 0.82), (0.86, 0.67), (0.5, 0.735)])
    stamp(print_, bowl, accent)
    stamp(print_, star(0.80, 0.34, 0.13, 12, 0.75) * (1, 0.7) + (0, 0.1), hsv(52, 0.85, 0.98))
    lettering(print_, "NEW", (0.80, 0.338), 0.15, hsv(0, 0.9, 0.75), 1.6)
    return print_


def _cereal_side(rng: np.random.Generator, hue: float) -> Layer:
    print_ = sheet(300, 90, hsv(hue, 0.7, 0.8))
    stamp(print_, [(0.12, 0.2), (0.88, 0.2), (0.88, 0.82), (0.12, 0.82)], _CREAM)
    for y in np.arange(0.25, 0.8, 0.045):
        stamp(print_, [(0.2, y), (rng.uniform(0.5, 0.82), y), (0.8, y + 0.012), (0.2, y + 0.012)], _INK)
    return print_


def book(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a standing hardback: cover, the rounded spine or the block of pages beside it."""
    high, wide = rng.uniform(0.62, 0.76), rng.uniform(0.42, 0.5)
    hue, dark = rng.uniform(0, 360), rng.uniform(0.22, 0.5)
    deep = rng.uniform(0.08, 0.13)
    left, low = 0.5 - (wide + deep) / 2, 0.94
    top = low - high
    rise = rng.uniform(0.015, 0.035)
    pages = [(left + wide - 0.015, top + 0.02), (left + wide + deep, top + rise), (left + wide + deep, low - rise)]
    block = canvas.polygon([*pages, (left + wide - 0.015, low - 0.012)])
    canvas.paint(block, hsv(44, 0.14, 0.93))
    leaves = 0.86 + 0.14 * np.sin(canvas.x * rng.uniform(420, 560))
    canvas.shade(block, np.broadcast_to(leaves, block.shape))
    back = canvas.band(
        [(left + wide + deep, top + rise - 0.015), (left + wide + deep, low - rise + 0.008)], 0.018, 0.018
    )
    cover = hsv(hue, rng.uniform(0.5, 0.8), dark)
    canvas.paint(back, np.asarray(cover) * 0.7)
    front = canvas.face(
        _book_cover(rng, cover), [(left, top), (left + wide, top - 0.006), (left + wide, low), (left, low - 0.01)]
    )
    hinge = canvas.band([(left + 0.045, top), (left + 0.045, low)], 0.012, 0.012)
    canvas.shade(canvas.soft(hinge * front, 0.004), 0.6)
    canvas.shade(front, np.broadcast_to(0.85 + 0.35 * canvas.x, front.shape))
    weave = 1 + 0.05 * np.sin(canvas.x * 700) * np.sin(canvas.y * 700)
    canvas.shade(front, weave)


def _book_cover(rng: np.random.Generator, cover: Colour) -> Layer:
    print_ = sheet(280, 190, cover)
    gold = hsv(rng.uniform(36, 50), rng.uniform(0.35, 0.65), rng.uniform(0.75, 0.95))
    for inset, colour in ((0.09, gold), (0.11, cover)):
        stamp(
            print_,
            [
                (inset + 0.06, inset * 0.7),
                (1 - inset, inset * 0.7),
                (1 - inset, 1 - inset * 0.7),
                (inset + 0.06, 1 - inset * 0.7),
            ],
            colour,
        )
    title = [("THE", "SEA"), ("OLD", "MAPS"), ("ON", "BIRDS"), ("MOON", "TALES")][rng.integers(4)]
    lettering(print_, title[0], (0.53, 0.22), 0.32, gold, 1.2, cv2.FONT_HERSHEY_COMPLEX)
    lettering(print_, title[1], (0.53, 0.37), 0.5, gold, 1.2, cv2.FONT_HERSHEY_COMPLEX)
    emblem = star(0.53, 0.66, 0.17, int(rng.integers(5, 12)), rng.uniform(0.4, 0.7))
    stamp(print_, (emblem - (0.53, 0.66)) * (1, 0.68) + (0.53, 0.66), gold)
    stamp(print_, ring(0.53, 0.66, 0.05, 0.034), cover)
    return print_
