"""What training makes small: a loss takes logits float32 [batch, classes] and the right classes int64 [batch]."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .recipe import Recipe

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(recipe: Recipe, targets: NDArray[np.int64], classes: int, device: torch.device) -> Loss:
    """Choose the loss of a recipe.

    Args:
        recipe: Its `loss`, `label_smoothing`, `focal_gamma` and `class_weights`.
        targets: int64 [photos]; the class weights are counted on them.
        classes: Number of logits.
        device: Where logits will be.
    """
    weight = None
    if recipe.class_weights == "balanced":
        weight = torch.from_numpy(balanced_weights(targets, classes)).to(device)
    smooth = recipe.label_smoothing
    kinds: dict[str, Loss] = {
        "cross-entropy": partial(nn.functional.cross_entropy, label_smoothing=smooth, weight=weight),
        "bce": partial(_binary, smooth=smooth, weight=weight),
        "focal": partial(_focal, gamma=recipe.focal_gamma, weight=weight),
        "mse": partial(_squared, weight=weight),
    }
    return kinds[recipe.loss]


def balanced_weights(targets: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Weigh each class by the inverse of its photos: float32 [classes], 1 for a class of average size."""
    present = np.maximum(np.bincount(targets, minlength=classes), 1)
    return np.asarray(present.sum() / (classes * present), np.float32)


def sum_of_magnitudes(values: Iterable[Tensor]) -> Tensor:
    """Sum the magnitudes of all weights (L1), biases and batch norm left out."""
    return torch.stack([value.abs().sum() for value in values if value.ndim > 1]).sum()


def _binary(logits: Tensor, wanted: Tensor, smooth: float, weight: Tensor | None) -> Tensor:
    right = nn.functional.one_hot(wanted, logits.shape[1]) * (1 - smooth) + smooth / 2
    # Summed over the classes, so that a class more does not make the others matter less.
    every = nn.functional.binary_cross_entropy_with_logits(logits, right, weight, reduction="none")
    return every.sum(1).mean()


def _focal(logits: Tensor, wanted: Tensor, gamma: float, weight: Tensor | None) -> Tensor:
    """Cross entropy in which easy photos count less (Lin et al. 2017, Focal loss, arXiv 1708.02002)."""
    every = nn.functional.cross_entropy(logits, wanted, reduction="none")
    scaled = (1 - torch.exp(-every)) ** gamma * every
    return (scaled if weight is None else scaled * weight[wanted]).mean()


def _squared(logits: Tensor, wanted: Tensor, weight: Tensor | None) -> Tensor:
    """Squared error of the probabilities (Brier 1950)."""
    right = nn.functional.one_hot(wanted, logits.shape[1])
    squared = (logits.softmax(1) - right).square().sum(1)
    return (squared if weight is None else squared * weight[wanted]).mean()
