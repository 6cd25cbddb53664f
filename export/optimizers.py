"""What moves the weights, and which of them it moves how far."""

from collections.abc import Sequence

import torch
from torch import nn

from sightline.models import RecognitionModel

from .recipe import Recipe


def make_optimizer(
    model: RecognitionModel, recipe: Recipe, further: Sequence[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """Make the optimizer of a recipe; each group's `peak` is its largest learning rate.

    Args:
        model: Weights that want no gradient are left out.
        recipe: Optimizer, rates and decay.
        further: What learns beside the model, at the head's rate.
    """
    groups: list[dict[str, object]] = []
    head_lr = recipe.lr * recipe.head_lr_factor
    parts = (list(model.trunk.parameters()), recipe.lr), ([*model.classifier.parameters(), *further], head_lr)
    for weights, peak in parts:
        learned = [value for value in weights if value.requires_grad]
        # Biases and batch norm have one dimension; decaying them only hurts (He et al. 2019, bag of tricks).
        for decay, flat in ((recipe.weight_decay, False), (0.0, True)):
            chosen = [value for value in learned if (value.ndim == 1) == flat]
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "peak": peak, "lr": 0.0})
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.lr, foreach=True)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, foreach=True)
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=recipe.lr, momentum=recipe.momentum, foreach=True)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, foreach=True)
