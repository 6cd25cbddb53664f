"""How far each activation reaches, observed on calibration images in bounded memory.

Images are taken batch by batch, twice: once for the extremes, once for a histogram between them. Only those
are kept, so memory does not grow with the images, and every method finds its ranges from the same figures.
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
METHODS = ("mse", "entropy", "percentile", "minmax")
PERCENTILE = 0.99999
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


@dataclass(frozen=True, slots=True)
class Observation:
    """What one tensor was seen to hold.

    Attributes:
        seen: From its smallest to its largest value.
        counts: int64, values in each of 2048 bins of equal width over `seen`.
    """

    seen: Range
    counts: NDArray[np.int64]


def observe(
    model: ModelProto,
    batches: Batches,
    tensors: Iterable[str],
    audible: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, Observation]:
    """Watch tensors while calibration images pass.

    Args:
        model: A float graph.
        batches: Gives the calibration images anew at each call: uint8 (batch, height, width, 3) RGB.
        tensors: Names of the tensors.
        audible: For some tensors the values beyond which their readers are flat; they count as the limit.

    Raises:
        InputError: There is no image, or a tensor is not finite.
    """
    listener = _Listener(Probe(model, tuple(tensors)), audible or {})
    seen = _extremes(listener, batches)
    counts = _histograms(listener, batches, seen)
    return {name: Observation(seen[name], counts[name]) for name in seen}


def find_ranges(observations: Mapping[str, Observation], method: str) -> dict[str, Range]:
    """Choose the range of each tensor.

    Args:
        observations: What was seen.
        method: "minmax" (all that was seen), "percentile" (leaves out the outermost 0.001 % of the values),
            "mse" (the least squared error of rounding and clipping) or "entropy" (the least Kullback-Leibler
            divergence between the values and their rounded form).

    Raises:
        InputError: The method is unknown.
    """
    if method not in METHODS:
        raise InputError(f"unknown calibration method '{method}': choose one of {', '.join(METHODS)}")
    return {name: _FINDERS[method](observation) for name, observation in observations.items()}


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


def _percentile_range(observation: Observation) -> Range:
    seen, counts = observation.seen, observation.counts
    below = np.cumsum(counts) / max(1, counts.sum())
    width = (seen.high - seen.low) / _BINS
    low = seen.low + width * int(np.searchsorted(below, 1 - PERCENTILE)) if seen.low < 0 else 0.0
    high = seen.low + width * (int(np.searchsorted(below, PERCENTILE)) + 1)
    return Range(min(low, 0.0), max(min(high, seen.high), 0.0))


def _least_error_range(observation: Observation) -> Range:
    centres = _centres(observation.seen)

    def error(candidate: Range) -> float:
        back = (_steps(centres, candidate) - float(candidate.zero_point)) * float(candidate.scale)
        return float(observation.counts @ (back - centres) ** 2)

    return min(_candidates(observation.seen), key=error)


def _least_divergence_range(observation: Observation) -> Range:
    centres, counts = _centres(observation.seen), observation.counts.astype(np.float64)
    filled = counts > 0

    def divergence(candidate: Range) -> float:
        steps = _steps(centres, candidate).astype(np.int64)
        # Values beyond the range count where the range ends; each step's share is spread over its filled bins.
        inside = (centres >= candidate.low) & (centres <= candidate.high)
        clipped = np.where(inside, counts, 0.0)
        kept = np.flatnonzero(inside)
        clipped[kept[0]] += counts[: kept[0]].sum()
        clipped[kept[-1]] += counts[kept[-1] + 1 :].sum()
        bins = np.bincount(steps, filled & inside, _STEPS + 1)
        spread = (np.bincount(steps, np.where(inside, counts, 0.0), _STEPS + 1) / np.maximum(bins, 1))[steps]
        compared = filled & inside
        true, rounded = clipped[compared] / clipped.sum(), spread[compared] / max(spread[compared].sum(), 1e-12)
        return float((true * np.log(np.maximum(true, 1e-12) / np.maximum(rounded, 1e-12))).sum())

    return min(_candidates(observation.seen), key=divergence)


def _centres(seen: Range) -> NDArray[np.float64]:
    return np.asarray(seen.low + (np.arange(_BINS) + 0.5) * (seen.high - seen.low) / _BINS)


def _candidates(seen: Range) -> list[Range]:
    lows = np.linspace(0.3, 1, 15) if seen.low < 0 else np.ones(1)
    return [Range(float(seen.low * low), float(seen.high * high)) for low in lows for high in np.linspace(0.3, 1, 29)]


def _steps(values: NDArray[np.float64], to: Range) -> NDArray[np.float64]:
    return np.clip(np.round(values / float(to.scale)) + float(to.zero_point), 0, _STEPS)


_FINDERS: dict[str, Callable[[Observation], Range]] = {
    "minmax": lambda observation: observation.seen,
    "percentile": _percentile_range,
    "mse": _least_error_range,
    "entropy": _least_divergence_range,
}
