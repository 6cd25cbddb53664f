"""The gallery's look-up beside faiss HNSW, usearch, hnswlib alone, sqlite-vec and numpy, and how each cost grows.

    python benchmarks/lookup.py [--entries 1000 10000 100000] [--json FILE] [--plot FILE] [--folder FOLDER]

Vectors are clustered and seeded, 256 wide; queries are fresh points of the same clusters, none of them an entry. Every
engine runs in a process of its own (`lookup_engines.py`) and searches as narrowly as reaches the wanted recall@10
against exact search, one thread, all in turns, so that a noisy machine disturbs all alike. "own" is the width that the
gallery chose by itself, and the others at the recall that it reached with it.

What is not installed is named and left out: `pip install faiss-cpu usearch sqlite-vec apsw`. With --folder the indexes
are kept and taken from there, so that large ones can be built at leisure (`--build-only --engines gallery`); with
--json, figures that FILE holds of other sizes and engines stay in it and in the plot.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lookup_engines import DIM, ENGINES, GRAPHS, OURS, QUERIES, TRUTH, VECTORS, K
from numpy.typing import NDArray

from sightline.runtime.gallery.nearest import nearest_rows

SIZES, RECALLS, OWN = (1000, 10_000, 100_000), (0.95, 0.99), "own"
QUERY_COUNT, TURNS, TURN, ADDS = 1000, 40, 20, 3
# Below this many entries what does not grow hides what does.
_FITTED_FROM = 10_000
BUILT = "built.json"
_COLOURS = dict(zip(ENGINES, ("#0b6e4f", "#d1495b", "#2e86ab", "#e09f3e", "#6c5b7b", "#8d99ae"), strict=True))
_TITLES = {
    "build, CPU s": "building and saving, CPU seconds",
    "build peak, MB": "peak memory of building, MB",
    "memory, MB": "memory while it answers, MB",
    "open, s": "opening to the first answer, s",
} | {f"p50 {recall}, us": f"look-up at recall@10 of {recall}, µs (median)" for recall in RECALLS}

Vectors = NDArray[np.float32]
# By entries, engine and figure.
Results = dict[int, dict[str, dict[str, float]]]


class Process:
    """An engine in a process of its own; see `lookup_engines.Worker` for the jobs."""

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        script = str(Path(__file__).with_name("lookup_engines.py"))
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        self._process = subprocess.Popen(
            [sys.executable, script, name, str(folder), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | limits,
        )
        self.missing: str | None = self._read().get("missing")

    def ask(self, job: str, *arguments: Any) -> Any:
        """Have a job done."""
        assert self._process.stdin is not None
        print(json.dumps([job, arguments]), file=self._process.stdin, flush=True)
        return self._read()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("an engine ended with an error: see above")
        return json.loads(line)


def clustered(entries: int, queries: int, dim: int = DIM) -> tuple[Vectors, Vectors]:
    """Unit vectors around entries / 20 centres, and queries from the same.

    Their variance fills the directions as that of real embeddings does (90 % of it in 164 of 256, on the Grocery
    photos in 166); the nearest neighbour is further away (median cosine 0.71, there 0.91), so finding it is harder.
    """
    random = np.random.default_rng(7)
    centres = random.standard_normal((max(1, entries // 20), dim)).astype(np.float32)
    rows = centres[random.integers(0, len(centres), entries + queries)]
    rows += 0.7 * random.standard_normal(rows.shape, np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[:entries], rows[entries:]


def prepare(folder: Path, entries: int) -> None:
    """Write vectors, queries and the true neighbours; what is there is taken as it is."""
    if (folder / TRUTH).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    vectors, queries = clustered(entries, QUERY_COUNT)
    vectors.tofile(folder / VECTORS)
    np.save(folder / QUERIES, queries)
    np.save(folder / TRUTH, nearest_rows(vectors, None, queries, K)[0])


def build(folder: Path, names: Sequence[str], threads: int) -> dict[str, dict[str, float]]:
    """Build what is not built yet; the figures of all that is."""
    record = folder / BUILT
    figures: dict[str, dict[str, float]] = json.loads(record.read_text()) if record.exists() else {}
    for name in names:
        if name in figures:
            continue
        before = _disk_mb(folder)
        process = Process(name, folder, threads)
        if process.missing is not None:
            print(f"{name} is left out: {process.missing}", file=sys.stderr)
        else:
            figures[name] = process.ask("build") | {"threads": threads, "disk, MB": _disk_mb(folder) - before}
            record.write_text(json.dumps(figures))
            print(f"{name}: built in {figures[name]['build, s']:.1f} s", file=sys.stderr)
        process.end()
    return {name: figures[name] for name in names if name in figures}


def measure(folder: Path, entries: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """All figures of one size, by engine."""
    prepare(folder, entries)
    figures = build(folder, options.engines, options.threads)
    if options.build_only:
        return figures
    processes: dict[str, Process] = {}
    try:
        for name in figures:
            processes[name] = Process(name, folder, 1)
            figures[name] |= processes[name].ask("open")
        for wanted in (None, *options.recall):
            for name, found in race(processes, wanted).items():
                figures[name] |= found
        for name, process in processes.items():
            figures[name]["add, ms"] = float(np.median(process.ask("add_ms", ADDS)))
    finally:
        for process in processes.values():
            process.end()
    return figures


def race(processes: dict[str, Process], wanted: float | None) -> dict[str, dict[str, float]]:
    """Times at one recall, in turns; None stands for what the gallery chose by itself."""
    at = OWN if wanted is None else str(wanted)
    found: dict[str, dict[str, Any]] = {}
    if wanted is None:
        if OURS not in processes:
            return {}
        found[OURS] = processes[OURS].ask("narrow", None)
        if found[OURS]["exact"]:
            return {}
        wanted = found[OURS]["recall"]
    found |= {name: process.ask("narrow", wanted) for name, process in processes.items() if name not in found}
    times: dict[str, list[float]] = {name: [] for name in processes}
    for turn in range(TURNS):
        for name, process in processes.items():
            times[name] += process.ask("times_us", TURN * turn, TURN)
    return {
        name: {
            f"ef {at}": one["ef"],
            f"recall {at}": one["recall"],
            f"p50 {at}, us": float(np.median(times[name])),
            f"p99 {at}, us": float(np.percentile(times[name], 99)),
        }
        for name, one in found.items()
    }


def exponent(sizes: Sequence[int], costs: Sequence[float]) -> float | None:
    """The slope of the cost over the entries, both as logarithms; None where there are too few sizes."""
    pairs = [(size, cost) for size, cost in zip(sizes, costs, strict=True) if size >= _FITTED_FROM and cost > 0]
    return float(np.polyfit(*np.log(pairs).T, 1)[0]) if len(pairs) > 1 else None


def columns(figures: dict[str, dict[str, float]]) -> list[str]:
    """The figures of one size, in order."""
    return list(dict.fromkeys(column for one in figures.values() for column in one))


def show(entries: int, figures: dict[str, dict[str, float]]) -> None:
    """One row a figure, one column an engine; the last compares ours with the best other graph."""
    print(f"\n{entries:,} entries\n{'':<16}" + "".join(f"{name:>14}" for name in figures) + f"{'ours / graphs':>14}")
    for column in columns(figures):
        values = {name: one[column] for name, one in figures.items() if column in one}
        peers = [values[name] for name in GRAPHS if name in values]
        compared = column.startswith(("build", "disk", "open", "memory", "p50", "p99", "add"))
        ratio = f"{values[OURS] / min(peers):14.2f}" if compared and OURS in values and peers else ""
        cells = (f"{values[name]:14.4g}" if name in values else " " * 14 for name in figures)
        print(f"{column:<16}" + "".join(cells) + ratio)


def series(results: Results, column: str) -> Iterator[tuple[str, list[int], list[float]]]:
    """Each engine's sizes and costs."""
    for name in ENGINES:
        sizes = [size for size in sorted(results) if column in results[size].get(name, {})]
        if sizes:
            yield name, sizes, [results[size][name][column] for size in sizes]


def show_growth(results: Results, drawn: Sequence[str]) -> None:
    """Print how each cost grows with the entries."""
    print(
        f"\ncost ~ entries^x, from {_FITTED_FROM:,} entries on\n{'':<16}" + "".join(f"{name:>14}" for name in ENGINES)
    )
    for column in drawn:
        fits = {name: exponent(sizes, costs) for name, sizes, costs in series(results, column)}
        cells = (f"{fit:14.2f}" if (fit := fits.get(name)) is not None else " " * 14 for name in ENGINES)
        print(f"{column:<16}" + "".join(cells))


def draw(file: Path, results: Results, drawn: Sequence[str]) -> None:
    """Draw one panel a cost, entries against it, both logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    rows = (len(drawn) + 2) // 3
    figure = Figure(figsize=(13, 4.2 * rows), layout="constrained")
    for place, column in enumerate(drawn):
        axes = figure.add_subplot(rows, 3, place + 1)
        for name, sizes, costs in series(results, column):
            fit = exponent(sizes, costs)
            label = name if fit is None else f"{name}: n$^{{{fit:.2f}}}$"
            width, order = (2.6, 3.0) if name == OURS else (1.4, 2.0)
            axes.loglog(
                sizes, costs, "o-", color=_COLOURS[name], linewidth=width, zorder=order, markersize=4, label=label
            )
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.35)  # room for the legend
        axes.set_title(_TITLES.get(column, column), loc="left", fontsize=11)
        axes.set_xlabel("entries", fontsize=9)
        axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.25)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Print a table a size, then how the costs grow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=SIZES)
    parser.add_argument("--recall", type=float, nargs="+", default=RECALLS, help="recall@10 to reach")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--threads", type=int, default=2, help="of building; look-ups have one")
    parser.add_argument("--folder", type=Path, help="keep the indexes here and take them from here")
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    results: Results = {}
    if options.json and options.json.exists():
        results = {int(size): figures for size, figures in json.loads(options.json.read_text()).items()}
    with tempfile.TemporaryDirectory() as scratch:
        for entries in options.entries:
            place = options.folder or Path(scratch)
            found = measure(place / str(entries), entries, options)
            show(entries, found)
            results[entries] = results.get(entries, {}) | found
            if options.json:
                options.json.write_text(json.dumps(results, indent=2))
    looked_up = [f"p50 {recall}, us" for recall in options.recall]
    drawn = ["build, CPU s", "build peak, MB", "memory, MB", "open, s", *looked_up]
    show_growth(results, drawn)
    if options.plot:
        draw(options.plot, results, drawn)


def _disk_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
