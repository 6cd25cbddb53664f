"""How far each activation reaches, observed on calibration images in bounded memory.

Images are taken batch by batch and only running figures are kept: two numbers a tensor for min-max, and for
the other methods a histogram a tensor, filled in a second pass; so memory does not grow with the images.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import Image

from .onnx_probe import Probe

Batches = Callable[[], Iterable[Image]]
METHODS = ("minmax", "percentile", "mse")
PERCENTILE = 0.9999
_BINS = 2048
_STEPS = 255


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a tensor's 256 steps cover; always holds zero, so that zero is exact.

    Attributes:
        low: At most 0.
        high: At least 0.
    """

    low: float
    high: float

    @property
    def scale(self) -> np.float32:
        """The width of one step."""
        return np.float32(max(self.high - self.low, 1e-8) / _STEPS)

    @property
    def zero_point(self) -> np.uint8:
        """The step that stands for zero."""
        return np.uint8(np.clip(np.round(-self.low / float(self.scale)), 0, _STEPS))


def observe(
    model: ModelProto,
    batches: Batches,
    tensors: Iterable[str],
    method: str = "minmax",
    audible: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, Range]:
    """Measure the range of each tensor.

    Args:
        model: A float graph.
        batches: Gives the calibration images anew at each call: uint8 (batch, height, width, 3) RGB.
        tensors: Names of the tensors.
        method: "minmax" (all that was seen), "percentile" (leaves out the outermost 0.01 % of the values) or
            "mse" (the range with the least squared rounding and clipping error).
        audible: For some tensors the values beyond which their readers are flat; they count as the limit.

    Raises:
        InputError: The method is unknown, there is no image, or a tensor is not finite.
    """
    if method not in METHODS:
        raise InputError(f"unknown calibration method '{method}': choose one of {', '.join(METHODS)}")
    probe = _Listener(Probe(model, tuple(tensors)), audible or {})
    widest = _extremes(probe, batches)
    if method == "minmax":
        return widest
    histograms = _histograms(probe, batches, widest)
    shrink = _percentile_range if method == "percentile" else _least_error_range
    return {name: shrink(histograms[name], seen) for name, seen in widest.items()}


class _Listener:
    def __init__(self, probe: Probe, audible: Mapping[str, tuple[float, float]]) -> None:
        self.names = probe.names
        self._probe = probe
        self._audible = audible

    def run(self, images: Image) -> Iterator[tuple[str, NDArray[np.float32]]]:
        for name, value in self._probe.run(images).items():
            yield name, value if name not in self._audible else np.clip(value, *self._audible[name])


def _extremes(probe: _Listener, batches: Batches) -> dict[str, Range]:
    low, high = dict.fromkeys(probe.names, 0.0), dict.fromkeys(probe.names, 0.0)
    images = 0
    for batch in batches():
        images += len(batch)
        for name, value in probe.run(batch):
            low[name] = min(low[name], float(value.min()))
            high[name] = max(high[name], float(value.max()))
    if not images:
        raise InputError("there is no calibration image: give labelled photos")
    endless = next((name for name in probe.names if not np.isfinite(low[name] + high[name])), None)
    if endless is not None:
        raise InputError(f"the model gives values that are not finite (at '{endless}'): its weights are damaged")
    return {name: Range(low[name], high[name]) for name in probe.names}


def _histograms(probe: _Listener, batches: Batches, widest: dict[str, Range]) -> dict[str, NDArray[np.int64]]:
    counts = {name: np.zeros(_BINS, np.int64) for name in probe.names}
    for batch in batches():
        for name, value in probe.run(batch):
            counts[name] += _count(value, widest[name])
    return counts


def _count(value: NDArray[np.float32], seen: Range) -> NDArray[np.int64]:
    per_bin = np.float32(_BINS / max(seen.high - seen.low, 1e-8))
    bins = ((value.ravel() - np.float32(seen.low)) * per_bin).astype(np.int32)
    return np.bincount(np.clip(bins, 0, _BINS - 1), minlength=_BINS)


def _percentile_range(counts: NDArray[np.int64], seen: Range) -> Range:
    below = np.cumsum(counts) / max(1, counts.sum())
    width = (seen.high - seen.low) / _BINS
    low = seen.low + width * int(np.searchsorted(below, 1 - PERCENTILE)) if seen.low < 0 else 0.0
    high = seen.low + width * (int(np.searchsorted(below, PERCENTILE)) + 1)
    return Range(min(low, 0.0), max(min(high, seen.high), 0.0))


def _least_error_range(counts: NDArray[np.int64], seen: Range) -> Range:
    centres = seen.low + (np.arange(_BINS) + 0.5) * (seen.high - seen.low) / _BINS
    candidates = [
        Range(seen.low * low, seen.high * high)
        for low in (np.linspace(0.3, 1, 15) if seen.low < 0 else (1.0,))
        for high in np.linspace(0.3, 1, 29)
    ]
    errors = [float(counts @ (_rounded(centres, candidate) - centres) ** 2) for candidate in candidates]
    return candidates[int(np.argmin(errors))]


def _rounded(values: NDArray[np.float64], to: Range) -> NDArray[np.float64]:
    zero = float(to.zero_point)
    steps = np.clip(np.round(values / float(to.scale)) + zero, 0, _STEPS)
    return (steps - zero) * float(to.scale)
