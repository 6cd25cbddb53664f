"""The nearest rows of a matrix: one product, and the k best in order."""

import numpy as np
from numpy.typing import NDArray

# Similarities held at once: 64 MB of float32, a batch of queries is cut to fit.
_MOST_SCORES = 16_000_000
_FEW_QUERIES = 4


def nearest_rows(
    matrix: NDArray[np.float32], alive: NDArray[np.bool_] | None, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Compare queries with every row.

    Args:
        matrix: float32, shape (rows, dim).
        alive: bool, shape (rows,): rows to consider; None takes all.
        queries: float32, shape (queries, dim).
        k: How many to find.

    Returns:
        Row numbers, int64 (queries, k), -1 where there are fewer; inner products, float32 (queries, k), nan there.
    """
    slots = np.full((len(queries), k), -1, np.int64)
    similarity = np.full((len(queries), k), np.nan, np.float32)
    if len(queries) <= _FEW_QUERIES:
        for row, query in enumerate(queries):
            best, found = _nearest_to_one(matrix, alive, query, k)
            slots[row, : len(best)], similarity[row, : len(best)] = best, found
        return slots, similarity
    step = max(1, _MOST_SCORES // max(1, len(matrix)))
    for start in range(0, len(queries), step):
        scores = queries[start : start + step] @ matrix.T
        if alive is not None:
            scores[:, ~alive] = -np.inf
        best = _best(scores, k)
        found = np.take_along_axis(scores, best, axis=1)
        width, rows = best.shape[1], slice(start, start + len(best))
        slots[rows, :width] = np.where(found > -np.inf, best, -1)
        similarity[rows, :width] = np.where(found > -np.inf, found, np.nan)
    return slots, similarity


def _nearest_to_one(
    matrix: NDArray[np.float32], alive: NDArray[np.bool_] | None, query: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows and inner products of the best k or fewer: 33 us at 1,000 rows, where the general way takes 52 to 75."""
    # BLAS hands a large product to its threads, and on a busy machine waits for them: 10,000 x 256 against one
    # query took 18.8 ms (median) on two cores under load, row by row in one thread 0.37 ms; idle both take 0.36.
    scores = np.vecdot(matrix, query)
    if alive is not None:
        scores[~alive] = -np.inf
    if k < len(scores):
        chosen = scores.argpartition(len(scores) - k)[len(scores) - k :]
        chosen.sort()
    else:
        chosen = np.arange(len(scores))
    # Stable, so that equal similarities come in the order of their ids.
    best = chosen[(-scores[chosen]).argsort(kind="stable")]
    if alive is not None:
        best = best[scores[best] > -np.inf]
    return best, scores[best]


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    if k < scores.shape[1]:
        chosen = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, -k:]
        chosen.sort(axis=1)
    else:
        chosen = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    # Stable, so that equal similarities come in the order of their ids.
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)
