"""`Gallery`: what a device looks things up in, and what it is taught.

An add or a remove first goes to SQLite and returns when it is on the disk; the memory then takes in what was
committed, by whomever, in the order of the commits. Queries are answered from memory alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryError
from ..preprocess import Image
from ..recognition import Match
from ..reporter import Reporter
from .calibration import Aim, Thresholds
from .calibration_rows import forget_calibration
from .caretaker import Caretaker
from .check import check_folder
from .entries import entry_of, prepare, unit_rows
from .folder import gallery_folder, remove_stale_temporaries
from .follow import Follower, other_model
from .index import SearchIndex
from .schema import Head, explained
from .speed import SMALLEST_GRAPH
from .stats import describe
from .store import Store
from .values import CheckReport, Entry, GalleryStats, Matches, NewEntry
from .views import Snapshot

_PAGE = 256


class Gallery:
    """An open gallery. Every method may be called from any thread, and by several processes on one folder.

    Use it as a context manager, or call `close`.

    Attributes:
        path: Its folder.
        model_id: The embedding space of its entries.
    """

    def __init__(self, store: Store, head: Head) -> None:
        self.path = store.folder
        self.model_id = head.model_id
        self._store = store
        self._index = SearchIndex()
        self._caretaker = Caretaker(store, self._index, head)
        self._follower = Follower(store, self._index, head.model_id)
        self._closed = False

    @classmethod
    def open(cls, path: str | Path, model: str | None = None, create: bool = True, dim: int | None = None) -> "Gallery":
        """Open a gallery, checking every entry's checksum: about a second for 100,000 entries.

        Args:
            path: Its folder.
            model: The embedding model in use (`Recognizer.model_id`); None takes the gallery's own, for
                work that neither adds nor searches by embedding.
            create: Make it where it is missing; needs `model`.
            dim: Width of the embeddings, where known; else the first entry sets it.

        Raises:
            GalleryError: It is missing, damaged, of a newer schema, of another model, locked, the address of an
                engine (see `open_catalogue`), or cannot be read or made.
        """
        folder = gallery_folder(path)
        store = Store.open(folder, model, create, dim)
        try:
            head = store.head()
            _check_fits(folder, head, model, dim)
            gallery = cls(store, head)
            gallery._follower.load()
            if store.writable:
                remove_stale_temporaries(store.folder)
        except BaseException:
            store.close()
            raise
        return gallery

    def close(self) -> None:
        """Save what the graph learnt and close; everything acknowledged is on the disk already."""
        if not self._closed:
            self._closed = True
            self._caretaker.stop()
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        self._notice_changes()
        return self._index.live

    def __contains__(self, id: object) -> bool:
        self._notice_changes()
        with self._index.lock:
            table = self._index.table
            return table is not None and isinstance(id, int) and bool(table.find(np.array([id]))[1][0])

    def add(
        self,
        label: str,
        embedding: NDArray[np.float32],
        *,
        crop: Image | None = None,
        metadata: Mapping[str, str] | None = None,
        source: str | None = None,
    ) -> int:
        """Store one item; returns its id when it is on the disk. See `NewEntry` for the arguments.

        Raises:
            GalleryError: It cannot be stored; the gallery is as it was.
            InputError: The crop is no frame.
        """
        return self.add_many([NewEntry(label, embedding, crop, metadata or {}, source)])[0]

    def add_many(self, entries: Sequence[NewEntry]) -> list[int]:
        """Store several items in one transaction: all or none. Returns their ids.

        Raises:
            GalleryError: One cannot be stored; the gallery is as it was.
            InputError: A crop is no frame.
        """
        self._require_open()
        if not entries:
            return []
        dim = self.dim or int(np.atleast_2d(entries[0].embedding).shape[-1])
        ids = self._store.append([prepare(entry, self.model_id, dim) for entry in entries], self.model_id, dim)
        self._take_in_written()
        return ids

    def remove(self, ids: Sequence[int]) -> int:
        """Remove entries, vectors and pictures overwritten; unknown ids are passed over.

        Returns:
            How many there were.

        Raises:
            GalleryError: They could not be removed, or traces remain because another process reads them.
        """
        self._require_open()
        count = self._store.delete([int(id) for id in ids])
        self._take_in_written()
        if count:
            self._store.erase_traces()
        return count

    def search(self, queries: NDArray[np.float32], k: int = 5) -> Matches:
        """Find the nearest entries.

        Args:
            queries: float32, shape (dim,) or (queries, dim).
            k: How many to find of each.

        Raises:
            GalleryError: The queries are of another width, not finite, or zero.
        """
        checked = self._checked(queries, k)
        matches = self._index.search(checked, k)
        self._after_search()
        return matches

    def match(self, embedding: NDArray[np.float32], k: int = 5) -> tuple[Match, ...]:
        """The nearest entries to one embedding, with label and metadata, most similar first.

        Args:
            embedding: float32, shape (dim,).
            k: How many to find at most.

        Raises:
            GalleryError: The embedding is of another width, not finite, or zero.
        """
        checked = self._checked(embedding, k)
        if len(checked) != 1:
            raise GalleryError(f"match takes one embedding, not {len(checked)}: use search")
        matches = self._index.match(checked, k)
        self._after_search()
        return matches

    def match_among(
        self, query: NDArray[np.float32] | int, k: int, label: str | None, where: Mapping[str, str]
    ) -> tuple[Match, ...]:
        """The nearest of a selection of entries, compared one by one, most similar first.

        Args:
            query: float32, shape (dim,), or the id of an entry, which does not find itself.
            k: How many to find at most.
            label: Only entries of this label; None takes all.
            where: Only entries with this metadata.

        Raises:
            GalleryError: There is no such entry, or the query is of another width, not finite, or zero.
        """
        entries = self.snapshot()
        own = query if isinstance(query, int) else None
        vector = entries.vectors[entries.row(query)] if isinstance(query, int) else unit_rows(query, self.dim)[0]
        matches = entries.select(label, where).nearest(vector, k if own is None else k + 1)
        return tuple(match for match in matches if match.id != own)[:k]

    @property
    def dim(self) -> int | None:
        """Width of its vectors; None while it is empty and was made without one."""
        return self._index.table.dim if self._index.table is not None else None

    def entry(self, id: int) -> Entry:
        """One entry.

        Raises:
            GalleryError: There is none of this id.
        """
        self._require_open()
        rows = self._store.entry_rows(int(id) - 1, 1)
        if not rows or rows[0][0] != id:
            raise GalleryError(f"gallery '{self.path}' has no entry {id}: 'sightline gallery list' names them")
        return entry_of(rows[0])

    def vectors(self, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The unit vectors of entries, float32 of shape (dim,), by id; unknown ids are passed over."""
        with self._index.lock:
            table = self._index.table
            if table is None:
                return {}
            slots, there = table.find(np.array(ids, np.int64))
            found = zip(ids, slots, there, strict=True)
            return {id: table.matrix[slot].copy() for id, slot, known in found if known}

    def entries(self, label: str | None = None) -> Iterator[Entry]:
        """Go through the entries, of one label or all, by id; changes made meanwhile may be seen."""
        self._require_open()
        after = 0
        while rows := self._store.entry_rows(after, _PAGE, label):
            yield from map(entry_of, rows)
            after = rows[-1][0]

    def crop(self, id: int) -> bytes | None:
        """The entry's picture, JPEG, or None where none is kept.

        Raises:
            GalleryError: It is damaged or cannot be read.
        """
        self._require_open()
        return self._store.crop(int(id))

    def labels(self) -> dict[str, int]:
        """Entries of each label, most first."""
        self._notice_changes()
        with self._index.lock:
            return self._index.table.label_counts() if self._index.table is not None else {}

    def ids_of(self, label: str) -> list[int]:
        """Ids of the entries of a label."""
        self._notice_changes()
        with self._index.lock:
            return self._index.table.ids_of(label) if self._index.table is not None else []

    def snapshot(self) -> Snapshot:
        """A copy of all entries in memory, to look at the collection as a whole; see `views`."""
        self._notice_changes()
        return self._index.snapshot()

    def stats(self) -> GalleryStats:
        """Size, and how queries are answered at this moment and why."""
        labels, trouble = len(self.labels()), self._follower.trouble or self._caretaker.trouble or self._index.note
        return describe(self._store, self._index, self.model_id, labels, trouble or self._caretaker.graph_note)

    @property
    def thresholds(self) -> Thresholds | None:
        """When a match counts as known; None where the gallery was never calibrated."""
        self._notice_changes()
        return self._index.thresholds

    def calibrate(
        self, false_accepts: float, fallback: float, negatives: NDArray[np.float32] | None = None
    ) -> Thresholds:
        """Fit thresholds to the entries and to negatives, and store both; refitted as entries come and go.

        Args:
            false_accepts: Share of negatives that may be given a label, 0 to 1; see `Aim`.
            fallback: The threshold where there is too little to measure one: the bundle's own.
            negatives: float32, shape (negatives, dim): embeddings of what is no item, in order; None keeps the old.

        Raises:
            GalleryError: The gallery is empty, the negatives do not fit, or it cannot be written.
        """
        self._require_open()
        rows = None if negatives is None else unit_rows(negatives, self.dim)
        fitted = self._caretaker.calibrate(Aim(false_accepts, fallback), rows)
        if fitted is None:
            raise GalleryError(f"gallery '{self.path}' is empty: add items first, then calibrate")
        return fitted

    def forget_calibration(self) -> None:
        """Delete thresholds and negatives: the bundle's own threshold holds again."""
        self._require_open()
        with self._store.transaction() as (writer, _):
            forget_calibration(writer)
        self._index.set_thresholds(None)
        self._store.erase_traces()

    def check(self) -> CheckReport:
        """Read every byte of the files and report damage.

        Raises:
            GalleryError: The files are gone.
        """
        return check_folder(self.path)

    def rebuild(self, reporter: Reporter | None = None) -> None:
        """Make the graph anew, measure it, and save it, with all cores; give back the room of removed entries.

        Raises:
            GalleryError: Its file could not be written; the one before it is whole.
        """
        self._require_open()
        with explained(self.path):
            self._caretaker.rebuild(reporter)
        if self._store.writable:
            self._store.compact()

    @property
    def wants_graph(self) -> bool:
        """Whether it is large enough that a graph may be faster than comparing every entry."""
        return self._index.live >= SMALLEST_GRAPH

    def settle(self, timeout_s: float | None = None) -> bool:
        """Wait until the background has nothing left to do on the graph; False after `timeout_s`."""
        return self._caretaker.settle(timeout_s)

    def _checked(self, queries: NDArray[np.float32], k: int) -> NDArray[np.float32]:
        if k < 1:
            raise GalleryError(f"k is at least 1, not {k}")
        self._notice_changes()
        return unit_rows(queries, self.dim)

    def _after_search(self) -> None:
        index = self._index
        if index.samples or index.thresholds_are_old or (index.graph is None and index.live >= SMALLEST_GRAPH):
            self._caretaker.wake()

    def _take_in_written(self) -> None:
        self._follower.take_in_written()
        self._caretaker.wrote()

    def _notice_changes(self) -> None:
        self._require_open()
        self._follower.notice()

    def _require_open(self) -> None:
        if self._closed:
            raise GalleryError(f"gallery '{self.path}' is closed: open it again")


def _check_fits(path: Path, head: Head, model: str | None, dim: int | None) -> None:
    if model is not None and model != head.model_id:
        raise other_model(path, head.model_id, model)
    if dim is not None and head.dim not in (None, dim):
        raise GalleryError(f"gallery '{path}' holds embeddings of {head.dim} dimensions, not {dim}")
