"""Pictures of nothing that is known, made from the photos that are: what a network from nothing must see to say so.

A closed set of labels teaches only what tells items apart, and an empty shelf is then whatever it resembles most.
So part of each batch is destroyed, and no label is right for it (negative data augmentation, Sinha et al. 2021;
answers are drawn to the even distribution as in outlier exposure, Hendrycks et al. 2019). A strip of the border
stretched over the picture leaves wall and table without the item; shuffled tiles leave its colours without its shape.
"""

import numpy as np
import torch
from torch import Tensor, nn

# Width of the border strip as a part of the picture.
_STRIP = (0.06, 0.15)
# Tiles along each side.
_TILES = (2, 3, 4)


def destroy(images: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Make negatives of some pictures of a batch.

    Args:
        images: uint8 [batch, height, width, 3].
        count: How many to make, at least one.
        rng: Where chance comes from.

    Returns:
        uint8 [count, height, width, 3].
    """
    rows = rng.choice(len(images), count, replace=count > len(images))
    return torch.stack([(_stretch if rng.random() < 0.5 else _shuffle)(images[row], rng) for row in rows])


def evenness_loss(logits: Tensor) -> Tensor:
    """Cross entropy to the even distribution over the classes: least where no label stands out."""
    return -nn.functional.log_softmax(logits, dim=1).mean()


def absence_loss(logits: Tensor) -> Tensor:
    """The same where a photo has several labels or none: binary cross entropy to no label at all, summed over them."""
    return nn.functional.softplus(logits).sum(1).mean()


def _stretch(image: Tensor, rng: np.random.Generator) -> Tensor:
    width = image.shape[1]
    strip = max(2, round(rng.uniform(*_STRIP) * width))
    return _resized(image[:, :strip] if rng.random() < 0.5 else image[:, width - strip :], image)


def _shuffle(image: Tensor, rng: np.random.Generator) -> Tensor:
    tiles = int(rng.choice(_TILES))
    high, wide = image.shape[0] // tiles, image.shape[1] // tiles
    whole = image[: high * tiles, : wide * tiles].reshape(tiles, high, tiles, wide, 3).permute(0, 2, 1, 3, 4)
    mixed = whole.reshape(tiles * tiles, high, wide, 3)[torch.as_tensor(rng.permutation(tiles * tiles))]
    joined = mixed.reshape(tiles, tiles, high, wide, 3).permute(0, 2, 1, 3, 4)
    return _resized(joined.reshape(high * tiles, wide * tiles, 3), image)


def _resized(part: Tensor, like: Tensor) -> Tensor:
    if part.shape == like.shape:
        return part
    planes = part.permute(2, 0, 1)[None].float()
    scaled = nn.functional.interpolate(planes, size=like.shape[:2], mode="bilinear", align_corners=False)
    return scaled[0].permute(1, 2, 0).round().to(torch.uint8)
