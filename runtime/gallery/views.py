"""Ways to look at one's collection: selections, near-duplicates, clusters. numpy only, from a copy of the entries."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryError
from ..recognition import Match
from .nearest import nearest_rows

# Similarities held at once: 64 MB of float32.
_MOST_SCORES = 16_000_000
_MOST_ROUNDS = 50

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


class Metric(StrEnum):
    """How a comparison is told. Vectors have unit length, so each gives the same order.

    The inner product is then the cosine itself, and the Euclidean distance sqrt(2 - 2 cosine).
    """

    COSINE = "cosine"
    INNER_PRODUCT = "inner-product"
    EUCLIDEAN = "euclidean"

    def of(self, cosine: float) -> float:
        """The metric's number for a cosine."""
        return float(np.sqrt(max(0.0, 2 - 2 * cosine))) if self is Metric.EUCLIDEAN else cosine


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A gallery's entries at one moment.

    Attributes:
        ids: int64, shape (entries,), ascending.
        labels: (entries,).
        metadata: (entries,), JSON objects.
        vectors: float32, shape (entries, dim), unit length.
    """

    ids: Rows
    labels: tuple[str, ...]
    metadata: tuple[str, ...]
    vectors: Vectors

    def select(self, label: str | None = None, metadata: Mapping[str, str] | None = None) -> "Snapshot":
        """The entries of a label whose metadata holds all that is asked for."""
        rows = [row for row, name in enumerate(self.labels) if label is None or name == label]
        if metadata:
            wanted = metadata.items()
            rows = [row for row in rows if wanted <= _decoded(self.metadata[row]).items()]
        return self.take(np.array(rows, np.int64))

    def take(self, rows: Rows) -> "Snapshot":
        """The entries of some rows."""
        labels, metadata = (tuple(part[row] for row in rows) for part in (self.labels, self.metadata))
        return Snapshot(self.ids[rows], labels, metadata, self.vectors[rows])

    def row(self, id: int) -> int:
        """The row of an entry.

        Raises:
            GalleryError: There is none of this id.
        """
        row = int(np.searchsorted(self.ids, id))
        if row == len(self.ids) or self.ids[row] != id:
            raise GalleryError(f"there is no entry {id}: 'sightline gallery list' names them")
        return row

    def nearest(self, query: Vectors, k: int) -> tuple[Match, ...]:
        """The nearest entries, every one compared; query: float32 (dim,), unit length."""
        slots, similarity = nearest_rows(self.vectors, None, query[None], k)
        return tuple(
            Match(int(self.ids[slot]), self.labels[slot], float(near), _decoded(self.metadata[slot]))
            for slot, near in zip(slots[0], similarity[0], strict=True)
            if slot >= 0
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Entries that belong together.

    Attributes:
        ids: The entries, the one nearest to all others first.
        labels: Their labels, in the same order.
        similarity: Mean cosine of the first with the others.
    """

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    similarity: float


def near_duplicates(
    entries: Snapshot, similarity: float, advance: Callable[[int], None] = lambda count: None
) -> list[Group]:
    """Groups of entries linked by pairs at least so similar, largest first; entries without such a twin are in none.

    Args:
        entries: Where to look.
        similarity: Cosine from which two entries are twins.
        advance: Told how many entries were compared.
    """
    root = np.arange(len(entries.ids))
    for _, near in _neighbours(entries.vectors, similarity, advance):
        # Few roots stand behind many neighbours: most of a group is linked already.
        tops = {_root(root, int(top)) for top in np.unique(root[near])}
        root[near], root[list(tops)] = min(tops), min(tops)
    numbers = np.array([_root(root, row) for row in range(len(root))], np.int64)
    return _groups(entries, numbers, least=2)


def density_clusters(
    entries: Snapshot, similarity: float, least: int, advance: Callable[[int], None] = lambda count: None
) -> tuple[list[Group], tuple[int, ...]]:
    """Clusters of any number and shape (DBSCAN; Ester et al. 1996), and the ids that are in none.

    Args:
        entries: What to cluster.
        similarity: Cosine from which two entries are neighbours.
        least: Neighbours, itself included, that make an entry the core of a cluster.
        advance: Told how many entries were compared.
    """
    near = [neighbours.astype(np.int32) for _, neighbours in _neighbours(entries.vectors, similarity, advance)]
    numbers = np.full(len(near), -1, np.int64)
    for seed in range(len(near)):
        if numbers[seed] >= 0 or len(near[seed]) < least:
            continue
        numbers[seed], waiting = numbers.max() + 1, deque([seed])
        while waiting:
            for other in near[waiting.popleft()]:
                if numbers[other] < 0:
                    numbers[other] = numbers[seed]
                    if len(near[other]) >= least:
                        waiting.append(int(other))
    alone = tuple(int(id) for id in entries.ids[numbers < 0])
    return _groups(entries.take(np.flatnonzero(numbers >= 0)), numbers[numbers >= 0], least=1), alone


def mean_clusters(entries: Snapshot, count: int, seed: int = 0) -> list[Group]:
    """So many clusters (spherical k-means; Dhillon and Modha 2001, begun as by Arthur and Vassilvitskii 2007).

    Args:
        entries: What to cluster.
        count: How many clusters; fewer where there are fewer entries.
        seed: Same seed, same clusters.
    """
    vectors, count = entries.vectors, min(count, len(entries.ids))
    if count == 0:
        return []
    centres, numbers = _first_centres(vectors, count, seed), None
    for _ in range(_MOST_ROUNDS):
        fresh = (vectors @ centres.T).argmax(axis=1)
        if numbers is not None and (fresh == numbers).all():
            break
        numbers = fresh
        sums = np.zeros_like(centres)
        np.add.at(sums, numbers, vectors)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 1e-9, sums / np.maximum(lengths, 1e-9), centres).astype(np.float32)
    assert numbers is not None
    return _groups(entries, numbers, least=1)


def _first_centres(vectors: Vectors, count: int, seed: int) -> Vectors:
    random = np.random.default_rng(seed)
    chosen = [int(random.integers(len(vectors)))]
    distance = np.maximum(0.0, 1 - vectors @ vectors[chosen[0]])
    while len(chosen) < count:
        total = float(distance.sum())
        weights = distance / total if total > 0 else None
        chosen.append(int(random.choice(len(vectors), p=weights)))
        distance = np.minimum(distance, np.maximum(0.0, 1 - vectors @ vectors[chosen[-1]]))
    return vectors[chosen].copy()


def _neighbours(
    vectors: Vectors, similarity: float, advance: Callable[[int], None]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each row with the rows, itself included, that are at least so similar; compared in blocks."""
    step = max(1, _MOST_SCORES // max(1, len(vectors)))
    for start in range(0, len(vectors), step):
        near = vectors[start : start + step] @ vectors.T >= similarity
        np.fill_diagonal(near[:, start:], True)
        for number, found in enumerate(near):
            yield start + number, np.flatnonzero(found)
        advance(len(near))


def _groups(entries: Snapshot, numbers: NDArray[np.int64], least: int) -> list[Group]:
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []
    groups = [_group(entries, rows) for rows in parts if len(rows) >= least]
    return sorted(groups, key=lambda group: (-len(group.ids), group.ids[0]))


def _group(entries: Snapshot, rows: Rows) -> Group:
    vectors = entries.vectors[rows]
    nearest = int((vectors @ vectors.sum(axis=0)).argmax())
    rows = np.concatenate([rows[nearest : nearest + 1], np.delete(rows, nearest)])
    others = entries.vectors[rows[1:]] @ entries.vectors[rows[0]]
    similarity = float(others.mean()) if len(others) else 1.0
    return Group(tuple(int(id) for id in entries.ids[rows]), tuple(entries.labels[row] for row in rows), similarity)


def _root(root: NDArray[np.int64], row: int) -> int:
    while root[row] != row:
        root[row] = root[root[row]]
        row = int(root[row])
    return row


def _decoded(text: str) -> dict[str, str]:
    return msgspec.json.decode(text, type=dict[str, str])
