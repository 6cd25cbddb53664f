"""The shop: its articles, and a folder of labelled photos of them.

Ten products are known to the classifier. Two are held back: `NOVEL` is taught from the clip, `STRANGER` never
is and has to stay unknown to the end. Nothing known is yellow, orange or leafy as those two are: a network that has
seen 400 photos for a minute or two knows little more than colours and outlines, and takes a duck for a banana and a
cactus in its pot for carrots.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from .cartons import book, cereal_box
from .produce import apple, aubergine, cactus
from .scene import Item, Photo, photograph
from .toys import alarm_clock, rubber_duck, sneaker
from .vessels import bottle, mug, teapot, tin_can

KNOWN: tuple[Item, ...] = (
    Item("alarm clock", alarm_clock, mirror=False, design=6),
    Item("apple", apple, roll=20, design=1),
    Item("aubergine", aubergine, roll=25, design=1),
    Item("book", book, mirror=False, design=2),
    Item("bottle", bottle, mirror=False, design=6),
    Item("cereal box", cereal_box, mirror=False, design=2),
    Item("mug", mug, mirror=False, design=0),
    Item("sneaker", sneaker, roll=14, design=6),
    Item("teapot", teapot, roll=8, design=1),
    Item("tin can", tin_can, mirror=False, design=0),
)
NOVEL = Item("cactus", cactus, roll=8, design=1)
STRANGER = Item("rubber duck", rubber_duck, roll=10, design=1)
ITEMS: tuple[Item, ...] = (*KNOWN, NOVEL, STRANGER)


def draw_photos(folder: Path, items: Sequence[Item], count: int, seed: int, size: int = 160) -> list[Path]:
    """Draw `count` photos of each item into `folder/<item>/`, JPEG.

    Args:
        folder: Where the class folders go; made where missing.
        items: What to draw.
        count: Photos of each item.
        seed: The same seed draws the same photos, byte for byte.
        size: Height and width, pixels.

    Returns:
        The files, in order.
    """
    files = []
    for item in items:
        place = folder / item.name
        place.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            # A generator for each photo: more photos or another item leave the others as they are.
            rng = np.random.default_rng([seed, number, *item.name.encode()])
            files.append(place / f"{number:03d}.jpg")
            _write(files[-1], photograph(item, rng, size), int(rng.integers(72, 95)))
    return files


def _write(path: Path, photo: Photo, quality: int) -> None:
    _, data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])
    path.write_bytes(data.tobytes())
