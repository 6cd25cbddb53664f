"""Fake quantization with learned steps: what the QDQ writer will write, in torch and with gradients.

Rounding has no useful gradient; it is passed straight through (Bengio et al. 2013), and the width of a tensor's
steps learns by the gradient of Esser et al. 2020 (LSQ, arXiv 1902.08153): inside the range by the error of
rounding, outside by how far the range reaches.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .quantize_ranges import Range
from .quantize_writer import ABOVE_ROUNDING, Steps

_STEPS = 255


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, scale: Tensor, zero_point: int) -> Tensor:
        rounded = torch.fake_quantize_per_tensor_affine(value, float(scale), zero_point, 0, _STEPS)
        ctx.save_for_backward(value, rounded, scale)
        ctx.zero_point = zero_point
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        value, rounded, scale = ctx.saved_tensors
        (gradient,) = gradients
        low, high = -ctx.zero_point, _STEPS - ctx.zero_point
        below, above = value < low * scale, value > high * scale
        inside = ~(below | above)
        kept = gradient * inside
        error = (kept * (rounded - value)).sum() / scale
        by_scale = error + low * (gradient * below).sum() + high * (gradient * above).sum()
        # LSQ's balance: a step width is moved by every value of its tensor at once.
        return kept, by_scale / (value.numel() * _STEPS) ** 0.5, None


class RoundedTensor(nn.Module):
    """One activation's 256 steps; their width is learned, zero stays where it is."""

    def __init__(self, found: Range) -> None:
        """Begin with a range that calibration found."""
        super().__init__()
        self.zero_point = int(found.zero_point)
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(found.scale))))

    def forward(self, value: Tensor) -> Tensor:
        """Round a float tensor of any shape to the steps."""
        rounded: Tensor = _Round.apply(value, self.log_scale.exp(), self.zero_point)  # type: ignore[no-untyped-call]
        return rounded

    @property
    def range(self) -> Range:
        """The range as it is now, for the writer."""
        scale = float(self.log_scale.detach().exp())
        return Range(-self.zero_point * scale, (_STEPS - self.zero_point) * scale)


class RoundedWeight(nn.Module):
    """A layer's weights, rounded to one scale for each output channel as the writer rounds them."""

    def __init__(self, weight: Tensor, axis: int, steps: Steps) -> None:
        """Begin with float weights.

        Args:
            weight: float32.
            axis: The dimension of the output channels.
            steps: The largest magnitudes.
        """
        super().__init__()
        self.value = nn.Parameter(weight.clone())
        self._axis, self._steps = axis, steps
        self._others = tuple(dim for dim in range(weight.ndim) if dim != axis)
        self.register_buffer("_zeros", torch.zeros(weight.shape[axis], dtype=torch.int32), persistent=False)
        self._zeros: Tensor

    def forward(self) -> Tensor:
        """Give the rounded weights; the gradient reaches the float ones."""
        value, most = self.value.detach(), self._steps.most
        scale = value.abs().amax(self._others) / most
        if self._steps.most_of_two is not None:
            rows = value.movedim(self._axis, 0).flatten(1)
            pairs = nn.functional.pad(rows, (0, rows.shape[1] % 2)).unflatten(1, (-1, 2))
            largest = torch.maximum(pairs.clamp(min=0).sum(2), -pairs.clamp(max=0).sum(2)).amax(1)
            scale = torch.maximum(scale, largest / self._steps.most_of_two * ABOVE_ROUNDING)
        return torch.fake_quantize_per_channel_affine(
            self.value, scale.clamp_min(1e-12), self._zeros, self._axis, -most, min(most, 127)
        )
