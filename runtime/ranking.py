"""Figures of rankings and clusters: average precision, mean average precision of retrieval, NMI. numpy only."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .gallery.views import Snapshot, mean_clusters

_BLOCK = 256


def average_precision(scores: NDArray[np.float32], relevant: NDArray[np.bool_]) -> float:
    """The area under precision over recall as a step function; what scores equally is taken at once.

    Args:
        scores: (items,), higher is more relevant.
        relevant: (items,), at least one of them true.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(relevant[order])
    last = np.r_[np.flatnonzero(np.diff(scores[order])), len(order) - 1]
    recall_steps = np.diff(np.r_[0, hits[last]]) / hits[-1]
    return float((recall_steps * hits[last] / (last + 1)).sum())


def mean_class_precision(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """The mean over the classes that occur of each one's average precision against the rest.

    Args:
        probabilities: (images, classes).
        truth: (images,), index of the true class.
    """
    occurring = np.unique(truth).tolist()
    return float(np.mean([average_precision(probabilities[:, one], truth == one) for one in occurring]))


def mean_label_precision(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """The mean over the labels that occur of each one's average precision, where an image has several labels or none.

    Args:
        scores: (images, labels).
        truth: (images, labels), whether an image has a label.

    Returns:
        nan where no image has any label.
    """
    occurring = np.flatnonzero(truth.any(axis=0)).tolist()
    if not occurring:
        return float("nan")
    return float(np.mean([average_precision(scores[:, one], truth[:, one]) for one in occurring]))


def retrieval_precision(embeddings: NDArray[np.float32], labels: Sequence[str]) -> float | None:
    """The mean over images of the average precision with which each ranks all others; None where no class has two.

    Args:
        embeddings: float32 (images, dim), unit length.
        labels: The label of each image; one that is alone in its class asks nothing.
    """
    names = np.unique(np.asarray(labels, object).astype(str), return_inverse=True)[1]
    found: list[float] = []
    for start in range(0, len(names), _BLOCK):
        similarity = embeddings[start : start + _BLOCK] @ embeddings.T
        for number, row in enumerate(similarity):
            others = np.arange(len(names)) != start + number
            relevant = names[others] == names[start + number]
            if relevant.any():
                found.append(average_precision(row[others], relevant))
    return float(np.mean(found)) if found else None


def cluster_agreement(embeddings: NDArray[np.float32], labels: Sequence[str], seed: int = 0) -> float | None:
    """Normalized mutual information of the labels and as many k-means clusters: 0 to 1; None with one label only."""
    if len(set(labels)) < 2:
        return None
    rows = np.arange(len(labels), dtype=np.int64)
    groups = mean_clusters(Snapshot(rows, tuple(labels), ("{}",) * len(rows), embeddings), len(set(labels)), seed)
    numbers = np.empty(len(rows), np.int64)
    for number, group in enumerate(groups):
        numbers[list(group.ids)] = number
    return mutual_information(labels, numbers.tolist())


def mutual_information(first: Sequence[object], second: Sequence[object]) -> float:
    """Mutual information of two partitions over the mean of their entropies (natural logarithm cancels out)."""
    images = len(first)
    both, left, right = Counter(zip(first, second, strict=True)), Counter(first), Counter(second)
    shared = sum(
        count / images * np.log(count * images / (left[one] * right[other])) for (one, other), count in both.items()
    )
    entropies = [-sum(count / images * np.log(count / images) for count in part.values()) for part in (left, right)]
    return float(shared / np.mean(entropies)) if any(entropies) else 1.0


def nearest_hits(embeddings: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.int64]:
    """Whether each image's nearest other has its label: 1 or 0, int64 (images,); -1 where no other has it."""
    names = np.unique(np.asarray(labels, object).astype(str), return_inverse=True)[1]
    found = np.empty(len(names), np.int64)
    for start in range(0, len(names), _BLOCK):
        similarity = embeddings[start : start + _BLOCK] @ embeddings.T
        rows = np.arange(start, start + len(similarity))
        similarity[np.arange(len(rows)), rows] = -np.inf
        found[rows] = names[similarity.argmax(axis=1)] == names[rows]
    counts = np.bincount(names)
    return np.where(counts[names] > 1, found, -1)
