"""From pixels to answer beside what people would use instead: frames, folders, cold start, memory. One run, in turns.

    python benchmarks/pipeline.py BUNDLE PHOTOS [--mediapipe FOLDER] [--json FILE] [--plot FILE] [--only frame ...]

    frame   720p and 1080p BGR frames to label and nearest of 10,000 entries, beside the bare `session.run`
    folder  many JPEG files to labels and embeddings, images a second
    start   process start to the first answer, and that process's peak memory

A peer that is not installed is named and left out: `pip install ultralytics mediapipe faiss-cpu`, MediaPipe's files by
`mediapipe_files.py`. All run with the same number of threads, each in its own process (`pipeline_peers.py`); machines
are noisy, so everything is measured in turns, and medians count.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
from lookup import clustered
from pipeline_peers import PEERS, Settings

from sightline.edge_app.console import ConsoleReporter
from sightline.runtime import Bundle, Gallery, NewEntry
from sightline.runtime.dataset import list_images

ENTRIES = 10_000
SIZES_WH = {"720p": (1280, 720), "1080p": (1920, 1080)}
OURS, BARE = "sightline", "session.run alone"
PARTS = ("frame", "folder", "start")
_FRAMES_A_TURN = 10
_WARM_FILES = 100
# What torch's and MediaPipe's threads spin after their work.
_REST_S = 0.4
# Starts a program and tells when its first line came and how much memory it took; it is small itself, as a
# process is charged with what its parent held when it began.
_STOPWATCH = """
import resource, subprocess, sys, time
begun = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
line = child.stdout.readline()
took = time.perf_counter() - begun
child.stdout.read()
child.wait()
print(took if line else -1, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""

Table = dict[str, dict[str, float]]
# Asked for a name's figures; told whether this round counts or only warms up.
Measure = Callable[[str, bool], dict[str, float]]


class Worker:
    """A peer in a process of its own."""

    def __init__(self, name: str, settings: Settings) -> None:
        command = [
            sys.executable,
            str(Path(__file__).with_name("pipeline_peers.py")),
            name,
            json.dumps(asdict(settings)),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.missing: str | None = self._read().get("missing")

    def ask(self, job: str, *arguments: Any) -> Any:
        """Have a job done."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([job, arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        sleep(_REST_S)
        return answer

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"missing": "it ended with an error"}


def fill(place: Path, bundle: Bundle, options: argparse.Namespace) -> Settings:
    """Make a gallery of clustered vectors, as wide as the bundle's embeddings, and a file of them for the peers."""
    vectors, _ = clustered(ENTRIES, 0, bundle.manifest.embedding.dim)
    np.save(place / "vectors.npy", vectors)
    with Gallery.open(place / "gallery", model=bundle.model_id) as gallery:
        for start in range(0, ENTRIES, 2000):
            rows = vectors[start : start + 2000]
            gallery.add_many([NewEntry(f"item {start + row}", one) for row, one in enumerate(rows)])
        gallery.rebuild()
    paths = (options.bundle, place / "gallery", place / "vectors.npy", options.mediapipe)
    return Settings(*(str(path) for path in paths), threads=options.threads)


def in_turns(title: str, names: Sequence[str], rounds: int, measure: Measure) -> Table:
    """Medians of each name's figures over rounds; a first round warms up and does not count."""
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with ConsoleReporter().task(title, (rounds + 1) * len(names)) as task:
        for turn in range(rounds + 1):
            for name in names:
                found = measure(name, turn > 0)
                figures[name] += [found] if turn else []
                task.advance()
    return {
        name: {column: statistics.median(one[column] for one in found) for column in found[0]}
        for name, found in figures.items()
    }


def measure_workers(
    settings: Settings, photos: Sequence[Path], options: argparse.Namespace
) -> Iterator[tuple[str, Table]]:
    """Measure frames and folder."""
    workers = {name: Worker(name, settings) for name in PEERS}
    files = [str(photo) for photo in photos]
    try:
        for name in [name for name, worker in workers.items() if worker.missing is not None]:
            print(f"{name} is left out: {workers.pop(name).missing}", file=sys.stderr)
        for size, size_wh in SIZES_WH.items() if "frame" in options.only else ():

            def frame_ms(name: str, _counts: bool, size_wh: tuple[int, int] = size_wh) -> dict[str, float]:
                return {"ms": statistics.median(workers[name].ask("frames", files[0], size_wh, _FRAMES_A_TURN))}

            yield f"frame {size}", in_turns(f"Frames, {size}", list(workers), 4 * options.rounds, frame_ms)
        if "folder" in options.only:

            def images_a_second(name: str, counts: bool) -> dict[str, float]:
                count = options.count if counts else min(options.count, _WARM_FILES)
                return dict(zip(("images/s", "cores"), workers[name].ask("files", files, count), strict=True))

            names = [name for name in workers if name != BARE]
            yield "folder", in_turns(f"Folder of {options.count}", names, options.rounds, images_a_second)
    finally:
        for worker in workers.values():
            worker.end()


def measure_start(settings: Settings, photo: Path, rounds: int) -> Table:
    """Seconds from process start to the first line, and the peak memory, of the smallest programs."""
    ours = [str(Path(sys.executable).parent / OURS), "predict", settings.bundle, str(photo)]
    programs = {OURS: [*ours, "--gallery", settings.gallery, "--json"]}
    script = str(Path(__file__).with_name("pipeline_peers.py"))
    for name in PEERS:
        if name not in (OURS, BARE):
            programs[name] = [sys.executable, script, name, json.dumps(asdict(settings)), str(photo)]

    def first_answer(name: str, _counts: bool) -> dict[str, float]:
        told = subprocess.run([sys.executable, "-S", "-c", _STOPWATCH, *programs[name]], capture_output=True, text=True)
        took, peak = (float(word) for word in told.stdout.split())
        return {"first answer, s": took, "peak, MB": peak}

    return in_turns("Starts", list(programs), rounds, first_answer)


def measured(settings: Settings, photos: Sequence[Path], options: argparse.Namespace) -> Iterator[tuple[str, Table]]:
    """Measure what was asked for."""
    yield from measure_workers(settings, photos, options)
    if "start" in options.only:
        yield "start", measure_start(settings, photos[0], options.rounds)


def _print(title: str, table: Table, best: Callable[[Sequence[float]], float]) -> None:
    """One row a name; the last column compares its first figure with the best peer's."""
    columns = list(next(iter(table.values())))
    peers = [one[columns[0]] for name, one in table.items() if name != OURS and name != BARE]
    print(f"\n{title}\n{'':<24}" + "".join(f"{column:>18}" for column in columns))
    for name, one in table.items():
        print(f"{name:<24}" + "".join(f"{one[column]:>18.2f}" for column in columns))
    if peers:
        print(f"{columns[0]}: sightline's is {table[OURS][columns[0]] / best(peers):.2f} of the best peer's")


def _draw(file: Path, result: dict[str, Table]) -> None:
    """Draw one panel a figure."""
    from matplotlib.figure import Figure

    panels = [
        (f"{part}: {column}", {name: one[column] for name, one in table.items()})
        for part, table in result.items()
        for column in next(iter(table.values()))
    ]
    figure = Figure(figsize=(11, 1.6 * len(panels)), layout="constrained")
    for place, (title, values) in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, place + 1)
        colours = ["#0b6e4f" if name == OURS else "#9aa5b1" for name in values]
        bars = axes.barh(list(values), list(values.values()), color=colours)
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.invert_yaxis()
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Print a table a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("photos")
    parser.add_argument("--mediapipe", type=Path, default=Path("mediapipe"), help="folder of its TFLite files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=5000, help="images of the folder; fewer photos are repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    photos, bundle = list_images([options.photos]), Bundle.load(options.bundle)
    with tempfile.TemporaryDirectory() as scratch:
        settings = fill(Path(scratch), bundle, options)
        result: dict[str, Table] = {}
        for title, table in measured(settings, photos, options):
            result[title] = table
            _print(title, table, max if title == "folder" else min)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    if options.plot:
        _draw(options.plot, result)


if __name__ == "__main__":
    main()
