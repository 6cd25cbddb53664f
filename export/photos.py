"""Decoded photos in memory, and batches of model inputs made from them ahead of the training step."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from sightline.runtime.preprocess import Image, InputSpec, prepare, read_image, resize_exact

Job = TypeVar("Job")
Made = TypeVar("Made")

# A quarter of this machine's memory at most; what does not fit is decoded anew each time.
_MEMORY_SHARE = 0.25
# Batches made ahead of each thread: enough to hide one slow photo, few enough that memory stays small.
_AHEAD = 1.5
# Beyond this the interpreter's lock is the brake and not the number of threads.
_MOST_THREADS = 16


class PhotoCache:
    """Decodes photos once, shrinks them to what training can use, and keeps them up to a bound.

    A photo is halved while its shorter side stays at least twice `side`, so that a random crop of a quarter
    of its area still has pixels enough.
    """

    def __init__(self, side: int, limit_bytes: int | None = None) -> None:
        self._side = side
        self._left = _memory_bytes() if limit_bytes is None else limit_bytes
        self._frames: dict[Path, Image] = {}
        self._lock = threading.Lock()

    def read(self, path: Path) -> Image:
        """Give a photo as BGR frame; see `read_image` for what it raises."""
        frame = self._frames.get(path)
        if frame is None:
            frame = _shrink(read_image(path), 2 * self._side)
            self._keep(path, frame)
        return frame

    def shorter_side(self, paths: Iterable[Path]) -> int:
        """Give the median of the shorter sides of photos in pixels, as far as the cache keeps them."""
        return int(np.median([min(self.read(path).shape[:2]) for path in paths]))

    def _keep(self, path: Path, frame: Image) -> None:
        with self._lock:
            if frame.nbytes <= self._left and path not in self._frames:
                self._left -= frame.nbytes
                self._frames[path] = frame


def prepared(paths: Sequence[Path], spec: InputSpec, batch: int) -> Iterator[Image]:
    """Give model inputs exactly as the device makes them, in order: uint8 [<=batch, height, width, 3]."""

    def make(rows: Sequence[int]) -> Image:
        return np.stack([prepare(read_image(paths[row]), spec) for row in rows])

    yield from ahead(make, batches(range(len(paths)), batch))


def batches(rows: Sequence[Job], size: int) -> list[Sequence[Job]]:
    """Cut a list into batches; the last may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def ahead(make: Callable[[Job], Made], jobs: Iterable[Job]) -> Iterator[Made]:
    """Do jobs in threads, a few ahead of the use of their results, in order.

    A job is drawn from `jobs` when it is handed to a thread, at a fixed number of results before its own.
    """
    # OpenCV releases the interpreter lock: two threads keep up with a training step on two cores, and where a GPU
    # learns the cores have nothing else to do.
    threads = max(2, min(_MOST_THREADS, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[Future[Made]] = []
        try:
            for job in jobs:
                waiting.append(pool.submit(make, job))
                if len(waiting) > _AHEAD * threads:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


class Brake:
    """Tells what training waits for: how many pictures a second it learned from, and how long it waited for them.

    Attributes:
        pictures: Learned from so far.
        waited_s: Seconds in which the next pictures were not ready.
    """

    def __init__(self) -> None:
        self.pictures = 0
        self.waited_s = 0.0
        self._start = time.monotonic()

    def watch(self, items: Iterator[Made]) -> Iterator[Made]:
        """Hand items on, counting how long each let its user wait."""
        while True:
            asked = time.monotonic()
            item = next(items, None)
            self.waited_s += time.monotonic() - asked
            if item is None:
                return
            yield item

    def __str__(self) -> str:
        """Give it in words, like "112 pictures/s, 3% of the time waiting for data"."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        return f"{self.pictures / seconds:.0f} pictures/s, {self.waited_s / seconds:.0%} of the time waiting for data"


def _shrink(frame: Image, side: int) -> Image:
    rows, columns = frame.shape[:2]
    while min(rows, columns) >= 2 * side:
        rows, columns = rows // 2, columns // 2
    return frame if rows == frame.shape[0] else resize_exact(frame, columns, rows)


def _memory_bytes() -> int:
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return int(_MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / processes)
