"""Decoded photos in memory, and batches of model inputs made from them ahead of the training step."""

import os
import threading
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
# Batches made ahead: enough to hide one slow photo, few enough that memory stays small.
_AHEAD = 3


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


def batches(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    """Cut a list of rows into batches; the last may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def ahead(make: Callable[[Job], Made], jobs: Iterable[Job]) -> Iterator[Made]:
    """Do jobs in threads, a few ahead of the use of their results, in order.

    A job is drawn from `jobs` when it is handed to a thread, at a fixed number of results before its own.
    """
    # OpenCV releases the interpreter lock, so two threads keep up with a training step on two cores.
    with ThreadPoolExecutor(2) as pool:
        waiting: list[Future[Made]] = []
        try:
            for job in jobs:
                waiting.append(pool.submit(make, job))
                if len(waiting) > _AHEAD:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _shrink(frame: Image, side: int) -> Image:
    rows, columns = frame.shape[:2]
    while min(rows, columns) >= 2 * side:
        rows, columns = rows // 2, columns // 2
    return frame if rows == frame.shape[0] else resize_exact(frame, columns, rows)


def _memory_bytes() -> int:
    return int(_MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
