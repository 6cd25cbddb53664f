"""What training makes small: a loss takes logits float32 [batch, classes] and the batch's targets.

Targets are int64 [batch] where a photo has one label, float32 [batch, classes] of zeros and ones where it has several.
"""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sightline.models import operators  # noqa: F401  (must come before torchvision)

from .recipe import Recipe

from torchvision.ops import sigmoid_focal_loss  # isort: skip

Loss = Callable[[Tensor, Tensor], Tensor]
Targets = NDArray[np.int64] | NDArray[np.float32]


def make_loss(recipe: Recipe, targets: Targets, classes: int, device: torch.device) -> Loss:
    """Choose the loss of a recipe.

    Args:
        recipe: Its `loss`, `label_smoothing`, `focal_gamma` and `class_weights`.
        targets: Of all photos; what they are decides what the loss takes, and class weights are counted on them.
        classes: Number of logits.
        device: Where logits will be.
    """
    weight = None
    if recipe.class_weights == "balanced":
        weight = torch.from_numpy(balanced_weights(targets, classes)).to(device)
    smooth, several = recipe.label_smoothing, targets.ndim == 2
    kinds: dict[str, Loss] = {
        "cross-entropy": partial(nn.functional.cross_entropy, label_smoothing=smooth, weight=weight),
        "bce": partial(_binary, smooth=smooth, weight=weight),
        "focal": partial(_label_focal if several else _focal, gamma=recipe.focal_gamma, weight=weight),
        "mse": partial(_label_squared if several else _squared, weight=weight),
    }
    return kinds[recipe.loss]


def balanced_weights(targets: Targets, classes: int) -> NDArray[np.float32]:
    """Weigh each class by the inverse of its photos: float32 [classes], 1 for a class of average size."""
    counted = targets.sum(0) if targets.ndim == 2 else np.bincount(targets.astype(np.int64), minlength=classes)
    present = np.maximum(counted, 1)
    return np.asarray(present.sum() / (classes * present), np.float32)


def photo_weights(targets: Targets, classes: int) -> NDArray[np.float32]:
    """Weigh each photo by its rarest class: float32 [photos]; one without any label like the most common class."""
    weights = balanced_weights(targets, classes)
    if targets.ndim == 1:
        return np.asarray(weights[targets.astype(np.int64)])
    return np.asarray(np.maximum((targets * weights).max(1), weights.min()))


def count_hits(logits: Tensor, wanted: Tensor) -> float:
    """Count the photos whose first answer is their label, or one of them."""
    first = logits.argmax(1)
    if wanted.ndim == 2:
        return float(wanted.gather(1, first[:, None]).sum())
    return float((first == wanted).sum())


def sum_of_magnitudes(values: Iterable[Tensor]) -> Tensor:
    """Sum the magnitudes of all weights (L1), biases and batch norm left out."""
    return torch.stack([value.abs().sum() for value in values if value.ndim > 1]).sum()


def _binary(logits: Tensor, wanted: Tensor, smooth: float, weight: Tensor | None) -> Tensor:
    ones = wanted if wanted.ndim == 2 else nn.functional.one_hot(wanted, logits.shape[1])
    right = ones * (1 - smooth) + smooth / 2
    # Summed over the classes, so that a class more does not make the others matter less.
    every = nn.functional.binary_cross_entropy_with_logits(logits, right, weight, reduction="none")
    return every.sum(1).mean()


def _focal(logits: Tensor, wanted: Tensor, gamma: float, weight: Tensor | None) -> Tensor:
    """Cross entropy in which easy photos count less (Lin et al. 2017, Focal loss, arXiv 1708.02002)."""
    every = nn.functional.cross_entropy(logits, wanted, reduction="none")
    scaled = (1 - torch.exp(-every)) ** gamma * every
    return (scaled if weight is None else scaled * weight[wanted]).mean()


def _label_focal(logits: Tensor, wanted: Tensor, gamma: float, weight: Tensor | None) -> Tensor:
    """The same of each label's yes or no, as the paper has it; without its alpha, which `class_weights` stands for."""
    every: Tensor = sigmoid_focal_loss(logits, wanted, alpha=-1, gamma=gamma)
    return (every if weight is None else every * weight).sum(1).mean()


def _squared(logits: Tensor, wanted: Tensor, weight: Tensor | None) -> Tensor:
    """Squared error of the probabilities (Brier 1950)."""
    right = nn.functional.one_hot(wanted, logits.shape[1])
    squared = (logits.softmax(1) - right).square().sum(1)
    return (squared if weight is None else squared * weight[wanted]).mean()


def _label_squared(logits: Tensor, wanted: Tensor, weight: Tensor | None) -> Tensor:
    """Squared error of each label's probability."""
    squared = (logits.sigmoid() - wanted).square()
    return (squared if weight is None else squared * weight).sum(1).mean()
