"""Photos into a gallery: read, embed in batches, commit each batch."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sightline.runtime import Gallery, InputError, InputSpec, NewEntry, Recognizer, prepare, read_image
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.gallery.crops import shrink
from sightline.runtime.preprocess import Image
from sightline.runtime.reporter import Reporter

# One batch is what an interruption can cost.
_BATCH = 32
_READERS = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that could not be read, and why."""

    image: str
    error: str


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What became of a run of photos.

    Attributes:
        ids: Of each photo's new entry, by file.
        known: Photos that the gallery held already, under the same label.
        failed: Photos that could not be read.
    """

    ids: dict[str, int] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class _Photo:
    prepared: Image
    crop: Image


def enrol(
    gallery: Gallery,
    recognizer: Recognizer,
    images: Sequence[LabelledImage],
    reporter: Reporter,
    skip_known: bool = False,
) -> Enrolled:
    """Embed photos and store them, a batch a transaction; an interruption keeps the batches before it.

    Args:
        gallery: Where to.
        recognizer: What embeds; its model is the gallery's.
        images: The photos with their labels and metadata.
        reporter: Shown progress, and each photo that cannot be read.
        skip_known: Pass over photos that the gallery holds already under the same label, by file.

    Raises:
        GalleryError: A batch could not be stored; those before it are.
    """
    done = Enrolled()
    known = {(entry.source, entry.label) for entry in gallery.entries()} if skip_known else set()
    wanted = []
    for image in images:
        if (str(image.path), image.label) in known:
            done.known.append(str(image.path))
        else:
            wanted.append(image)
    with reporter.task("Embedding", len(wanted)) as task, ThreadPoolExecutor(_READERS) as readers:
        for batch in _batches(wanted):
            photos = list(readers.map(lambda image: _read(image.path, recognizer.bundle.input_spec), batch))
            _store(gallery, recognizer, batch, photos, done, reporter)
            task.advance(len(batch), batch[-1].label)
    return done


def labelled(files: Sequence[Path], label: str, metadata: Mapping[str, str]) -> list[LabelledImage]:
    """Give files one label and the same metadata."""
    return [LabelledImage(file, label, dict(metadata)) for file in files]


def _store(
    gallery: Gallery,
    recognizer: Recognizer,
    batch: Sequence[LabelledImage],
    photos: Sequence[_Photo | InputError],
    done: Enrolled,
    reporter: Reporter,
) -> None:
    whole = [(image, photo) for image, photo in zip(batch, photos, strict=True) if isinstance(photo, _Photo)]
    for image, photo in zip(batch, photos, strict=True):
        if isinstance(photo, InputError):
            done.failed.append(Failure(str(image.path), str(photo)))
            reporter.warn(str(photo))
    if not whole:
        return
    _, embeddings = recognizer.run(np.stack([photo.prepared for _, photo in whole]))
    entries = [
        NewEntry(image.label, embedding, photo.crop, image.metadata, str(image.path))
        for (image, photo), embedding in zip(whole, embeddings, strict=True)
    ]
    ids = gallery.add_many(entries)
    done.ids.update({str(image.path): id for (image, _), id in zip(whole, ids, strict=True)})


def _read(path: Path, spec: InputSpec) -> _Photo | InputError:
    # Only what is needed is kept: a batch of twelve-megapixel photos would be more than a gigabyte.
    try:
        frame_bgr = read_image(path)
        return _Photo(prepare(frame_bgr, spec), shrink(frame_bgr).copy())
    except InputError as error:
        return error


def _batches(images: Sequence[LabelledImage]) -> Iterator[Sequence[LabelledImage]]:
    for start in range(0, len(images), _BATCH):
        yield images[start : start + _BATCH]
