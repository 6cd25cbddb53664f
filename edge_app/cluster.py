"""Embedding on a Ray cluster: Ray Data spreads the photos, each of its workers runs the same `Embedder`.

Every machine of the cluster needs this package, and the bundle and the photos under the same paths.
"""

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.runtime import InputError

from .embedding import Embed, EmbeddedPhoto, Failure, ModelChoice, Outcome

_BATCH = 32
Columns = dict[str, Any]


def embed_on_ray(choice: ModelChoice, workers: int, address: str) -> Embed:
    """Embed on a cluster.

    Args:
        choice: The model; without a number of threads each worker computes with one, which Ray reserves for it.
        workers: Workers in the whole cluster.
        address: "local" starts a cluster on this machine, "auto" finds the one this machine belongs to; else its
            HOST:PORT.

    Raises:
        InputError: Ray is not installed, no cluster answers, or a worker failed.
    """
    if "://" in address:
        raise InputError(
            f"Ray Data does not run through '{address}': run this on a machine of the cluster with --ray auto, or "
            "hand it to the cluster as a job ('ray job submit')"
        )
    # Ray reports its usage to its makers unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise InputError(f"--ray needs Ray Data: pip install 'sightline[cluster]' ({error.name} is missing)") from error

    def run(batches: Iterable[Sequence[Path]]) -> Generator[list[Outcome]]:
        files = [str(file.absolute()) for batch in batches for file in batch]
        _join(ray, address)
        try:
            yield from _spread(ray, choice, workers, files)
        except ray.exceptions.RayError as error:
            told = str(error).strip().splitlines()
            raise InputError(f"Ray gave up: {told[-1] if told else type(error).__name__}") from error
        finally:
            ray.shutdown()

    return run


class RayEmbedder:
    """An `Embedder` as Ray Data calls it: a batch of columns in, a batch of columns out."""

    def __init__(self, choice: ModelChoice) -> None:
        self._embedder = choice.open()

    def __call__(self, batch: Columns) -> Columns:
        """Embed the batch's files."""
        outcomes = list(self._embedder.stream(Path(file) for file in batch["file"]))
        whole = [one if isinstance(one, EmbeddedPhoto) else None for one in outcomes]
        return {
            "row": batch["row"],
            "embedding": [one.embedding.tobytes() if one is not None else b"" for one in whole],
            "crop": [one.crop.tobytes() if one is not None else b"" for one in whole],
            "shape": [one.crop.shape if one is not None else (0, 0, 0) for one in whole],
            "error": [one.error if isinstance(one, Failure) else "" for one in outcomes],
        }


def _join(ray: Any, address: str) -> None:
    try:
        ray.init(None if address == "local" else address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"no Ray cluster at '{address}': {str(error).splitlines()[0]}") from error


def _spread(ray: Any, choice: ModelChoice, workers: int, files: Sequence[str]) -> Iterator[list[Outcome]]:
    # What goes wrong is told once, as this command's own sentence.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # In order: the caller knows a batch by its place alone.
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    pool = ray.data.ActorPoolStrategy(size=workers)
    mine = choice if choice.threads is not None else choice.shared(10**6)
    rows = ray.data.from_items([{"row": row, "file": file} for row, file in enumerate(files)])
    done = rows.map_batches(
        RayEmbedder, fn_constructor_args=(mine,), batch_size=_BATCH, compute=pool, num_cpus=mine.threads
    )
    for batch in done.iter_batches(batch_size=_BATCH):
        yield [_outcome(files, batch, place) for place in range(len(batch["row"]))]


def _outcome(files: Sequence[str], batch: Columns, place: int) -> Outcome:
    if batch["error"][place]:
        return Failure(files[int(batch["row"][place])], str(batch["error"][place]))
    crop = np.frombuffer(batch["crop"][place], np.uint8).reshape(batch["shape"][place])
    return EmbeddedPhoto(np.frombuffer(batch["embedding"][place], np.float32), crop)
