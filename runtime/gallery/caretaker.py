"""The background thread that keeps the graph: loads, rebuilds, catches up, measures, watches recall, saves.

Queries are answered exactly from the vectors until it is done, so nothing that happens here can make an
answer wrong or late; what fails here is remembered as `trouble` and tried again at the next occasion.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryError, first_line
from ..reporter import QuietReporter, Reporter
from . import graph as graphs
from .calibration import Aim, FitStopped, Shelf, Thresholds, fit
from .calibration_rows import read_thresholds, write_negatives, write_thresholds
from .container import DoubtfulGraph, GraphHeader, Links, read_container, write_container
from .folder import GRAPH
from .follow import other_model
from .graph import Graph
from .index import SearchIndex
from .schema import Head
from .speed import SMALLEST_GRAPH, WIDEST_SEARCH, machine, measure
from .store import Store

_DELETED_SHARE = 0.2
_COPIED_AT_ONCE = 4096
_GROWTH = 1.5
# One insertion takes about half a millisecond at 100,000 entries: queries wait for eight at most.
_CATCH_UP = 8
_UNSAVED_SHARE = 0.1
_QUIET_S = 1.0
# Thresholds are fitted anew after a change, and take a tenth of one core at most.
_REFIT_SHARE = 0.1
_REFIT_LEAST_S = 0.5


class Caretaker:
    """Looks after one gallery's graph.

    Attributes:
        trouble: The last failure that was worked around, or None.
        graph_note: What was found in the graph's file, or None where it was whole or missing.
    """

    def __init__(self, store: Store, index: SearchIndex, head: Head) -> None:
        self.trouble: str | None = None
        self.graph_note: str | None = None
        self._store, self._index, self._head = store, index, head
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._paused = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._work_lock = threading.Lock()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._log_dirty = False
        self._file_read = False
        self._unsaved = 0
        self._refit_from_s: float | None = None
        self._refitted_s = -1e9
        self._refit_pause_s = 0.0

    def wake(self) -> None:
        """Have what is due done soon, in the background."""
        if self._stopped.is_set():
            return
        self._idle.clear()
        self._wanted.set()
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="gallery-caretaker", daemon=True)
                self._thread.start()

    def wrote(self) -> None:
        """Note that the log has grown: it is copied back when writing pauses."""
        self._log_dirty = True
        self.wake()

    def settle(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is due; False after `timeout_s`."""
        self.wake()
        return self._idle.wait(timeout_s)

    def stop(self) -> None:
        """End the thread and save what it learnt."""
        self._stopped.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
        if self._unsaved:
            self._attempt_save()

    def rebuild(self, reporter: Reporter | None = None) -> None:
        """Build, measure and save the graph now, in the caller's thread with all cores."""
        self._paused.set()  # the thread's own build, of low priority, is not waited for
        with self._work_lock:
            self._paused.clear()
            if self._index.live >= SMALLEST_GRAPH and graphs.available():
                self._build(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, reporter)
                self._measure()
                self._save()
            else:
                self._drop()

    def calibrate(self, aim: Aim, negatives: NDArray[np.float32] | None) -> Thresholds | None:
        """Fit thresholds now, in the caller's thread, and store them, with new negatives where there are any."""
        fitted = fit_thresholds(self._index, self._store.negatives() if negatives is None else negatives, aim)
        if fitted is not None:
            with self._store.transaction() as (writer, head):
                if head.model_id != self._head.model_id:
                    raise other_model(self._store.folder, head.model_id, self._head.model_id)
                if negatives is not None:
                    write_negatives(writer, head.model_id, negatives)
                write_thresholds(writer, fitted)
            self._index.set_thresholds(fitted)
        return fitted

    def _loop(self) -> None:
        _lower_priority()
        while not self._stopped.is_set():
            if not self._wanted.wait(self._patience()) and self._refit_from_s is None:
                self._empty_log()
                continue
            self._wanted.clear()
            try:
                with self._work_lock:
                    self._refit()
                    self._work()
            # Whatever it is: a thread that is gone would never be missed, and `settle` would wait for it.
            except Exception as error:
                self.trouble = f"the graph or the thresholds could not be kept: {first_line(error)}"
            if not self._wanted.is_set() and self._refit_from_s is None:
                self._idle.set()
        self._idle.set()

    def _patience(self) -> float | None:
        if self._refit_from_s is not None:
            return max(0.01, self._refit_from_s - time.monotonic())
        return _QUIET_S if self._log_dirty else None

    def _refit(self) -> None:
        """Fit the thresholds anew where entries came or went; later where that was done just now."""
        self._refit_from_s = None
        if not self._index.thresholds_are_old:
            return
        due_s = self._refitted_s + self._refit_pause_s
        if time.monotonic() < due_s:
            self._refit_from_s = due_s
            return
        started_s, before = time.monotonic(), self._index.thresholds
        try:
            thresholds = fit_thresholds(self._index, self._store.negatives(), stopped=self._stopped.is_set)
        except FitStopped:
            return  # whoever opens the gallery next makes up for it
        self._refitted_s = time.monotonic()
        self._refit_pause_s = max(_REFIT_LEAST_S, (self._refitted_s - started_s) / _REFIT_SHARE)
        if not self._index.exchange_thresholds(before, thresholds) or not self._store.writable or thresholds is None:
            return
        with self._store.transaction() as (writer, head):
            # Another process may have calibrated, or forgotten the calibration, meanwhile: its word stands.
            if head.epoch == self._index.epoch and read_thresholds(writer) == before:
                write_thresholds(writer, thresholds)

    def _work(self) -> None:
        index = self._index
        if not graphs.available() or index.live < SMALLEST_GRAPH:
            if index.graph is not None:
                index.set_graph(None, np.empty(0, np.int64), None)
            return
        if index.graph is None and not self._file_read:
            self._file_read = True
            self._load()
        if index.graph is None or index.graph.deleted_share > _DELETED_SHARE:
            self._build(threads=1)
        self._catch_up()
        if self._must_measure():
            self._measure()
        self._watch_recall()
        if self._unsaved > _UNSAVED_SHARE * index.live:
            self._attempt_save()

    def _load(self) -> None:
        path = self._store.folder / GRAPH
        if not path.exists():
            return
        try:
            header, links = read_container(path)
            self._check_belongs(header)
            graph = self._join(header, links)
        except (DoubtfulGraph, OSError) as error:
            self.graph_note = f"the graph's file was not used: {error}; it is made anew from the vectors"
            return
        self._index.set_graph(graph, links.ids, header.speed)
        self._unsaved = 0
        del graph, links
        _return_freed_memory()

    def _check_belongs(self, header: GraphHeader) -> None:
        table, head = self._index.table, self._head
        if header.gallery != head.uuid.hex():
            raise DoubtfulGraph("it belongs to another gallery")
        if (header.model_id, header.epoch) != (head.model_id, self._index.epoch):
            raise DoubtfulGraph("it was made from another model's embeddings")
        if table is None or header.dim != table.dim or header.space != graphs.SPACE:
            raise DoubtfulGraph("it was made for vectors of another kind")

    def _join(self, header: GraphHeader, links: Links) -> Graph:
        nodes = graphs.nodes_of(links, header.dim)
        with self._index.lock:
            table = self._index.table
            assert table is not None
            slots, found = table.find(links.ids)
            if (table.checksums[slots[found]] != links.checksums[found]).any():
                raise DoubtfulGraph("its links were made for other entries")
            if links.ids.max() > self._index.newest_id:
                raise DoubtfulGraph("it is newer than the gallery")
            for start in range(0, len(slots), _COPIED_AT_ONCE):
                rows = slice(start, start + _COPIED_AT_ONCE)
                nodes["vector"][rows] = table.matrix[slots[rows]]
        if (~found).sum() > _DELETED_SHARE * len(found):
            raise DoubtfulGraph("too many of its entries were removed")
        nodes["vector"][~found] = 0.0
        graphs.fill_from_neighbours(nodes["vector"], ~found, links.base)
        return Graph.from_nodes(header, links, nodes)

    def _build(self, threads: int, reporter: Reporter | None = None) -> None:
        with self._index.lock:
            table = self._index.table
            assert table is not None
            ids, vectors = table.ids, table.matrix
            if table.live < table.rows:
                ids, vectors = ids[table.alive], vectors[table.alive]
        with (reporter or QuietReporter()).task("Building the graph", len(ids)) as task:
            graph = graphs.build(ids, vectors, threads, self._interrupted, task.advance)
        if graph is not None:
            self._index.set_graph(graph, ids, None)
            self._unsaved = len(ids)

    def _catch_up(self) -> None:
        while not self._interrupted() and (added := self._index.catch_up(_CATCH_UP)):
            self._unsaved += added
            self._stopped.wait(0.001)  # let waiting queries in between: the lock is not fair

    def _interrupted(self) -> bool:
        return self._stopped.is_set() or self._paused.is_set()

    def _must_measure(self) -> bool:
        speed, live = self._index.speed, self._index.live
        if self._index.graph is None or self._interrupted():
            return False
        if speed is None or speed.machine != machine():
            return True
        return not speed.rows / _GROWTH <= live <= speed.rows * _GROWTH

    def _measure(self, narrowest: int = 0) -> None:
        with self._index.lock:
            table, graph = self._index.table, self._index.graph
            if table is None or graph is None:
                return
            ids, matrix, alive = table.ids, table.matrix, table.alive
        self._index.set_speed(measure(graph, ids, matrix, alive, narrowest))
        self._unsaved = max(self._unsaved, self._index.live)

    def _watch_recall(self) -> None:
        index = self._index
        while index.samples and not self._stopped.is_set():
            index.count_recall(index.samples.popleft())
        if index.speed is None or not index.recall_is_low():
            return
        if index.speed.ef >= WIDEST_SEARCH:
            self._build(threads=1)
        self._measure(narrowest=2 * index.speed.ef if index.speed is not None else 0)

    def _attempt_save(self) -> None:
        try:
            self._save()
        except OSError as error:
            self.trouble = f"the graph's file could not be written ({error.strerror or error}): it stays as it was"

    def _save(self) -> None:
        index, speed = self._index, self._index.speed
        graph, self._unsaved = index.graph, 0
        if graph is None or len(graph) == 0 or not self._store.writable:
            return
        links = graph.links(self._checksums_of)
        header = graph.header(self._head.uuid, self._head.model_id, index.epoch, links, speed)
        write_container(self._store.folder / GRAPH, header, links)

    def _checksums_of(self, ids: NDArray[np.int64]) -> NDArray[np.uint32]:
        with self._index.lock:
            table = self._index.table
            assert table is not None
            slots, found = table.find(ids)
            return np.where(found, table.checksums[slots], 0).astype(np.uint32)

    def _drop(self) -> None:
        self._index.set_graph(None, np.empty(0, np.int64), None)
        if self._store.writable:
            (self._store.folder / GRAPH).unlink(missing_ok=True)

    def _empty_log(self) -> None:
        self._log_dirty = False
        try:
            self._store.checkpoint()
        except GalleryError as error:
            self.trouble = str(error)


def fit_thresholds(
    index: SearchIndex,
    negatives: NDArray[np.float32],
    aim: Aim | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Thresholds | None:
    """Fit thresholds to the entries in memory; `aim` is that of the last fit where none is given.

    Raises:
        FitStopped: `stopped` said so.
    """
    with index.lock:
        table, generation, old = index.table, index.generation, index.thresholds
        wanted = aim or (old.aim if old is not None else None)
        if table is None or wanted is None:
            return None
        # Rows that a removal zeroes meanwhile score nothing, and the next fit is without them.
        matrix, alive = table.matrix, table.alive.copy()
        labels, ids = table.labels.astype(np.int64), table.ids
    return fit(Shelf.of(matrix, labels, alive), ids, negatives, wanted, generation, stopped)


def _return_freed_memory() -> None:
    # glibc keeps what the load's temporary arrays took: 5 to 10 MB at 100,000 entries. Elsewhere there is no such call.
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _lower_priority() -> None:
    # On Linux niceness belongs to the thread: the camera loop keeps its cores.
    with suppress(AttributeError, OSError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(10, os.getpriority(os.PRIO_PROCESS, thread)))
