"""Exact or graph: measured on this machine with this gallery's own vectors, not guessed."""

import os
import platform
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from .container import Speed
from .graph import Graph
from .nearest import nearest_rows

# Below this an exact search takes a fraction of a millisecond on every board: no graph is kept.
SMALLEST_GRAPH = 5000
WANTED_RECALL = 0.99
LOWEST_RECALL = 0.98
WIDEST_SEARCH = 512
_K = 10
_QUERIES = 64
_WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, WIDEST_SEARCH)
# Noise that turns a stored vector into a query about as far from it as another photo of the same item.
_NOISE = 0.5


def measure(
    graph: Graph,
    ids: NDArray[np.int64],
    matrix: NDArray[np.float32],
    alive: NDArray[np.bool_],
    narrowest: int = 0,
) -> Speed:
    """Time both searches and find the narrowest graph search that reaches the wanted recall.

    Args:
        graph: Holds the live entries.
        ids: int64, shape (rows,).
        matrix: float32, shape (rows, dim).
        alive: bool, shape (rows,).
        narrowest: Width below which live queries were found wanting.
    """
    queries = _queries(matrix, alive)
    exact_us, truth = _time_exact(ids, matrix, alive, queries)
    for ef in _WIDTHS:
        if ef < min(narrowest, WIDEST_SEARCH):
            continue
        graph_us, recall = _time_graph(graph, ef, queries, truth)
        if recall >= WANTED_RECALL:
            break
    good = recall >= LOWEST_RECALL and graph_us < exact_us
    live = int(alive.sum())
    return Speed(machine(), live, round(exact_us, 1), round(graph_us, 1), ef, round(recall, 4), good)


@cache
def machine() -> str:
    """Name the machine that figures belong to: processor and cores."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    except (OSError, UnicodeDecodeError):
        pass
    return f"{model} x{os.cpu_count()}"


def recall_of(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Share of the true neighbours that were found; both int64 (queries, k), -1 where there is none."""
    hits = (found[:, :, None] == truth[:, None, :]) & (truth[:, None, :] >= 0)
    return float(hits.any(axis=1).sum() / max(1, (truth >= 0).sum()))


def _queries(matrix: NDArray[np.float32], alive: NDArray[np.bool_]) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    rows = np.flatnonzero(alive)
    chosen = matrix[random.choice(rows, min(_QUERIES, len(rows)), replace=False)]
    noise = random.standard_normal(chosen.shape).astype(np.float32) * (_NOISE / np.sqrt(matrix.shape[1]))
    mixed = chosen + noise.astype(np.float32)
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float32)


def _time_exact(
    ids: NDArray[np.int64], matrix: NDArray[np.float32], alive: NDArray[np.bool_], queries: NDArray[np.float32]
) -> tuple[float, NDArray[np.int64]]:
    times, found = [], []
    for query in queries:
        start = perf_counter()
        slots, _ = nearest_rows(matrix, alive, query[None], _K)
        times.append(perf_counter() - start)
        found.append(np.where(slots >= 0, ids[slots], -1)[0])
    return float(np.median(times)) * 1e6, np.stack(found)


def _time_graph(graph: Graph, ef: int, queries: NDArray[np.float32], truth: NDArray[np.int64]) -> tuple[float, float]:
    graph.ef, times = ef, []
    found = np.full_like(truth, -1)
    for row, query in enumerate(queries):
        start = perf_counter()
        ids = graph.search(query[None], _K)
        times.append(perf_counter() - start)
        if ids is not None:
            found[row] = ids[0]
    return float(np.median(times)) * 1e6, recall_of(found, truth)
