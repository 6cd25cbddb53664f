"""The gallery beside faiss HNSW, usearch and hnswlib alone: one run, one thread, equal recall.

    python benchmarks/gallery.py [--entries 10000] [--recall 0.99] [--folder FOLDER] [--peers FOLDER]

Vectors are clustered and seeded, 256 wide; queries are fresh points of the same clusters. The gallery chooses its own
width, on its own vectors; every other engine searches as narrowly as reaches the wanted recall@10 and the gallery's, to
a thousandth. All are asked in turns, so that a noisy machine disturbs all alike. Where
faiss or usearch is not installed it is left out; `pip install faiss-cpu usearch --target FOLDER` and --peers FOLDER
bring them. hnswlib's and the gallery's graphs have the same M and ef_construction, and so have the others'.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from sightline.runtime import Gallery, NewEntry
from sightline.runtime.gallery.graph import EF_CONSTRUCTION, M
from sightline.runtime.gallery.nearest import nearest_rows
from sightline.runtime.gallery.speed import recall_of

DIM, K, MODEL = 256, 10, "benchmark"
WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
QUERIES, TURN, THREADS = 1000, 20, 2
ADDS = 200
_SAME_RECALL = 0.001

Vectors = NDArray[np.float32]
Found = NDArray[np.int64]


@dataclass
class Engine:
    """A name, what sets its width (None where it chooses itself), and what finds row numbers."""

    name: str
    widen: Callable[[int], None] | None
    search: Callable[[Vectors], Found]
    width: int = 0
    recall: float = 0.0


def clustered(entries: int, queries: int, dim: int = DIM) -> tuple[Vectors, Vectors]:
    """Unit vectors around entries / 20 centres, and queries from the same."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((max(1, entries // 20), dim)).astype(np.float32)
    rows = centres[random.integers(0, len(centres), entries + queries)]
    rows += 0.7 * random.standard_normal(rows.shape).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[:entries], rows[entries:]


def engines(vectors: Vectors, gallery: Gallery) -> Iterator[Engine]:
    """Everything that is to be had, built from the same vectors."""
    yield Engine("gallery", None, lambda query: gallery.search(query, K).ids[0] - 1)
    for build in (_hnswlib, _faiss, _usearch):
        start = perf_counter()
        try:
            engine = build(vectors)
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        print(f"{engine.name}: built in {perf_counter() - start:.1f} s", file=sys.stderr)
        yield engine


def _hnswlib(vectors: Vectors) -> Engine:
    import hnswlib

    index = hnswlib.Index("ip", DIM)
    index.init_index(len(vectors), M=M, ef_construction=EF_CONSTRUCTION, random_seed=100)
    index.add_items(vectors, num_threads=THREADS)
    return Engine(
        "hnswlib alone", index.set_ef, lambda query: index.knn_query(query, K, num_threads=1)[0][0].astype(np.int64)
    )


def _faiss(vectors: Vectors) -> Engine:
    import faiss

    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexHNSWFlat(DIM, M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    return Engine(
        "faiss HNSW",
        lambda width: setattr(index.hnsw, "efSearch", width),
        lambda query: index.search(query[None], K)[1][0],
    )


def _usearch(vectors: Vectors) -> Engine:
    from usearch.index import Index

    index = Index(ndim=DIM, metric="ip", dtype="f32", connectivity=M, expansion_add=EF_CONSTRUCTION)
    index.add(np.arange(len(vectors)), vectors, threads=THREADS)
    return Engine(
        "usearch",
        lambda width: setattr(index, "expansion_search", width),
        lambda query: index.search(query, K, threads=1).keys.astype(np.int64),
    )


def narrow(engine: Engine, queries: Vectors, truth: Found, wanted: float) -> None:
    """Find the narrowest search that reaches the recall."""
    for width in WIDTHS if engine.widen is not None else (0,):
        if engine.widen is not None:
            engine.widen(width)
        engine.width, engine.recall = width, recall_of(np.stack([engine.search(query) for query in queries]), truth)
        if engine.recall >= wanted:
            return


def race(all_engines: list[Engine], queries: Vectors) -> dict[str, list[float]]:
    """Microseconds of every look-up, engines in turns."""
    times: dict[str, list[float]] = {engine.name: [] for engine in all_engines}
    for start in range(0, len(queries), TURN):
        for engine in all_engines:
            for query in queries[start : start + TURN]:
                begun = perf_counter()
                engine.search(query)
                times[engine.name].append(1e6 * (perf_counter() - begun))
    return times


def build_gallery(folder: Path, vectors: Vectors) -> None:
    """Fill and save a gallery, its graph included; one that is there is taken as it is."""
    if (folder / "gallery.db").exists():
        return
    with Gallery.open(folder, model=MODEL) as gallery:
        for start in range(0, len(vectors), 2000):
            part = vectors[start : start + 2000]
            gallery.add_many([NewEntry(f"item {(start + row) // 20}", one) for row, one in enumerate(part)])
        begun = perf_counter()
        gallery.rebuild()
        print(f"gallery: graph built and measured in {perf_counter() - begun:.1f} s", file=sys.stderr)


_OPENING = """
import json, sys, time
import numpy as np
from sightline.runtime import Gallery
import hnswlib
def rss():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))
query = np.random.default_rng(1).standard_normal(256).astype(np.float32)
before, start = rss(), time.perf_counter()
gallery = Gallery.open(sys.argv[1], model="benchmark", create=False)
gallery.match(query, 10)
first = time.perf_counter() - start
gallery.settle(120)
for _ in range(50):
    gallery.match(query, 10)
print(json.dumps({"open_to_first_answer_s": first, "memory_bytes": rss() - before, "search": gallery.stats().search}))
"""


def opening(folder: Path) -> dict[str, float | str]:
    """Open to first answer and resident memory, in a process of its own; imports are not counted."""
    done = subprocess.run([sys.executable, "-c", _OPENING, str(folder)], capture_output=True, text=True, check=True)
    figures: dict[str, float | str] = json.loads(done.stdout)
    return figures


def adding(folder: Path) -> list[float]:
    """Milliseconds of single adds with a picture, each on the disk when it returns."""
    random, times = np.random.default_rng(3), []
    picture = random.integers(0, 256, (160, 160, 3), np.uint8)
    with Gallery.open(folder, model=MODEL) as gallery:
        for row in random.standard_normal((ADDS, DIM)).astype(np.float32):
            start = perf_counter()
            gallery.add("new", row, crop=picture)
            times.append(1e3 * (perf_counter() - start))
        gallery.remove(gallery.ids_of("new"))
    return times


def replaced(folder: Path, vectors: Vectors, queries: Vectors) -> float:
    """Recall@10 after half the entries were removed and others put in their place."""
    fresh = np.roll(vectors[::2], 1, axis=1)
    with Gallery.open(folder, model=MODEL) as gallery:
        gallery.remove(list(range(1, len(vectors) + 1, 2)))
        ids = gallery.add_many([NewEntry("replaced", row) for row in fresh])
        gallery.settle(600)
        held = np.concatenate([vectors[1::2], fresh])
        numbers = np.concatenate([np.arange(2, len(vectors) + 1, 2), ids])
        truth = numbers[nearest_rows(held, None, queries, K)[0]]
        found = np.stack([gallery.search(query, K).ids[0] for query in queries])
        print(f"answered by: {gallery.stats().search}", file=sys.stderr)
        return recall_of(found, truth)


def main() -> None:
    """Print a line an engine, then the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--recall", type=float, default=0.99, help="recall@10 that every engine must reach")
    parser.add_argument("--folder", help="keep the gallery here and take it from here")
    parser.add_argument("--peers", help="folder with more packages")
    parser.add_argument("--replace", action="store_true", help="also remove and replace half; changes the gallery")
    options = parser.parse_args()
    if options.peers:
        sys.path.append(options.peers)
    vectors, queries = clustered(options.entries, QUERIES)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(options.folder or place) / f"{options.entries}.gallery"
        folder.parent.mkdir(parents=True, exist_ok=True)
        build_gallery(folder, vectors)
        _compare(folder, vectors, queries, options.recall)
        _rest(folder, vectors, queries, options.replace)


def _compare(folder: Path, vectors: Vectors, queries: Vectors, wanted: float) -> None:
    truth = nearest_rows(vectors, None, queries, K)[0]
    with Gallery.open(folder, model=MODEL) as gallery:
        gallery.match(queries[0], K)
        gallery.settle(600)
        print(f"gallery answers by: {gallery.stats().search} ({gallery.stats().reason})")
        field = list(engines(vectors, gallery))
        for engine in field:
            narrow(engine, queries, truth, max(wanted, field[0].recall - _SAME_RECALL))
        times = race(field, queries)
    best = min(np.median(times[engine.name]) for engine in field)
    for engine in field:
        p50, p99 = np.percentile(times[engine.name], (50, 99))
        said = f"recall@10 {engine.recall:.4f}, p50 {p50:7.1f} us, p99 {p99:7.1f} us, {p50 / best:.2f} of the fastest"
        print(f"{engine.name:14} {f'ef {engine.width}' if engine.width else '':6} {said}")


def _rest(folder: Path, vectors: Vectors, queries: Vectors, replace: bool) -> None:
    figures = opening(folder)
    raw, graph = vectors.nbytes, len(vectors) * (4 * DIM + 149)
    print(f"open to first answer {figures['open_to_first_answer_s']:.3f} s (in a process that has imported all)")
    memory = float(figures["memory_bytes"])
    share = f"{memory / raw:.2f} times the vectors, {memory / (1.3 * raw + graph):.2f} of 1.3 times them plus the graph"
    print(f"memory {memory / 1e6:.0f} MB, searched by {figures['search']}: {share}")
    times = adding(folder)
    print(f"add with a picture, on the disk: median {np.median(times):.2f} ms, p99 {np.percentile(times, 99):.2f} ms")
    if replace:
        print(f"recall@10 after half was replaced: {replaced(folder, vectors, queries):.4f}")


if __name__ == "__main__":
    main()
