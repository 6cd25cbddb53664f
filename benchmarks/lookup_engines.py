"""The gallery and what people would use instead, each in a process of its own: built from vectors, opened, asked.

`lookup.py` starts each as below and gives it work a line; jobs and answers are JSON.

    python benchmarks/lookup_engines.py NAME FOLDER THREADS    FOLDER/vectors.f32: float32 (entries, 256), unit length

    gallery      as `run` uses it; with the entries' checksums, labels and ids, each add on the disk
    hnswlib      the graph alone, no store
    faiss HNSW   IndexHNSWFlat
    usearch      Index, float32
    sqlite-vec   exact, vectors in SQLite; through apsw, as many a Python's own sqlite3 loads no extension
    numpy        exact: one product

All graphs have the same M and ef_construction. The peers keep neither labels nor checksums and wait for no disk.
"""

import json
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

DIM, K, MODEL = 256, 10, "benchmark"
VECTORS, QUERIES, TRUTH = "vectors.f32", "queries.npy", "truth.npy"
NARROWEST, WIDEST = K, 2048
_M, _EF_CONSTRUCTION, _SEED = 16, 200, 100
_BATCH = 20_000
_GALLERY_BATCH = 2000
# Exact search is asked fewer times where it takes long.
_FEW, _LONGEST_TURN_US = 20, 50_000

Vectors = NDArray[np.float32]
Found = NDArray[np.int64]


class Engine(Protocol):
    """One of them.

    Attributes:
        exact: Whether it compares every entry, so that there is no width to choose.
    """

    exact: bool

    def build(self, batches: Iterator[Vectors], entries: int, threads: int) -> None:
        """Make the index and save it."""

    def open(self) -> None:
        """Open what was saved; the first answer may come now."""

    def settle(self) -> None:
        """Wait until the background is done."""

    def widen(self, ef: int) -> None:
        """Set the width of the graph's search."""

    def search(self, query: Vectors) -> Found:
        """Row numbers of the K nearest to a query of shape (dim,)."""

    def add(self, vector: Vectors) -> None:
        """Add one more entry to an opened index and save it."""


class _Peer:
    """What most have in common."""

    exact = False
    file = ""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / self.file)
        self.index: Any = None

    def settle(self) -> None:
        """Nothing goes on in the background."""


class SightlineGallery(_Peer):
    """Ours."""

    file = "gallery"

    def build(self, batches: Iterator[Vectors], entries: int, threads: int) -> None:
        from sightline.runtime import Gallery, NewEntry

        # `rebuild` takes all the cores that this process may use.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        with Gallery.open(self.path, model=MODEL, dim=DIM) as gallery:
            row = 0
            for batch in batches:
                for start in range(0, len(batch), _GALLERY_BATCH):
                    part = batch[start : start + _GALLERY_BATCH]
                    gallery.add_many([NewEntry(f"item {(row + at) // 20}", one) for at, one in enumerate(part)])
                    row += len(part)
            gallery.rebuild()

    def open(self) -> None:
        from sightline.runtime import Gallery

        self.index = Gallery.open(self.path, model=MODEL, create=False)

    def settle(self) -> None:
        self.index.settle()
        self.exact = self.index.stats().search == "exact"

    def widen(self, ef: int) -> None:
        # The gallery chooses its width itself, and widens it when live recall is low. It is set from outside only to
        # compare at equal recall, and stays so only when nobody watches it.
        self.index._caretaker.stop()
        self.index._index.graph.ef = ef

    def search(self, query: Vectors) -> Found:
        return np.asarray(self.index.search(query, K).ids[0] - 1, np.int64)

    def add(self, vector: Vectors) -> None:
        self.index.add("new", vector)


class Hnswlib(_Peer):
    """hnswlib alone."""

    file = "hnswlib.bin"

    def build(self, batches: Iterator[Vectors], entries: int, threads: int) -> None:
        import hnswlib

        index = hnswlib.Index("ip", DIM)
        index.init_index(entries, M=_M, ef_construction=_EF_CONSTRUCTION, random_seed=_SEED)
        for batch in batches:
            index.add_items(batch, num_threads=threads)
        index.save_index(self.path)

    def open(self) -> None:
        import hnswlib

        self.index = hnswlib.Index("ip", DIM)
        self.index.load_index(self.path)

    def widen(self, ef: int) -> None:
        self.index.set_ef(ef)

    def search(self, query: Vectors) -> Found:
        return np.asarray(self.index.knn_query(query, K, num_threads=1)[0][0], np.int64)

    def add(self, vector: Vectors) -> None:
        count = self.index.get_current_count()
        if count == self.index.get_max_elements():
            self.index.resize_index(count + count // 4)
        self.index.add_items(vector, num_threads=1)
        self.index.save_index(self.path)


class Faiss(_Peer):
    """faiss's HNSW over plain float32."""

    file = "faiss.index"

    def build(self, batches: Iterator[Vectors], entries: int, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        index = faiss.IndexHNSWFlat(DIM, _M, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _EF_CONSTRUCTION
        for batch in batches:
            index.add(batch)
        faiss.write_index(index, self.path)

    def open(self) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self.index = faiss.read_index(self.path)

    def widen(self, ef: int) -> None:
        self.index.hnsw.efSearch = ef

    def search(self, query: Vectors) -> Found:
        return np.asarray(self.index.search(query[np.newaxis], K)[1][0], np.int64)

    def add(self, vector: Vectors) -> None:
        import faiss

        self.index.add(vector[np.newaxis])
        faiss.write_index(self.index, self.path)


class Usearch(_Peer):
    """usearch, float32."""

    file = "usearch.index"

    def build(self, batches: Iterator[Vectors], entries: int, threads: int) -> None:
        from usearch.index import Index

        index = Index(ndim=DIM, metric="ip", dtype="f32", connectivity=_M, expansion_add=_EF_CONSTRUCTION)
        for batch in batches:
            index.add(np.arange(len(index), len(index) + len(batch)), batch, threads=threads)
        index.save(self.path)

    def open(self) -> None:
        from usearch.index import Index

        self.index = Index.restore(self.path)

    def widen(self, ef: int) -> None:
        self.index.expansion_search = ef

    def search(self, query: Vectors) -> Found:
        return np.asarray(self.index.search(query, K, threads=1).keys, np.int64)

    def add(self, vector: Vectors) -> None:
        self.index.add(len(self.index), vector, threads=1)
        self.index.save(self.path)


class SqliteVec(_Peer):
    """sqlite-vec's vec0 table."""

    exact = True
    file = "vectors.db"

    def _connect(self) -> None:
        import apsw
        import sqlite_vec

        self.index = apsw.Connection(self.path)
        self.index.enable_load_extension(True)
        self.index.load_extension(sqlite_vec.loadable_path())

    def build(self, batches: Iterator[Vectors], entries: int, threads: int) -> None:
        self._connect()
        self.index.execute(f"CREATE VIRTUAL TABLE items USING vec0(embedding FLOAT[{DIM}] distance_metric=cosine)")
        for batch in batches:
            with self.index:
                rows = ((one.tobytes(),) for one in batch)
                self.index.executemany("INSERT INTO items (embedding) VALUES (?)", rows)

    def open(self) -> None:
        self._connect()

    def search(self, query: Vectors) -> Found:
        statement = f"SELECT rowid FROM items WHERE embedding MATCH ? AND k = {K}"
        return np.array([row[0] for row in self.index.execute(statement, (query.tobytes(),))], np.int64) - 1

    def add(self, vector: Vectors) -> None:
        self.index.execute("INSERT INTO items (embedding) VALUES (?)", (vector.tobytes(),))


class Numpy(_Peer):
    """One product, and the largest of it."""

    exact = True
    file = "numpy.npy"

    def build(self, batches: Iterator[Vectors], entries: int, threads: int) -> None:
        np.save(self.path, np.concatenate(list(batches)))

    def open(self) -> None:
        self.index = np.load(self.path)

    def search(self, query: Vectors) -> Found:
        scores = self.index @ query
        best = np.argpartition(scores, len(scores) - K)[-K:]
        return np.asarray(best[np.argsort(-scores[best])], np.int64)

    def add(self, vector: Vectors) -> None:
        self.index = np.concatenate([self.index, vector[np.newaxis]])
        np.save(self.path, self.index)


OURS = "gallery"
ENGINES: dict[str, tuple[type[Engine], tuple[str, ...]]] = {
    OURS: (SightlineGallery, ("sightline.runtime.gallery", "hnswlib")),
    "hnswlib": (Hnswlib, ("hnswlib",)),
    "faiss HNSW": (Faiss, ("faiss",)),
    "usearch": (Usearch, ("usearch.index",)),
    "sqlite-vec": (SqliteVec, ("apsw", "sqlite_vec")),
    "numpy": (Numpy, ()),
}
GRAPHS = ("hnswlib", "faiss HNSW", "usearch")


def memory_mb(field: str) -> float:
    """This process's resident memory (VmRSS) or its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


class Worker:
    """The jobs that `lookup.py` asks for.

    Every figure of memory is over what the process held when all was imported.
    """

    def __init__(self, engine: Engine, folder: Path, threads: int) -> None:
        self._engine, self._folder, self._threads = engine, folder, threads
        self._imported_mb = memory_mb("VmRSS")

    def build(self) -> dict[str, float]:
        """Build from the file, which is read in batches so that its own memory is not charged."""
        path, size = self._folder / VECTORS, 4 * DIM
        entries = path.stat().st_size // size
        starts = range(0, entries, _BATCH)
        batches = (np.fromfile(path, np.float32, _BATCH * DIM, offset=at * size).reshape(-1, DIM) for at in starts)
        begun, worked = perf_counter(), process_time()
        self._engine.build(batches, entries, self._threads)
        took = {"build, s": perf_counter() - begun, "build, CPU s": process_time() - worked}
        return took | {"build peak, MB": memory_mb("VmHWM") - self._imported_mb}

    def open(self) -> dict[str, float]:
        """Open and answer once; then wait for what the background still does."""
        queries, begun = np.load(self._folder / QUERIES), perf_counter()
        self._engine.open()
        self._engine.search(queries[0])
        first_s = perf_counter() - begun
        self._engine.settle()
        settled_s = perf_counter() - begun
        for query in queries[:50]:
            self._engine.search(query)
        held, peak = (memory_mb(field) - self._imported_mb for field in ("VmRSS", "VmHWM"))
        return {"open, s": first_s, "settled, s": settled_s, "memory, MB": held, "open peak, MB": peak}

    def narrow(self, wanted: float | None) -> dict[str, float]:
        """Find and set the narrowest search that reaches a recall@10, None to leave it; gives the recall reached."""
        if self._engine.exact or wanted is None:
            return {"exact": self._engine.exact, "ef": 0, "recall": self._recall(_FEW if self._engine.exact else None)}
        low = high = NARROWEST
        while self._reached(high) < wanted and high < WIDEST:
            low, high = high + 1, min(2 * high, WIDEST)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._reached(middle) >= wanted else (middle + 1, high)
        return {"exact": False, "ef": high, "recall": self._reached(high)}

    def times_us(self, first: int, count: int) -> list[float]:
        """Microseconds of each of some look-ups; fewer where they take long."""
        times: list[float] = []
        for query in np.load(self._folder / QUERIES)[first : first + count]:
            begun = perf_counter()
            self._engine.search(query)
            times.append(1e6 * (perf_counter() - begun))
            if sum(times) > _LONGEST_TURN_US:
                break
        return times

    def add_ms(self, count: int) -> list[float]:
        """Milliseconds of adding one entry, far from every query, and saving it."""
        times = []
        for query in np.load(self._folder / QUERIES)[:count]:
            begun = perf_counter()
            self._engine.add(-query)
            times.append(1e3 * (perf_counter() - begun))
        return times

    def _reached(self, ef: int) -> float:
        self._engine.widen(ef)
        return self._recall()

    def _recall(self, count: int | None = None) -> float:
        queries, truth = np.load(self._folder / QUERIES)[:count], np.load(self._folder / TRUTH)[:count]
        found = np.stack([self._engine.search(query) for query in queries])
        return float((found[:, :, np.newaxis] == truth[:, np.newaxis]).any(axis=1).mean())


def main() -> None:
    """Answer jobs until there are none: a job is [method, arguments]."""
    name, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    # What a library prints is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    engine, needed = ENGINES[name]
    try:
        for module in needed:
            import_module(module)
    except ImportError as error:
        return tell({"missing": str(error)})
    worker = Worker(engine(folder), folder, threads)
    tell({})
    for job, arguments in map(json.loads, sys.stdin):
        tell(getattr(worker, job)(*arguments))
    return None


if __name__ == "__main__":
    main()
