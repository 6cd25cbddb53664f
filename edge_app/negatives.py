"""Pictures of what is no item: photos, or what a camera sees while nothing is held before it."""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.runtime import InputError, Recognizer, read_image
from sightline.runtime.dataset import LabelledImage, list_images, read_dataset
from sightline.runtime.preprocess import Image
from sightline.runtime.reporter import Reporter

from .reader import Patience, Reader, State
from .region import Region
from .sources import parse_source

# More frames of one scene say nothing new; at ten a second these are more than the usual half minute.
MOST_NEGATIVES = 1000
_STILL_FPS = 10.0
_TAKE_S = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Negatives:
    """What was looked at.

    Attributes:
        embeddings: float32, shape (pictures, dim), in the order they were taken.
        passed_over: Photos left out because their label is in the gallery.
    """

    embeddings: NDArray[np.float32]
    passed_over: int


def look(
    recognizer: Recognizer, where: str, seconds: float, region: Region, known: Collection[str], reporter: Reporter
) -> Negatives:
    """Embed negatives.

    Args:
        recognizer: What embeds.
        where: A folder of photos or of class folders, a CSV file, or the URI of a source.
        seconds: How long a source is looked at; of files, seconds of their own.
        region: The part of a source's frames that counts, as in a run.
        known: The gallery's labels: photos that bear one are no negatives.
        reporter: Shown progress.

    Raises:
        InputError: There is no picture, or a path or URI is wrong.
        SourceError: The source gives none.
    """
    if Path(where).is_dir() or where.lower().endswith(".csv"):
        photos = _photos(where)
        wanted = [photo for photo in photos if photo.label not in known]
        if not wanted:
            raise InputError(f"every photo of '{where}' bears a label of the gallery: negatives show no item of it")
        rows = _embed_photos(recognizer, _spread(wanted), reporter)
        return Negatives(_stacked(rows, where), len(photos) - len(wanted))
    return Negatives(_stacked(_embed_frames(recognizer, where, seconds, region, reporter), where), 0)


def _photos(where: str) -> list[LabelledImage]:
    path = Path(where)
    if path.is_dir() and not any(entry.is_dir() for entry in path.iterdir()):
        return [LabelledImage(file, "") for file in list_images([path])]
    return read_dataset(path)


def _embed_photos(
    recognizer: Recognizer, photos: Sequence[LabelledImage], reporter: Reporter
) -> list[NDArray[np.float32]]:
    rows = []
    with reporter.task("Looking at negatives", len(photos)) as task:
        for photo in photos:
            try:
                rows.append(recognizer.embed([read_image(photo.path)])[0])
            except InputError as error:
                reporter.warn(f"{error}; left out")
            task.advance()
    return rows


def _embed_frames(
    recognizer: Recognizer, where: str, seconds: float, region: Region, reporter: Reporter
) -> list[NDArray[np.float32]]:
    rows = []
    with reporter.task(f"Looking at nothing for {seconds:g} s", seconds) as task:
        done_s = 0.0
        for image_bgr, at_s in _frames(where, seconds):
            rows.append(recognizer.embed([region.of(image_bgr)])[0])
            task.advance(max(0.0, at_s - done_s))
            done_s = max(done_s, at_s)
    return rows


def _frames(where: str, seconds: float) -> Iterator[tuple[Image, float]]:
    """Frames of the first seconds, evenly taken, with their time since the first."""
    reader = Reader(parse_source(where), Patience())
    apart_s, next_s, first_s = seconds / MOST_NEGATIVES, 0.0, None
    try:
        while reader.status.state is not State.ENDED:
            if first_s is not None and reader.source.live and time.monotonic() - first_s >= seconds:
                return
            frame = reader.take(_TAKE_S)
            if frame is None:
                continue
            stream_s = frame.taken_s if reader.source.live else frame.number / (reader.fps or _STILL_FPS)
            first_s = stream_s if first_s is None else first_s
            if stream_s - first_s >= seconds:
                return
            if stream_s - first_s >= next_s:
                next_s += apart_s
                yield frame.image_bgr, stream_s - first_s
    finally:
        reader.close()


def _spread(photos: Sequence[LabelledImage]) -> list[LabelledImage]:
    step = max(1.0, len(photos) / MOST_NEGATIVES)
    return [photos[int(number * step)] for number in range(min(len(photos), MOST_NEGATIVES))]


def _stacked(rows: Sequence[NDArray[np.float32]], where: str) -> NDArray[np.float32]:
    if not rows:
        raise InputError(f"no picture of '{where}' could be read: negatives need at least one")
    return np.stack(rows)
