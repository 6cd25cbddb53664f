"""The live loop where it hurts, beside a plain OpenCV loop in the same run.

python benchmarks/live_loop.py age [--seconds 60]      how old frames are when the model is five times too slow
python benchmarks/live_loop.py unplug [--cycles 1000]  a camera that fails in seven ways, again and again
python benchmarks/live_loop.py still BUNDLE [--seconds 20] [--size 1280x720]   what a still scene costs
"""

import argparse
import contextlib
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fake_camera import number_of

from sightline.edge_app import loop
from sightline.edge_app.connection import Frame
from sightline.edge_app.controls import Stop
from sightline.edge_app.live import RunOptions, run_live
from sightline.edge_app.reader import Patience, Reader, State
from sightline.edge_app.sources import parse_source

FPS = 30.0


@contextlib.contextmanager
def camera(*words: str) -> Iterator[tuple[str, float]]:
    """Run the fake camera; gives its address and the moment of its frame 0."""
    command = [sys.executable, str(Path(__file__).with_name("fake_camera.py")), "--fps", str(FPS), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address, start = process.stdout.readline().split()
        try:
            yield address, float(start)
        finally:
            process.kill()


def slow_model() -> None:
    """Stand in for a model that takes five camera periods."""
    time.sleep(5 / FPS)


def age(seconds: float) -> None:
    """Print the age of frames, ours and OpenCV's, each reading the same camera at the same time."""
    with camera() as (address, start_s):
        results: dict[str, list[float]] = {"sightline": [], "plain cv2.VideoCapture": []}
        until = time.monotonic() + seconds

        def note(name: str, frame_bgr: np.ndarray) -> None:
            results[name].append((time.monotonic() - start_s - number_of(frame_bgr) / FPS) * 1e3)

        def ours() -> None:
            reader = Reader(parse_source(address))
            while time.monotonic() < until:
                frame = reader.take(0.05)
                if frame is not None:
                    slow_model()
                    note("sightline", frame.image_bgr)
            reader.close()

        def plain() -> None:
            capture = cv2.VideoCapture(address)
            while time.monotonic() < until:
                arrived, frame = capture.read()
                if arrived:
                    slow_model()
                    note("plain cv2.VideoCapture", frame)

        threads = [threading.Thread(target=work) for work in (ours, plain)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    limit = (2 + 5) * 1e3 / FPS
    print(f"age when answered, model of {5e3 / FPS:.0f} ms, camera period {1e3 / FPS:.0f} ms, {seconds:.0f} s")
    for name, ages in results.items():
        p50, p99 = np.percentile(ages, (50, 99))
        print(f"  {name}: {len(ages)} frames, p50 {p50:.0f} ms, p99 {p99:.0f} ms, last {ages[-1]:.0f} ms")
    print(f"  goal: p99 at most two periods and one inference, {limit:.0f} ms")


def unplug(cycles: int) -> None:
    """Print what is left behind after so many losses."""
    patience = Patience(60, 0.15, 5, 0.3, 0.005, 0.02, 0.02, 60)
    with camera("--faulty", "--size", "320x240") as (address, _):
        reader = Reader(parse_source(address), patience)
        longest_ms, frames, marks = 0.0, 0, []
        while reader.status.attempts < cycles:
            start = time.monotonic()
            frame = reader.take(0.05)
            longest_ms = max(longest_ms, (time.monotonic() - start) * 1e3)
            frames += frame is not None
            if reader.status.attempts >= (len(marks) + 1) * cycles // 10:
                marks.append(footprint())
                print(f"  {reader.status.attempts} losses", file=sys.stderr)
        recovered = recovery(reader)
        reader.close()
    print(f"{cycles} losses of seven kinds: {frames} frames answered between them")
    print(f"  longest wait of the loop {longest_ms:.0f} ms (asked: 50), live again {recovered:.2f} s after the last")
    for index in (0, 4, 9):
        rss, threads, files = marks[index]
        print(f"  after {(index + 1) * cycles // 10}: {rss / 1e6:.1f} MB, {threads} threads, {files} file handles")


def recovery(reader: Reader) -> float:
    """Seconds until the reader is live."""
    start = time.monotonic()
    while reader.take(0.05) is None or reader.status.state is not State.LIVE:
        pass
    return time.monotonic() - start


def footprint() -> tuple[int, int, int]:
    """Resident bytes, threads and file handles of this process."""
    status = Path("/proc/self/status").read_text()
    rss = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    return rss, threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def still(bundle: str, seconds: float, size: str) -> None:
    """Print the share of one core that a still scene costs, beside reading and decoding alone."""
    shares: dict[str, list[tuple[float, float]]] = {}
    with camera("--still", "--size", size) as (address, _):
        for _ in range(3):
            for kind in ("read", "run", "every"):
                command = [sys.executable, __file__, "worker", kind, bundle, address, str(seconds / 3)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                share, frames = map(float, done.stdout.split()[-2:])
                shares.setdefault(kind, []).append((100 * share, frames))
    (read, seen), (run, passed), (every, answered) = (np.median(shares[kind], 0) for kind in ("read", "run", "every"))
    print(f"a still scene of {size} at {FPS:.0f} frames a second, share of one core (medians of three):")
    print(f"  reading and decoding alone {read:.1f} %, {seen:.1f} frames a second")
    print(f"  sightline run {run:.1f} %, {passed:.1f} frames: {run - read:+.1f} points (goal: at most 5)")
    print(f"  sightline run --every-frame {every:.1f} %, {answered:.1f} frames")


def worker(kind: str, bundle: str, address: str, seconds: float) -> None:
    """Do one kind of work and print the share of a core it took, and its frames a second."""
    stop, marks, frames, decide = Stop(), [], itertools.count(), loop.Loop._decide

    def mark() -> None:
        marks.append((time.monotonic(), time.process_time(), next(frames)))

    def watch() -> None:
        time.sleep(3)  # the model is loaded and warm
        mark()
        time.sleep(seconds)
        mark()
        stop.ask("measured")

    def counted(self: Any, frame: Frame) -> None:
        next(frames)
        decide(self, frame)

    threading.Thread(target=watch, daemon=True).start()
    # Freeing a block of this size makes glibc keep what is freed later. A process that only reads would hand every
    # frame's memory back to the kernel, and cost twice as much as the same reading within `run`: no fair peer.
    np.zeros(30_000_000, np.uint8)
    if kind == "read":
        capture = parse_source(address).open()
        while not stop:
            capture.read()
            next(frames)
    else:
        loop.Loop._decide = counted  # type: ignore[method-assign]
        run_live(RunOptions(bundle, address, headless=True, every_frame=kind == "every"), stop)
    (start, cpu, first), (end, cpu_end, last) = marks
    print((cpu_end - cpu) / (end - start), (last - first) / (end - start))


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("age", "unplug", "still", "worker"))
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--size", default="1280x720")
    options = parser.parse_args()
    if options.what == "age":
        age(options.seconds)
    elif options.what == "unplug":
        unplug(options.cycles)
    elif options.what == "still":
        still(options.words[0], options.seconds, options.size)
    else:
        kind, bundle, address, seconds = options.words
        worker(kind, bundle, address, float(seconds))


if __name__ == "__main__":
    main()
