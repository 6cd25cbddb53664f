"""A picture of what training sees: photos on the left, what augmentation makes of each beside it."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from sightline.runtime.durable import write_file
from sightline.runtime.preprocess import Image, resize_exact

from .augment import augment
from .mixing import make_policy
from .photos import PhotoCache
from .recipe import Recipe

_PHOTOS, _DRAWS, _SIDE, _GAP = 6, 7, 128, 4


def write_contact_sheet(path: Path, photos: Sequence[Path], cache: PhotoCache, recipe: Recipe, seed: int) -> None:
    """Draw some photos and what training may see of them.

    Args:
        path: A PNG file.
        photos: The training photos; a few are chosen.
        cache: Decodes them.
        recipe: How far pictures may differ; pairs that are mixed are not shown.
        seed: Which photos and which pictures.
    """
    rng = np.random.default_rng((seed, len(photos)))
    chosen = sorted(rng.choice(len(photos), min(_PHOTOS, len(photos)), replace=False).tolist())
    rows = [_row(cache.read(photos[row]), recipe, rng) for row in chosen]
    done, data = cv2.imencode(".png", np.concatenate(rows)[..., ::-1])
    assert done
    write_file(path, bytes(np.asarray(data).tobytes()))


def _row(frame_bgr: Image, recipe: Recipe, rng: np.random.Generator) -> Image:
    drawn = np.stack([augment(frame_bgr, _SIDE, recipe.augmentation(), rng) for _ in range(_DRAWS)])
    policy = make_policy(recipe.augment)
    if policy is not None:
        with torch.random.fork_rng(devices=[]):  # what training draws later does not depend on this picture
            torch.manual_seed(int(rng.integers(2**31)))
            drawn = policy(torch.from_numpy(drawn)).numpy()
    height, width = frame_bgr.shape[:2]
    scale = _SIDE / max(height, width)
    inside = resize_exact(frame_bgr, max(1, round(width * scale)), max(1, round(height * scale)))[..., ::-1]
    photo = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
    photo[: inside.shape[0], : inside.shape[1]] = inside
    cells = [np.pad(cell, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255) for cell in (photo, *drawn)]
    return np.concatenate(cells, axis=1)
