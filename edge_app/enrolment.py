"""Photos into a gallery: embed in batches, commit each batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from sightline.runtime import NewEntry
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.gallery import Catalogue
from sightline.runtime.reporter import Reporter

from .embedding import Embed, Failure, Outcome

# One batch is what an interruption can cost.
_BATCH = 32


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


def enrol(
    gallery: Catalogue,
    embed: Embed,
    images: Sequence[LabelledImage],
    reporter: Reporter,
    skip_known: bool = False,
) -> Enrolled:
    """Embed photos and store them, a batch a transaction; an interruption keeps the batches before it.

    Args:
        gallery: Where to.
        embed: What embeds; its model is the gallery's.
        images: The photos with their labels and metadata.
        reporter: Shown progress, and each photo that cannot be read.
        skip_known: Pass over photos that the gallery holds already under the same label, by file.

    Raises:
        GalleryError: A batch could not be stored; those before it are.
        InputError: A worker that embeds failed; what is stored stays.
    """
    done = Enrolled()
    known = {(entry.source, entry.label) for entry in gallery.entries()} if skip_known else set()
    wanted = []
    for image in images:
        if (str(image.path), image.label) in known:
            done.known.append(str(image.path))
        else:
            wanted.append(image)
    if not wanted:
        return done
    left = iter(wanted)
    work = embed(_batches([image.path for image in wanted]))
    with reporter.task("Embedding", len(wanted)) as task, closing(work):
        for outcomes in work:
            batch = list(islice(left, len(outcomes)))
            _store(gallery, batch, outcomes, done, reporter)
            task.advance(len(batch), batch[-1].label)
    return done


def labelled(files: Sequence[Path], label: str, metadata: Mapping[str, str]) -> list[LabelledImage]:
    """Give files one label and the same metadata."""
    return [LabelledImage(file, label, dict(metadata)) for file in files]


def _store(
    gallery: Catalogue,
    batch: Sequence[LabelledImage],
    outcomes: Sequence[Outcome],
    done: Enrolled,
    reporter: Reporter,
) -> None:
    entries = []
    for image, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, Failure):
            done.failed.append(Failure(str(image.path), outcome.error))
            reporter.warn(outcome.error)
        else:
            source = str(image.path)
            entries.append(NewEntry(image.label, outcome.embedding, outcome.crop, image.metadata, source))
    ids = gallery.add_many(entries)
    done.ids.update({str(entry.source): id for entry, id in zip(entries, ids, strict=True)})


def _batches(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(files), _BATCH):
        yield files[start : start + _BATCH]
