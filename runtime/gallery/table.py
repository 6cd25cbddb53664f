"""The entries in memory: one float32 matrix and what is needed to name a match, ids ascending.

Not safe to use from several threads by itself: `Gallery` holds one lock around every call.
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from .rows import Batch

_SMALLEST = 256
# Compaction copies the whole matrix; up to this many rows that is a millisecond or two.
_COMPACT_AT_ONCE = 4096
_COMPACT_SHARE = 0.2


class Table:
    """A growing matrix of unit vectors; removed rows are zeroed at once and dropped later.

    Attributes:
        dim: Width of the vectors.
        rows: Rows in use, removed ones included.
        live: Entries that are not removed.
        digest: Sum of the checksums of the live entries.
        version: Counts changes.
    """

    def __init__(self, dim: int, capacity: int = _SMALLEST) -> None:
        self.dim = dim
        self.rows = 0
        self.live = 0
        self.digest = 0
        self.version = 0
        self._last_id = 0
        self._allocate(max(capacity, _SMALLEST))
        self._names: list[str] = []
        self._name_index: dict[str, int] = {}
        self._metadata: list[str] = []

    @property
    def matrix(self) -> NDArray[np.float32]:
        """float32, shape (rows, dim); removed rows are zero."""
        return self._matrix[: self.rows]

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64, shape (rows,), ascending."""
        return self._ids[: self.rows]

    @property
    def alive(self) -> NDArray[np.bool_]:
        """bool, shape (rows,): False where the entry was removed."""
        return self._alive[: self.rows]

    @property
    def checksums(self) -> NDArray[np.int64]:
        """int64, shape (rows,)."""
        return self._checksums[: self.rows]

    @property
    def labels(self) -> NDArray[np.int32]:
        """int32, shape (rows,): a number for each label."""
        return self._labels[: self.rows]

    @property
    def last_id(self) -> int:
        """The highest id that was ever appended; 0 at first."""
        return self._last_id

    def append(self, batch: Batch) -> None:
        """Add entries whose ids lie above all present ones."""
        count = len(batch.ids)
        if count == 0:
            return
        if self.rows + count > len(self._ids):
            self._grow(self.rows + count)
        rows = slice(self.rows, self.rows + count)
        self._ids[rows], self._matrix[rows], self._checksums[rows] = batch.ids, batch.matrix, batch.checksums
        self._alive[rows] = True
        self._labels[rows] = [self._index_of(label) for label in batch.labels]
        # Most entries have none: one shared string instead of a hundred thousand.
        self._metadata.extend("{}" if text == "{}" else text for text in batch.metadata)
        self.rows += count
        self.live += count
        self.digest += int(batch.checksums.sum())
        self._last_id = int(batch.ids[-1])
        self.version += 1

    def remove(self, ids: list[int]) -> NDArray[np.int64]:
        """Forget entries; unknown ids are passed over. Returns the ids that were there."""
        slots, found = self.find(np.array(ids, np.int64))
        slots = slots[found]
        slots = slots[self._alive[slots]]
        if len(slots) == 0:  # before np.unique, whose first call imports for 15 ms
            return np.empty(0, np.int64)
        slots = np.unique(slots)
        gone = self._ids[slots].copy()
        self._alive[slots], self._matrix[slots] = False, 0.0
        for slot in slots:
            self._metadata[slot] = "{}"
        self.live -= len(slots)
        self.digest -= int(self._checksums[slots].sum())
        self.version += 1
        if self.rows <= _COMPACT_AT_ONCE or self.live < (1 - _COMPACT_SHARE) * self.rows:
            self._compact()
        return gone

    def find(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Row of each id, and whether it is there and live."""
        if self.rows == 0:
            return np.zeros(len(ids), np.int64), np.zeros(len(ids), bool)
        slots = np.minimum(self.ids.searchsorted(ids), self.rows - 1)
        return slots, (self._ids[slots] == ids) & self._alive[slots]

    @property
    def names(self) -> list[str]:
        """The label behind each number; a copy."""
        return list(self._names)

    @property
    def all_metadata(self) -> list[str]:
        """The metadata of every row, JSON; a copy."""
        return list(self._metadata)

    def name(self, slot: int) -> str:
        """The label of a row."""
        return self._names[int(self._labels[slot])]

    def describe(self, slots: NDArray[np.int64]) -> list[tuple[int, str, str]]:
        """Id, label and metadata, JSON, of rows."""
        ids, numbers = self._ids[slots].tolist(), self._labels[slots].tolist()
        metadata = [self._metadata[slot] for slot in slots.tolist()]
        return [(id, self._names[number], text) for id, number, text in zip(ids, numbers, metadata, strict=True)]

    def label_counts(self) -> dict[str, int]:
        """Live entries of each label, most first."""
        counts = Counter(self._labels[: self.rows][self.alive].tolist())
        return {self._names[index]: count for index, count in counts.most_common()}

    def ids_of(self, label: str) -> list[int]:
        """Ids of the live entries of a label."""
        index = self._name_index.get(label, -1)
        return [int(id) for id in self.ids[self.alive & (self._labels[: self.rows] == index)]]

    def _index_of(self, label: str) -> int:
        index = self._name_index.setdefault(label, len(self._names))
        if index == len(self._names):
            self._names.append(label)
        return index

    def _allocate(self, capacity: int) -> None:
        # numpy leaves fresh large memory untouched, so spare rows cost address space only.
        self._ids = np.empty(capacity, np.int64)
        self._matrix = np.empty((capacity, self.dim), np.float32)
        self._checksums = np.empty(capacity, np.int64)
        self._labels = np.empty(capacity, np.int32)
        self._alive = np.zeros(capacity, bool)

    def _grow(self, wanted: int) -> None:
        self._move(slice(0, self.rows), max(wanted, self.rows + self.rows // 2))

    def _compact(self) -> None:
        kept = np.flatnonzero(self.alive)
        self._metadata = [self._metadata[slot] for slot in kept]
        self._move(kept, max(len(kept) + len(kept) // 2, _SMALLEST))

    def _move(self, kept: NDArray[np.int64] | slice, capacity: int) -> None:
        ids, matrix, checksums = self.ids[kept], self.matrix[kept], self.checksums[kept]
        labels, alive = self._labels[: self.rows][kept], self.alive[kept]
        self._allocate(capacity)
        self.rows = rows = len(alive)
        self._ids[:rows], self._matrix[:rows], self._checksums[:rows] = ids, matrix, checksums
        self._labels[:rows], self._alive[:rows] = labels, alive
