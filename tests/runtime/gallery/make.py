"""Galleries for the tests: seeded unit vectors, and one large enough for a graph."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.gallery import Gallery, NewEntry
from sightline.runtime.gallery.container import Speed
from sightline.runtime.gallery.speed import SMALLEST_GRAPH, machine

DIM = 16
MODEL = "model-a"


def vectors(count: int, seed: int = 0, dim: int = DIM) -> NDArray[np.float32]:
    """Unit vectors, float32 (count, dim)."""
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def frame(seed: int, size: int = 40) -> NDArray[np.uint8]:
    """A noisy picture, uint8 (size, size, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def entries(count: int, seed: int = 0, dim: int = DIM) -> list[NewEntry]:
    """Entries of three labels."""
    return [NewEntry(f"label {row % 3}", vector) for row, vector in enumerate(vectors(count, seed, dim))]


def small_gallery(folder: Path, count: int = 30) -> NDArray[np.float32]:
    """Write a gallery with ids 1 to `count` and close it; gives its vectors."""
    with Gallery.open(folder, model=MODEL) as gallery:
        gallery.add_many(entries(count))
    return vectors(count)


def graph_gallery(folder: Path, count: int = SMALLEST_GRAPH + 600) -> NDArray[np.float32]:
    """Write a gallery that is searched by its graph whatever this machine would measure; gives its vectors."""
    with Gallery.open(folder, model=MODEL) as gallery:
        gallery.add_many(entries(count))
        gallery.rebuild()
        prefer_graph(gallery)
    return vectors(count)


def prefer_graph(gallery: Gallery) -> None:
    """Have the graph answer, as on a machine where it is faster; saved when the gallery is closed."""
    gallery._index.set_speed(Speed(machine(), gallery._index.live, 100.0, 10.0, 128, 1.0, True))
    gallery._caretaker._unsaved = 1


def true_ids(rows: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Ids (row number plus one) of the nearest rows, computed in float64."""
    return np.argsort(-(queries.astype(np.float64) @ rows.T.astype(np.float64)), axis=1, kind="stable")[:, :k] + 1
