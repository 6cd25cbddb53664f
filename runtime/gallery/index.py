"""What answers queries: the entries in memory, the graph where it is faster, one lock around both."""

import threading
from collections import deque
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..recognition import Match
from . import graph as graphs
from .calibration import Thresholds
from .container import Speed
from .graph import Graph
from .nearest import nearest_rows
from .rows import Delta
from .speed import LOWEST_RECALL, SMALLEST_GRAPH, recall_of
from .table import Table
from .values import Matches
from .views import Snapshot

# Entries behind the graph are compared exactly; more than this many and everything is.
_LONGEST_TAIL = 20_000
_LARGEST_GRAPH_K = 100
# Rare enough that the comparison with all entries is no part of the tail of 99 in 100 queries.
_SAMPLE_EVERY = 200
_RECALL_WINDOW = 200
_FEWEST_SAMPLES = 20
_METADATA = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A live query that the graph answered: float32 (1, dim), ids int64 (1, k), the table's version then."""

    query: NDArray[np.float32]
    ids: NDArray[np.int64]
    version: int


class SearchIndex:
    """Entries and graph behind one lock that is held for a millisecond at a time; it never touches the disk.

    Attributes:
        lock: Held while entries or graph are read or changed.
        generation: Commits taken in.
        epoch: Of the vectors taken in.
        newest_id: The highest id that the gallery had given by then, to an entry since removed perhaps.
        graph: The graph, or None.
        speed: What was measured with it, or None.
        samples: Live queries that wait to be compared with exact search.
        thresholds: When a match counts, or None where the gallery was never calibrated.
        note: What is wrong with the stored thresholds, or None.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.generation = 0
        self.epoch = 0
        self.newest_id = 0
        self.graph: Graph | None = None
        self.speed: Speed | None = None
        self.samples: deque[Sample] = deque(maxlen=16)
        self.thresholds: Thresholds | None = None
        self.note: str | None = None
        self._cuts: dict[str, float] = {}
        self._table: Table | None = None
        self._recalls: deque[float] = deque(maxlen=_RECALL_WINDOW)
        self._searches = 0

    @property
    def table(self) -> Table | None:
        """The entries; None while the gallery has no dimension."""
        return self._table

    @property
    def live(self) -> int:
        """Entries that are not removed."""
        return self._table.live if self._table is not None else 0

    @property
    def last_id(self) -> int:
        """The highest id taken in."""
        return self._table.last_id if self._table is not None else 0

    @property
    def live_recall(self) -> float | None:
        """Mean recall of the sampled live queries; None while there are too few."""
        return float(np.mean(self._recalls)) if len(self._recalls) >= _FEWEST_SAMPLES else None

    @property
    def graph_answers(self) -> bool:
        """Whether queries go to the graph at this moment."""
        graph, speed, table = self.graph, self.speed, self._table
        return (
            graph is not None
            and table is not None
            and speed is not None
            and speed.use_graph
            and table.live >= SMALLEST_GRAPH
            and table.rows - self._tail(table, graph) <= _LONGEST_TAIL
        )

    def apply(self, delta: Delta, last: bool) -> None:
        """Take in a change; `last` says that nothing is left of it to read."""
        with self.lock:
            if self._table is None and delta.head.dim is not None:
                self._table = Table(delta.head.dim, delta.head.entries)
            if self._table is not None and delta.added is not None:
                gone = self._table.remove(delta.removed)
                if self.graph is not None:
                    self.graph.remove(gone)
                self._table.append(delta.added)
            self.epoch = delta.head.epoch
            self.note = delta.note
            if last:
                self.generation = delta.head.generation
                self.newest_id = delta.head.next_id - 1
                self._set_thresholds(delta.thresholds)

    def agrees_with(self, delta: Delta) -> bool:
        """Whether what was taken in has the number and the checksums that the head promises."""
        table = self._table
        return (table.live, table.digest) == (delta.head.entries, delta.head.digest) if table else True

    def replace(self, other: "SearchIndex") -> None:
        """Take the place of everything with another index's entries; the graph is void."""
        with self.lock:
            self._table, self.generation, self.epoch = other._table, other.generation, other.epoch
            self.newest_id = other.newest_id
            self.graph = self.speed = None
            self._set_thresholds(other.thresholds)
            self._recalls.clear()

    @property
    def thresholds_are_old(self) -> bool:
        """Whether entries came or went since the thresholds were fitted."""
        return self.thresholds is not None and self.thresholds.generation != self.generation

    def set_thresholds(self, thresholds: Thresholds | None) -> None:
        """Exchange when a match counts."""
        with self.lock:
            self._set_thresholds(thresholds)

    def exchange_thresholds(self, before: Thresholds | None, thresholds: Thresholds | None) -> bool:
        """Put thresholds in the place of those that they were fitted from; False where others came meanwhile."""
        with self.lock:
            if self.thresholds != before:
                return False
            self._set_thresholds(thresholds)
            return True

    def set_graph(self, graph: Graph | None, ids: NDArray[np.int64], speed: Speed | None) -> None:
        """Exchange the graph; those of its `ids` that are not here (any more) are marked in it."""
        with self.lock:
            if graph is not None and self._table is not None:
                graph.remove(ids[~self._table.find(ids)[1]])
            self.graph = graph
            self._set_speed(speed)

    def set_speed(self, speed: Speed | None) -> None:
        """Choose between exact and graph by what was measured."""
        with self.lock:
            self._set_speed(speed)

    def catch_up(self, count: int) -> int:
        """Add up to `count` of the entries that the graph lacks; returns how many there were."""
        with self.lock:
            table, graph = self._table, self.graph
            if table is None or graph is None:
                return 0
            start = self._tail(table, graph)
            rows = np.flatnonzero(table.alive[start:])[:count] + start
            graph.add(table.ids[rows], table.matrix[rows])
            return len(rows)

    def search(self, queries: NDArray[np.float32], k: int) -> Matches:
        """Find the nearest entries; queries: float32 (queries, dim), unit length."""
        with self.lock:
            slots, similarity, exact = self._search(queries, k)
            if self._table is None or self._table.rows == 0:
                return Matches(slots, similarity, exact)
            ids = self._table.ids[slots]
        if exact:  # the graph answers only where it has k entries
            ids[slots < 0] = -1
        return Matches(ids, similarity, exact)

    def match(self, query: NDArray[np.float32], k: int) -> tuple[Match, ...]:
        """Find and name the nearest entries; query: float32 (1, dim), unit length."""
        with self.lock:
            slots, similarity, _ = self._search(query, k)
            table = self._table
            if table is None:
                return ()
            found = slots[0] >= 0
            described = table.describe(slots[0][found])
            nearness = similarity[0][found].tolist()
            return tuple(self._named(*one, near) for one, near in zip(described, nearness, strict=True))

    def snapshot(self) -> Snapshot:
        """Copy the live entries."""
        with self.lock:
            table = self._table
            if table is None:
                return Snapshot(np.empty(0, np.int64), (), (), np.empty((0, 0), np.float32))
            rows = np.flatnonzero(table.alive)
            ids, numbers, vectors = table.ids[rows], table.labels[rows], table.matrix[rows]
            names, metadata = table.names, table.all_metadata
        return Snapshot(ids, tuple(names[number] for number in numbers), tuple(metadata[row] for row in rows), vectors)

    def count_recall(self, sample: Sample) -> None:
        """Compare a sampled query with exact search; passed over where the entries have changed since."""
        with self.lock:
            table = self._table
            if table is None or table.version != sample.version:
                return
            ids, matrix, alive = table.ids, table.matrix, _mask(table)
        # Outside the lock: at 100,000 entries this takes 10 ms, and queries go on meanwhile.
        slots, _ = nearest_rows(matrix, alive, sample.query, sample.ids.shape[1])
        found = recall_of(sample.ids, ids[slots])
        with self.lock:
            if self._table is table and table.version == sample.version:
                self._recalls.append(found)

    def recall_is_low(self) -> bool:
        """Whether live queries find less than they ought to; clears the record when it says so."""
        recall = self.live_recall
        if recall is None or recall >= LOWEST_RECALL:
            return False
        self._recalls.clear()
        return True

    def describe(self) -> str:
        """Say in words why queries are answered the way they are."""
        if self.live < SMALLEST_GRAPH:
            return f"{self.live} entries: below {SMALLEST_GRAPH} every entry is compared"
        if not graphs.available():
            return "hnswlib is not installed: every entry is compared"
        if self.graph is None:
            return "the graph is being made: until then every entry is compared"
        if self.speed is None:
            return "both ways are being measured: until then every entry is compared"
        speed = self.speed
        figures = f"exact {speed.exact_us:.0f} µs, graph {speed.graph_us:.0f} µs at recall {speed.recall:.3f}"
        return f"measured on this machine: {figures}"

    def _search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32], bool]:
        table = self._table
        if table is None:
            shape = (len(queries), k)
            return np.full(shape, -1, np.int64), np.full(shape, np.nan, np.float32), True
        if k <= _LARGEST_GRAPH_K and self.graph_answers:
            found = self._search_graph(table, queries, k)
            if found is not None:
                self._sample(table, queries, found[0])
                return *found, False
        return *nearest_rows(table.matrix, _mask(table), queries, k), True

    def _search_graph(
        self, table: Table, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        assert self.graph is not None
        ids = self.graph.search(queries, k)
        if ids is None:
            return None
        slots, found = table.find(ids.reshape(-1))
        if not found.all():
            return None
        slots = slots.reshape(ids.shape)
        # One product for the loop's single query: 1 us less than the general form.
        single = len(queries) == 1
        similarity = (
            (table.matrix[slots[0]] @ queries[0])[np.newaxis]
            if single
            else np.vecdot(table.matrix[slots], queries[:, None, :])
        )
        tail = self._tail(table, self.graph)
        if tail < table.rows:
            late, late_similarity = nearest_rows(table.matrix[tail:], table.alive[tail:], queries, k)
            slots = np.concatenate([slots, np.where(late >= 0, late + tail, -1)], axis=1)
            similarity = np.concatenate([similarity, late_similarity], axis=1)
        if single:  # the general case takes 20 us more
            first = (-similarity[0]).argsort(kind="stable")[:k]
            return slots[0].take(first)[np.newaxis], similarity[0].take(first)[np.newaxis]
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]  # nan sorts last
        return np.take_along_axis(slots, order, axis=1), np.take_along_axis(similarity, order, axis=1)

    def _set_speed(self, speed: Speed | None) -> None:
        self.speed = speed
        if self.graph is not None and speed is not None:
            self.graph.ef = speed.ef
        self.samples.clear()
        self._recalls.clear()

    def _set_thresholds(self, thresholds: Thresholds | None) -> None:
        self.thresholds, self._cuts = thresholds, {}
        if thresholds is None or self._table is None or not thresholds.of_label:
            return
        ids = np.array(list(thresholds.of_label), np.int64)
        slots, found = self._table.find(ids)
        cuts = np.array(list(thresholds.of_label.values()))
        names = [self._table.name(int(slot)) for slot in slots[found]]
        self._cuts = dict(zip(names, cuts[found].tolist(), strict=True))

    def _named(self, id: int, label: str, metadata: str, near: float) -> Match:
        cut = self._cuts.get(label, self.thresholds.similarity) if self.thresholds is not None else None
        return Match(id, label, near, {} if metadata == "{}" else _METADATA.decode(metadata), cut)

    def _sample(self, table: Table, queries: NDArray[np.float32], slots: NDArray[np.int64]) -> None:
        self._searches += 1
        if self._searches % _SAMPLE_EVERY == 0:
            self.samples.append(Sample(queries[:1].copy(), table.ids[slots[:1]], table.version))

    @staticmethod
    def _tail(table: Table, graph: Graph) -> int:
        """First row that is not in the graph."""
        if graph.last_id >= table.last_id:
            return table.rows
        return int(np.searchsorted(table.ids, graph.last_id, "right"))


def _mask(table: Table) -> NDArray[np.bool_] | None:
    return table.alive if table.live < table.rows else None
