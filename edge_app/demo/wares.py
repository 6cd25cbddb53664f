"""The shop's goods in glass, tin, paper and cloth, each drawn anew from a random generator.

As in `produce`, every function draws one item on a `Canvas`, standing on the line y = 0.94.
"""

import cv2
import numpy as np

from .brush import Canvas, Colour, Layer, hsv, lettering, ring, sheet, spline, stamp, star

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
        0.06, 0.075, 0.075, 0.06,
    )  # fmt: skip
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
            [(0.07, 0.84), (0.06, 0.66), (0.075, 0.47 - tall), (0.16, 0.455 - tall), (0.25, 0.50 - tall * 0.7),
             (0.36, 0.47 - tall), (0.44, 0.46 - tall), (0.56, 0.60), (0.70, 0.67), (0.86, 0.71), (0.945, 0.78), (0.95, 0.85),
             (0.6, 0.88), (0.3, 0.88)]
        )
    )  # fmt: skip
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
    sole = canvas.blob(
        [(0.04, 0.83), (0.3, 0.86), (0.6, 0.86), (0.85, 0.83), (0.975, 0.82), (0.975, 0.90), (0.9, 0.94), (0.5, 0.94),
         (0.1, 0.94), (0.04, 0.91)]
    )  # fmt: skip
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
        [(0.08, 0.50), (0.17, 0.60), (0.32, 0.60), (0.50, 0.52), (0.72, 0.50), (0.84, 0.64), (0.82, 0.82), (0.68, 0.93),
         (0.45, 0.94), (0.24, 0.92), (0.11, 0.80), (0.05, 0.62)]
    )  # fmt: skip
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


def jam_jar(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a jam jar with a cloth cap or a screw lid and a hand-written label."""
    fruit, name = ((352, "CHERRY"), (36, "APRICOT"), (290, "PLUM"), (44, "HONEY"), (100, "MINT"))[rng.integers(5)]
    wide, top = rng.uniform(0.23, 0.28), rng.uniform(0.38, 0.46)
    body = canvas.blob(
        [
            (0.5 - wide, top + 0.06),
            (0.5 - wide, 0.88),
            (0.5 - wide * 0.8, 0.94),
            (0.5, 0.945),
            (0.5 + wide * 0.8, 0.94),
            (0.5 + wide, 0.88),
            (0.5 + wide, top + 0.06),
            (0.5, top),
        ]
    )
    canvas.paint(body, (0.86, 0.9, 0.88), 0.75)
    level = top + rng.uniform(0.06, 0.12)
    canvas.paint(body * (canvas.y > level), hsv(fruit, 0.88, rng.uniform(0.45, 0.7)), 0.92)
    label = sheet(120, 160, _CREAM)
    stamp(label, [(0.04, 0.06), (0.96, 0.06), (0.96, 0.94), (0.04, 0.94)], hsv(fruit, 0.5, 0.75))
    stamp(label, [(0.06, 0.10), (0.94, 0.10), (0.94, 0.90), (0.06, 0.90)], _CREAM)
    lettering(label, name, (0.5, 0.42), 0.4, _INK, 1.2, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)
    stamp(label, ring(0.5, 0.72, 0.06, 0.09), hsv(fruit, 0.85, 0.7))
    canvas.wrap(body * (np.abs(canvas.x - 0.5) < wide * 0.62), label, (0.5 - wide, 0.57, 0.5 + wide, 0.84), 0.012)
    canvas.lathe(body, wide, 0.5)
    streak = canvas.band([(0.5 - wide * 0.72, top + 0.1), (0.5 - wide * 0.72, 0.86)], 0.03, 0.02)
    canvas.shine(canvas.soft(streak, 0.008), 0.5)
    _jar_lid(canvas, rng, wide, top)


def _jar_lid(canvas: Canvas, rng: np.random.Generator, wide: float, top: float) -> None:
    dye = hsv(rng.uniform(0, 360), rng.uniform(0.2, 0.8), rng.uniform(0.55, 0.9))
    lid = canvas.polygon(
        [
            (0.5 - wide * 0.86, top - 0.07),
            (0.5 + wide * 0.86, top - 0.07),
            (0.5 + wide * 0.9, top + 0.06),
            (0.5 - wide * 0.9, top + 0.06),
        ]
    )
    if rng.random() < 0.5:
        hem = [
            (0.5 + wide * (1.12 if k % 2 else 1.0) * np.sin(t), top + 0.1 + 0.03 * (k % 2))
            for k, t in enumerate(np.linspace(-1.57, 1.57, 15))
        ]
        lid = canvas.polygon([(0.5 - wide * 0.8, top - 0.07), *hem, (0.5 + wide * 0.8, top - 0.07)])
    canvas.paint(lid, dye)
    checks = (np.sin(canvas.x * 110) > 0.2).astype(np.float32) * (np.sin(canvas.y * 110) > 0.2)
    canvas.tint(lid * checks, _CREAM, 0.7 if rng.random() < 0.5 else 0.0)
    canvas.lathe(lid, wide, 0.25)
    canvas.paint(canvas.disc(0.5, top - 0.07, wide * 0.83, 0.03), np.asarray(dye) * 0.9 + 0.08)


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
