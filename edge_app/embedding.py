"""Photos become embeddings: `Embedder` is what one worker does, here, in several processes or on a cluster."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.runtime import Bundle, InputError, InputSpec, Recognizer, prepare, read_image
from sightline.runtime.gallery.crops import shrink
from sightline.runtime.preprocess import Image
from sightline.runtime.session import usable_cores

_READERS = 2


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

    def open(self) -> Recognizer:
        """Load the bundle and open the model."""
        return Recognizer(Bundle.load(self.bundle), self.provider, self.variant, self.threads)

    def shared(self, workers: int) -> "ModelChoice":
        """The choice of one of several workers on this machine: without a number of threads each gets its share."""
        return replace(self, threads=self.threads or max(1, usable_cores() // workers))


class Embedder:
    """Reads photos and embeds them, a batch a call."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer

    def __call__(self, files: Sequence[Path]) -> list[Outcome]:
        """Embed files; one that cannot be read is a `Failure`, in its place."""
        spec = self._recognizer.bundle.input_spec
        with ThreadPoolExecutor(_READERS) as readers:
            read = list(readers.map(lambda file: _read(file, spec), files))
        whole = [photo[0] for photo in read if not isinstance(photo, Failure)]
        embeddings = iter(self._recognizer.run(np.stack(whole))[1] if whole else ())
        return [one if isinstance(one, Failure) else EmbeddedPhoto(next(embeddings), one[1]) for one in read]


def embed_here(recognizer: Recognizer) -> Embed:
    """Embed in this process."""
    embedder = Embedder(recognizer)
    return lambda batches: (embedder(batch) for batch in batches)


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
    _embedder = Embedder(choice.open())


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
    return _embedder(files)


def _read(path: Path, spec: InputSpec) -> tuple[Image, Image] | Failure:
    # Only what is needed is kept: a batch of twelve-megapixel photos would be more than a gigabyte.
    try:
        frame_bgr = read_image(path)
        return prepare(frame_bgr, spec), shrink(frame_bgr).copy()
    except InputError as error:
        return Failure(str(path), str(error))
