"""In which order photos are learned from, and how often each."""

import numpy as np
from numpy.typing import NDArray

from .losses import Targets, photo_weights


def epoch_order(targets: Targets, classes: int, sampling: str, rng: np.random.Generator) -> NDArray[np.int64]:
    """Give the rows of one epoch, as many as there are photos.

    Args:
        targets: int64 [photos], or float32 [photos, classes] where a photo has several labels.
        classes: How many classes there are.
        sampling: "shuffled" shows each photo once. "balanced" draws with replacement, so that every class is shown
            as often as every other.
            With several labels a photo counts by its rarest.
        rng: Where chance comes from.
    """
    if sampling == "shuffled":
        return rng.permutation(len(targets))
    drawn = photo_weights(targets, classes).astype(np.float64)
    return rng.choice(len(targets), len(targets), p=drawn / drawn.sum())


def grouped_order(targets: NDArray[np.int64], per_class: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Give the rows of one epoch in runs of `per_class` photos of one class, classes in random order.

    What learns from pairs needs pairs of one class in every batch. A last run of one photo is filled up with
    another photo of its class where it has one.
    """
    runs: list[NDArray[np.int64]] = []
    for label in np.unique(targets):
        rows = rng.permutation(np.flatnonzero(targets == label))
        short = -len(rows) % per_class
        rows = np.concatenate([rows, rng.choice(rows, short)]) if short else rows
        runs.extend(rows.reshape(-1, per_class))
    return np.concatenate([runs[row] for row in rng.permutation(len(runs))])
