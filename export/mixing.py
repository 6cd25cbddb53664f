"""What is done to a whole batch: pictures mixed in pairs, and torchvision's policies of random changes."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sightline.models import operators  # noqa: F401  (must come before torchvision)

from torchvision.transforms import v2  # isort: skip

# Of the mixing weight's beta distribution (Zhang et al. 2018, mixup): most pictures keep nearly all of themselves.
_MIX_UP_ALPHA = 0.2
Policy = Callable[[Tensor], Tensor]


def make_policy(name: str) -> Policy | None:
    """Give what changes a batch, uint8 [batch, height, width, 3]; None for "none".

    Chance comes from torch's generator, picture by picture, so a seed decides every picture.

    Args:
        name: "none", "randaugment" (Cubuk et al. 2019) or "trivialaugment" (Mueller and Hutter 2021).
    """
    if name == "none":
        return None
    change = v2.RandAugment() if name == "randaugment" else v2.TrivialAugmentWide()

    def apply(images: Tensor) -> Tensor:
        planes = images.permute(0, 3, 1, 2)
        return torch.stack([change(picture) for picture in planes]).permute(0, 2, 3, 1).contiguous()

    return apply


def cut_mix(images: Tensor, partner: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Replace a random rectangle of each picture by that of its partner (Yun et al. 2019, CutMix).

    Args:
        images: uint8 [batch, height, width, 3].
        partner: int64 [batch], the row each picture is mixed with.
        rng: Where chance comes from.

    Returns:
        The mixed pictures, and the part of each picture that is its own, in (0, 1].
    """
    height, width = images.shape[1:3]
    side = math.sqrt(rng.uniform(0.0, 0.5))
    rows, columns = round(side * height), round(side * width)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    mixed = images.clone()
    box = (slice(None), slice(top, top + rows), slice(left, left + columns))
    mixed[box] = images[partner][box]
    return mixed, 1.0 - rows * columns / (height * width)


def mix_up(images: Tensor, partner: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Blend each picture with its partner; arguments and result as of `cut_mix`."""
    kept = float(rng.beta(_MIX_UP_ALPHA, _MIX_UP_ALPHA))
    mixed = kept * images.float() + (1 - kept) * images[partner].float()
    return mixed.round().to(torch.uint8), kept
