"""Batch norm whose batch is that of all processes together: several then learn what one would."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sightline.runtime.errors import InputError


def share_norms(model: nn.Module) -> None:
    """Let batch norm see the whole batch and not one process's part of it, in place.

    Layers in evaluation mode, frozen ones among them, go on with their own statistics.

    Raises:
        InputError: It has batch norms of a kind that would be lost on the way.
    """
    kinds = {type(layer) for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)}
    for kind in kinds - {nn.BatchNorm2d}:
        raise InputError(f"this network normalizes with {kind.__name__}, which processes cannot share: train it in one")
    if torch.cuda.is_available():
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.__class__ = SharedBatchNorm


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the parts of all processes; torch's own SyncBatchNorm refuses the CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize this process's part [batch, channels, height, width] by the statistics of all parts."""
        if not self.training:
            return super().forward(input)
        values, channels = input.float(), self.num_features
        size = values.new_full((1,), float(values.numel() // channels))
        parts = torch.cat([values.sum((0, 2, 3)), values.square().sum((0, 2, 3)), size])
        sums: Tensor = _Sum.apply(parts)  # type: ignore[no-untyped-call]
        count = sums[-1]
        mean = sums[:channels] / count
        variance = (sums[channels:-1] / count - mean.square()).clamp(min=0)
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (values * scale[:, None, None] + shift[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _Sum(torch.autograd.Function):
    """The sum over the processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
