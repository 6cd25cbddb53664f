"""Shares of photos with what they may be by chance, and how well scores tell right from wrong."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

# The 97.5th percentile of the normal distribution: a two-sided interval of 95 %.
_Z = 1.959964
_BINS = 10


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of photos with its 95 % interval (Wilson's score interval).

    Attributes:
        value: 0 to 1; nan where there is no photo.
        low: Lower end of the interval.
        high: Upper end of the interval.
        images: How many photos.
    """

    value: float
    low: float
    high: float
    images: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well probabilities fit how often answers are right, in ten bins of equal width.

    Attributes:
        confidence: Mean probability of the first answer in each bin; None where it is empty.
        accuracy: Share of right answers in each bin; None where it is empty.
        count: Photos in each bin.
        error: Expected calibration error: the mean gap, weighted by the photos.
    """

    confidence: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    count: tuple[int, ...]
    error: float


def rate(hits: NDArray[np.bool_]) -> Rate:
    """Give a share with its interval: Wilson (1927), "Probable inference", JASA 22."""
    images = int(hits.size)
    if not images:
        return Rate(float("nan"), 0.0, 1.0, 0)
    share = float(hits.mean())
    middle = (share + _Z**2 / (2 * images)) / (1 + _Z**2 / images)
    half = _Z / (1 + _Z**2 / images) * sqrt(share * (1 - share) / images + _Z**2 / (4 * images**2))
    return Rate(share, max(0.0, middle - half), min(1.0, middle + half), images)


def reliability(probability: NDArray[np.float32], right: NDArray[np.bool_]) -> Reliability:
    """Bin answers by their probability: Guo et al. (2017), "On calibration of modern neural networks".

    Args:
        probability: (photos,), of the first answer, 0 to 1.
        right: (photos,), whether it is right.
    """
    bins = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    rows = [bins == number for number in range(_BINS)]
    confidence = [float(probability[row].mean()) if row.any() else None for row in rows]
    accuracy = [float(right[row].mean()) if row.any() else None for row in rows]
    count = [int(row.sum()) for row in rows]
    gaps = [
        abs(sure - true) * number
        for sure, true, number in zip(confidence, accuracy, count, strict=True)
        if sure is not None and true is not None
    ]
    return Reliability(tuple(confidence), tuple(accuracy), tuple(count), sum(gaps) / max(1, len(right)))


def area_under_curve(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float | None:
    """The chance that a positive scores above a negative, ties half (Mann-Whitney U); None where one is empty."""
    if not len(positive) or not len(negative):
        return None
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / (2 * len(negative)))


def false_accepts(known: NDArray[np.float64], unknown: NDArray[np.float64], accepted: float) -> float | None:
    """Give the share of unknown scores at or above the cut that a stated share of the known pass.

    Args:
        known: (images,), higher is more surely known.
        unknown: (images,), on the same scale.
        accepted: Share of the known that pass at least, above 0 and at most 1.

    Returns:
        The false positive rate at that true positive rate; None where one is empty.
    """
    if not len(known) or not len(unknown):
        return None
    cut = np.quantile(known, 1 - accepted, method="lower")
    return float((unknown >= cut).mean())
