"""What a run of an hour is asked: does its memory grow, do its answers slow down, and would a plain loop's as well."""

import contextlib
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from live_loop import footprint
from numpy.typing import NDArray
from plain_loop import own_bytes
from standstill import queued_s

from sightline.edge_app.sight import Seen, Sight

WINDOWS = 60
# The figures of the last 10,000 answers fill their memory first: six minutes of a camera.
_SETTLED_S = 600.0


class PlainLoop:
    """What the plain loop's process says.

    Attributes:
        answers: Milliseconds from frame to answer, and those without a processor, since they were last taken.
        own_bytes: Its memory that no file holds.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.answers: list[tuple[float, float]] = []
        self.own_bytes = 0
        self._process = process
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            took_ms, starved_ms, own = line.split()
            self.answers.append((float(took_ms), float(starved_ms)))
            self.own_bytes = int(own)


@contextlib.contextmanager
def plain_loop(bundle: str, address: str) -> Iterator[PlainLoop]:
    """Run `plain_loop.py` at a camera."""
    command = [sys.executable, str(Path(__file__).with_name("plain_loop.py")), bundle, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield PlainLoop(process)
        finally:
            process.kill()


class Hour:
    """Watches the run of this process in `WINDOWS` windows while it is entered.

    Args:
        seconds: How long.
        plain: The loop beside it.
        over: Called after the last window.
    """

    def __init__(self, seconds: float, plain: PlainLoop, over: Callable[[], None]) -> None:
        self.frames = 0
        self._seconds, self._plain, self._over = seconds, plain, over
        self._answers: list[tuple[float, float]] = []
        self._marks: list[tuple[int, ...]] = []
        self._p99: list[tuple[float, ...]] = []
        self._look = Sight.look

    def __enter__(self) -> "Hour":
        look, answers = Sight.look, self

        def timed(sight: Sight, *given: Any, **named: Any) -> Seen:
            before = queued_s()
            seen = look(sight, *given, **named)
            answers.frames += 1
            answers._answers.append((seen.recognition.latency.total_ms, 1e3 * (queued_s() - before)))
            return seen

        Sight.look = timed  # type: ignore[method-assign]
        threading.Thread(target=self._sample, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Sight.look = self._look  # type: ignore[method-assign]

    def report(self) -> Iterator[str]:
        """Give lines for people."""
        own, mapped, threads, files, plain = np.array(self._marks, float).T
        yield _memory("memory of its own", own, self._seconds)
        yield _memory("pages of files, which the kernel takes and brings back", mapped, self._seconds)
        yield _memory("the plain loop's own", plain, self._seconds)
        yield f"threads {threads[10]:.0f} -> {threads[-1]:.0f}, handles {files[10]:.0f} -> {files[-1]:.0f}"
        run, run_fed, plain_p99, plain_fed = np.array(self._p99).T
        yield f"p99 of frame to answer {_drift(run)}"
        yield f"  the plain loop's {_drift(plain_p99)}; ours over its, window by window {_drift(run / plain_p99, '')}"
        yield f"  without the waits for a processor {_drift(run_fed)}; the plain loop's {_drift(plain_fed)}"

    def _sample(self) -> None:
        start = time.monotonic()
        for window in range(1, WINDOWS + 1):
            time.sleep(max(0.0, start + window * self._seconds / WINDOWS - time.monotonic()))
            own, mapped = own_bytes()
            self._marks.append((own, mapped, *footprint()[1:], self._plain.own_bytes))
            self._p99.append((*_percentiles(self._answers), *_percentiles(self._plain.answers)))
            minutes = f"{(time.monotonic() - start) / 60:.1f} min"
            said = ", ".join(f"{ms:.2f}" for ms in self._p99[-1])
            print(f"  {minutes}: {own / 1e6:.1f} + {mapped / 1e6:.1f} MB, p99 {said} ms", file=sys.stderr)
            self._answers.clear()
            self._plain.answers.clear()
        self._over()


def _percentiles(answers: list[tuple[float, float]]) -> tuple[float, float]:
    if not answers:
        return float("nan"), float("nan")
    took, starved = np.array(answers).T
    return float(np.percentile(took, 99)), float(np.percentile(took - starved, 99))


def _memory(name: str, bytes: NDArray[np.float64], seconds: float) -> str:
    hours = np.arange(1, WINDOWS + 1) * seconds / WINDOWS / 3600
    past = hours > min(_SETTLED_S, seconds / 2) / 3600
    slope = np.polyfit(hours[past], bytes[past] / 1e6, 1)[0]
    sixths = ", ".join(f"{one / 1e6:.1f}" for one in bytes[9::10])
    return (
        f"{name} after each sixth {sixths} MB, {slope:+.2f} MB an hour over the last {past.sum()} of {WINDOWS} windows"
    )


def _drift(p99: NDArray[np.float64], unit: str = " ms") -> str:
    first, last = statistics.median(p99[10:35]), statistics.median(p99[35:])
    return f"{first:.2f} -> {last:.2f}{unit}, {100 * (last / first - 1):+.1f} %"
