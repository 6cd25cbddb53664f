"""Filters before a batch norm, brought to a common scale.

Batch norm takes the scale out of what a filter gives, so a filter's length changes nothing but how fast it
learns: a step of SGD turns a filter of length L by an angle that goes with 1 / L^2 (van Laarhoven 2017, L2
Regularization versus Batch and Weight Normalization). Weights that were folded, converted or quantized once
have lengths from all over, and one learning rate is then far too high for some filters and too low for others.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

# A filter shorter than this was pruned or died: it stays as it is.
_DEAD = 1e-6


@torch.no_grad()
def balance_filters(net: nn.Module) -> int:
    """Scale each filter whose output goes straight into a batch norm to He's standard deviation.

    What the network computes in evaluation mode stays as it was, up to rounding: the running statistics and
    the batch norm's weight take the scale up.

    Args:
        net: Changed in place. Its modules must be registered in the order they run in, as torchvision's are.

    Returns:
        The number of filters that were scaled.
    """
    layers = [layer for layer in net.modules() if not list(layer.children())]
    return sum(_balance(conv, norm) for conv, norm in pairwise(layers) if _belong_together(conv, norm))


def _belong_together(conv: nn.Module, norm: nn.Module) -> bool:
    return (
        isinstance(conv, nn.Conv2d)
        and conv.bias is None
        and isinstance(norm, nn.BatchNorm2d)
        and norm.num_features == conv.out_channels
        and norm.affine
        and norm.running_mean is not None
    )


def _balance(conv: nn.Module, norm: nn.Module) -> int:
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    length = conv.weight.flatten(1).square().mean(1).sqrt()
    alive = length > _DEAD
    scale = torch.where(alive, he_std(conv) / length.clamp_min(_DEAD), torch.ones_like(length))
    spread = _spread(norm)
    conv.weight.mul_(scale[:, None, None, None])
    norm.running_mean.mul_(scale)
    norm.running_var.mul_(scale.square())
    norm.weight.mul_(_spread(norm) / (scale * spread))
    return int(alive.sum())


def he_std(conv: nn.Conv2d) -> float:
    """Give the standard deviation that a fresh layer's weights have (He et al. 2015, by fan out)."""
    return math.sqrt(2 * conv.groups / (math.prod(conv.kernel_size) * conv.out_channels))


def _spread(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None
    return (norm.running_var + norm.eps).sqrt()
