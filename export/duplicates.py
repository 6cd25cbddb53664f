"""Photos that are there more than once: the same bytes, or nearly the same picture."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sightline.runtime.gallery import Snapshot, near_duplicates

from .census import Census

# Finds every copy that was re-encoded, shrunk, brightened or blurred (see `census`), and in series of shop photos
# only those taken from the same place.
NEAR = 0.95


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Photos that show the same.

    Attributes:
        rows: Of the census.
        exact: Whether their bytes are the same; else their pictures nearly are.
        similarity: Mean correlation of the first with the others; 1 where the bytes are the same.
        labels: The labels they stand under; more than one is a contradiction.
        parts: The splits they stand in; more than one is a leak.
    """

    rows: tuple[int, ...]
    exact: bool
    similarity: float
    labels: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def contradict(self) -> bool:
        """Whether they stand under several labels."""
        return len(self.labels) > 1

    @property
    def leak(self) -> bool:
        """Whether they stand in several splits."""
        return len(self.parts) > 1


def find_duplicates(
    census: Census, similarity: float = NEAR, advance: Callable[[int], None] = lambda count: None
) -> tuple[Duplicates, ...]:
    """Give the groups, contradictions first, then leaks, then the largest.

    Args:
        census: The photos.
        similarity: Correlation of two 16x16 grey pictures from which they count as nearly the same.
        advance: Told how many photos were compared.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(census.digests):
        same[digest].append(row)
    groups = [_group(census, rows, True, 1.0) for rows in same.values() if len(rows) > 1]
    first = np.array([rows[0] for rows in same.values()], np.int64)
    labels = tuple(census.images[row].label for row in first)
    distinct = Snapshot(first, labels, ("{}",) * len(first), census.sketches[first])
    groups += [_group(census, one.ids, False, one.similarity) for one in near_duplicates(distinct, similarity, advance)]
    return tuple(sorted(groups, key=lambda one: (not one.contradict, not one.leak, not one.exact, -len(one.rows))))


def _group(census: Census, rows: list[int] | tuple[int, ...], exact: bool, similarity: float) -> Duplicates:
    labels = tuple(sorted({census.images[row].label for row in rows}))
    return Duplicates(tuple(rows), exact, similarity, labels, tuple(sorted({census.parts[row] for row in rows})))
