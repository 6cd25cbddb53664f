"""Hours of a whole run in minutes, and what the loop itself costs.

python benchmarks/soak.py steady [BUNDLE] [--gallery G] [--seconds 3600]   memory, threads, handles, p99 at 30 frames
python benchmarks/soak.py faults [--cycles 1000]             a run whose camera fails in seven ways, again and again
python benchmarks/soak.py overhead BUNDLE [--size 1280x720]  what a moving frame costs besides the model
python benchmarks/soak.py end [--count 20]                   seconds from SIGTERM to the end of the process

Without BUNDLE a tiny one is made. Outputs are on: JSON lines, an event log, a trace of bounded size.
"""

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from hour import Hour, plain_loop
from live_loop import camera, footprint
from plain_loop import own_bytes
from standstill import Watchman

from sightline.edge_app import live, loop
from sightline.edge_app.connection import Frame
from sightline.edge_app.controls import Stop
from sightline.edge_app.live import RunOptions, run_live
from sightline.edge_app.outputs.settings import OutputOptions
from sightline.edge_app.reader import Patience, State, Status
from sightline.edge_app.sight import Seen

FPS = 30.0
_QUICK = Patience(60, 0.15, 5, 0.3, 0.005, 0.02, 0.02, 60)


@dataclass(slots=True)
class Watch:
    """What a run does, tick by tick, kept in windows.

    Attributes:
        ticks: Seconds of each turn of the loop without the model, of this window.
        losses: How often the source was lost.
        back: Seconds from each loss to the next frame.
        man: Watches for standstills.
    """

    ticks: list[float] = field(default_factory=list)
    frames: int = 0
    losses: int = 0
    inference_s: float = 0.0
    back: list[float] = field(default_factory=list)
    lost_s: float | None = None
    man: Watchman = field(default_factory=Watchman)

    def decided(self, frame: Frame, seen: Seen, age_ms: float) -> None:
        self.frames += 1
        self.inference_s += seen.recognition.latency.inference_ms / 1e3
        if self.lost_s is not None:
            self.back.append(time.monotonic() - self.lost_s)
            self.lost_s = None

    def state(self, status: Status) -> None:
        if status.state is State.LOST and self.lost_s is None:
            self.losses, self.lost_s = self.losses + 1, time.monotonic()


@contextlib.contextmanager
def watched(patience: Patience | None = None) -> Iterator[Watch]:
    """Time every turn of the loop, and hear what its listeners hear."""
    watch, tick = Watch(), loop.Loop._tick
    decided, state, plain = loop.Listeners.decided, loop.Listeners.state, live.Patience

    def timed(self: Any) -> None:
        before = watch.inference_s
        watch.man.begin()
        tick(self)
        watch.ticks.append(watch.man.end(watch.inference_s - before))

    def hear(self: Any, frame: Frame, seen: Seen, age_ms: float) -> None:
        watch.decided(frame, seen, age_ms)
        decided(self, frame, seen, age_ms)

    def hear_state(self: Any, status: Status) -> None:
        watch.state(status)
        state(self, status)

    loop.Loop._tick, loop.Listeners.decided, loop.Listeners.state = timed, hear, hear_state  # type: ignore[method-assign]
    if patience is not None:
        live.Patience = lambda connect_s: patience  # type: ignore[assignment, misc]
    try:
        yield watch
    finally:
        loop.Loop._tick, loop.Listeners.decided, loop.Listeners.state = tick, decided, state  # type: ignore[method-assign]
        live.Patience = plain  # type: ignore[misc]
        watch.man.close()


def options(bundle: str, source: str, folder: Path, every_frame: bool = True) -> RunOptions:
    """A run with its outputs on."""
    outputs = OutputOptions(events=str(folder / "log.db"), trace=str(folder / "trace"), trace_bytes=50_000_000)
    json = str(folder / "out.jsonl")
    return RunOptions(bundle, source, headless=True, json=json, every_frame=every_frame, outputs=outputs)


def tiny(folder: Path) -> str:
    """A bundle of a very small net."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.factories import tiny_bundle

    return str(tiny_bundle(folder / "tiny.bundle"))


def steady(bundle: str | None, gallery: str | None, seconds: float) -> None:
    """Print how a run at 30 frames a second changes with time, beside a plain loop at the same camera."""
    with tempfile.TemporaryDirectory() as name, camera() as (address, _):
        folder, stop, model = Path(name), Stop(), bundle or tiny(Path(name))
        asked = replace(options(model, address, folder), gallery=gallery, threads=1)
        with plain_loop(model, address) as plain, Hour(seconds, plain, lambda: stop.ask("measured")) as hour:
            run_live(asked, stop)
    print(f"{seconds:.0f} s at {FPS:.0f} frames a second: {hour.frames} answers")
    print("\n".join(f"  {line}" for line in hour.report()))


def faults(cycles: int) -> None:
    """Print what is left behind of a whole run after so many losses, and how long its loop stood still."""
    with tempfile.TemporaryDirectory() as name, camera("--faulty", "--size", "320x240") as (address, _):
        folder, stop, marks, longest = Path(name), Stop(), [], []
        with watched(_QUICK) as watch:

            def sample() -> None:
                for tenth in range(1, 11):
                    while watch.losses < tenth * cycles // 10:
                        time.sleep(0.02)
                    marks.append((*own_bytes(), *footprint()[1:]))
                    longest.append(1e3 * max(watch.ticks))
                    watch.ticks = []
                stop.ask("measured")

            threading.Thread(target=sample, daemon=True).start()
            run_live(options(tiny(folder), address, folder), stop)
    print(f"{watch.losses} losses of seven kinds: {watch.frames} frames answered between them")
    print(f"  the loop stood still for at most {max(longest):.0f} ms outside the model (it waits 50 for a frame)")
    print(f"  the longest: {watch.man.longest}")
    print(f"  the longest but for the lack of a processor: {watch.man.longest_fed}")
    print(f"  answers again after {np.median(watch.back):.2f} s (median), {max(watch.back):.2f} s (longest)")
    for index in (0, 4, 9):
        own, mapped, threads, files = marks[index]
        size = f"{own / 1e6:.1f} MB of its own and {mapped / 1e6:.1f} of files"
        print(f"  after {(index + 1) * cycles // 10}: {size}, {threads} threads, {files} file handles")


def overhead(bundle: str | None, size: str, frames: int) -> None:
    """Print what a moving frame costs besides the model."""
    with tempfile.TemporaryDirectory() as name:
        model = bundle or tiny(Path(name))
        for label, made in (
            ("loop alone", RunOptions(model, f"test://?size={size}&fps=15", headless=True, every_frame=True)),
            ("with JSON lines, event log and trace", options(model, f"test://?size={size}&fps=15", Path(name))),
        ):
            spent: list[float] = []
            decide = loop.Loop._decide

            def timed(self: Any, frame: Frame, decide: Any = decide, spent: list[float] = spent) -> None:
                start = time.perf_counter()
                decide(self, frame)
                shown = self._last.recognition
                spent.append(1e3 * (time.perf_counter() - start) - shown.latency.inference_ms)

            loop.Loop._decide = timed  # type: ignore[method-assign]
            try:
                run_live(RunOptions(**{**_fields(made), "limits": loop.Limits(max_frames=frames)}), Stop())
            finally:
                loop.Loop._decide = decide  # type: ignore[method-assign]
            p50, p95 = np.percentile(spent[20:], (50, 95))
            print(f"{size}, {label}: {p50:.2f} ms a frame (median), {p95:.2f} ms (p95), all but the model")


def _fields(made: RunOptions) -> dict[str, Any]:
    return {name: getattr(made, name) for name in made.__dataclass_fields__}


def end(count: int) -> None:
    """Print how long a whole run takes to end after SIGTERM."""
    took = []
    with tempfile.TemporaryDirectory() as name, camera() as (address, _):
        folder = Path(name)
        words = ["run", tiny(folder), "--source", address, "--headless", "--gallery", str(folder / "g"), "--stdin"]
        words += ["--record", str(folder / "shown.mp4"), "--json", str(folder / "out.jsonl"), "--every-frame"]
        words += ["--events", str(folder / "log.db"), "--trace", str(folder / "trace")]
        for _ in range(count):
            command = [sys.executable, "-m", "sightline.edge_app", *words]
            (folder / "out.jsonl").unlink(missing_ok=True)
            with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                while not ((out := folder / "out.jsonl").exists() and out.read_text().count('"frame"') > 30):
                    time.sleep(0.05)
                start = time.monotonic()
                process.send_signal(signal.SIGTERM)
                process.wait(30)
                took.append(time.monotonic() - start)
    print(f"{count} ends: {np.median(took):.2f} s from SIGTERM (median), {max(took):.2f} s (longest); goal below 2 s")


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("steady", "faults", "overhead", "end"))
    parser.add_argument("bundle", nargs="?")
    parser.add_argument("--gallery", help="where frames are looked up in `steady`")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--count", type=int, default=20)
    given = parser.parse_args()
    if given.what == "steady":
        steady(given.bundle, given.gallery, given.seconds)
    elif given.what == "faults":
        faults(given.cycles)
    elif given.what == "overhead":
        overhead(given.bundle, given.size, given.frames)
    else:
        end(given.count)


if __name__ == "__main__":
    main()
