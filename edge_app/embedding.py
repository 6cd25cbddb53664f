"""Photos become embeddings: `Embedder` is what one worker does, here, in several processes or on a cluster."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.runtime import Bundle, InputError, Recognizer, prepare, read_image
from sightline.runtime.bulk import in_order, open_for_many
from sightline.runtime.cores import usable_cores
from sightline.runtime.gallery.crops import shrink
from sightline.runtime.preprocess import Image


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedPhoto:
    """One photo's embedding, float32 (dim,), and its small picture, uint8 (height, width, 3) BGR."""

    embedding: NDArray[np.float32]
    crop: Image


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that could not be read, and why."""

    image: str
    error: str


Outcome = EmbeddedPhoto | Failure
# Gives the outcomes of each batch of files, in the order of the batches.
Embed = Callable[[Iterable[Sequence[Path]]], Generator[list[Outcome]]]


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What makes the same recognizer in another process; see `Recognizer`."""

    bundle: str
    provider: str
    variant: str
    threads: int | None

    def open(self) -> "Embedder":
        """Load the bundle and open the model."""
        return Embedder(*open_for_many(Bundle.load(self.bundle), self.provider, self.variant, self.threads))

    def shared(self, workers: int) -> "ModelChoice":
        """The choice of one of several workers on this machine: without a number of threads each gets its share."""
        return replace(self, threads=self.threads or max(1, usable_cores() // workers))


class Embedder:
    """Reads photos and embeds them.

    Attributes:
        recognizer: What embeds.
    """

    def __init__(self, recognizer: Recognizer, workers: int) -> None:
        """Make ready.

        Args:
            recognizer: What embeds, called by all workers.
            workers: Threads that each read and embed a photo at a time.
        """
        self.recognizer = recognizer
        self._workers = workers

    def stream(self, files: Iterable[Path]) -> Generator[Outcome]:
        """Embed files, in order; one that cannot be read is a `Failure`, in its place."""
        return in_order(self._embed, files, self._workers)

    def _embed(self, file: Path) -> Outcome:
        # Only what is needed is kept: some photos of twelve megapixels would be more than a gigabyte.
        try:
            frame_bgr = read_image(file)
        except InputError as error:
            return Failure(str(file), str(error))
        image = prepare(frame_bgr, self.recognizer.bundle.input_spec)
        return EmbeddedPhoto(self.recognizer.run(image[np.newaxis])[1][0], shrink(frame_bgr).copy())


def embed_here(embedder: Embedder) -> Embed:
    """Embed in this process; the photos of the next batches are read while one is stored."""

    def run(batches: Iterable[Sequence[Path]]) -> Generator[list[Outcome]]:
        sizes: deque[int] = deque()

        def files() -> Iterator[Path]:
            for batch in batches:
                sizes.append(len(batch))
                yield from batch

        with closing(embedder.stream(files())) as outcomes:
            for first in outcomes:
                yield [first, *islice(outcomes, sizes.popleft() - 1)]

    return run


def embed_in_processes(choice: ModelChoice, workers: int) -> Embed:
    """Embed in several processes of this machine.

    Raises:
        InputError: A worker died; what it had given before is not lost.
    """

    def run(batches: Iterable[Sequence[Path]]) -> Generator[list[Outcome]]:
        context, mine = get_context("spawn"), choice.shared(workers)
        pool = ProcessPoolExecutor(workers, context, _begin_worker, (mine,))
        waiting: deque[Future[list[Outcome]]] = deque()
        try:
            for batch in batches:
                with _interrupts_held():
                    waiting.append(pool.submit(_work, batch))
                # Two a worker keep all busy; more would only fill the memory with pictures.
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process died, perhaps for want of memory: what is stored stays, and the same command "
                "with fewer --workers goes on"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)

    return run


_embedder: Embedder | None = None


def _begin_worker(choice: ModelChoice) -> None:
    global _embedder
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _embedder = choice.open()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    # Ctrl-C reaches every process of a terminal. A worker begun in here inherits the mask and never hears it; this
    # process hears it through any of its threads, and not while a worker's first words are half written.
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    heard: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if heard:
        raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(files: Sequence[Path]) -> list[Outcome]:
    assert _embedder is not None
    return list(_embedder.stream(files))
