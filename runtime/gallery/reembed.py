"""Another model's embeddings from the kept pictures, without teaching again.

New vectors are staged beside the old, batch by batch, so an interruption costs a batch; the old ones serve
until one transaction puts all new ones in their place.
"""

import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryError
from ..preprocess import Image, decode_image
from ..reporter import QuietReporter, Reporter
from .calibration_rows import forget_calibration
from .entries import unit_rows
from .rows import ENTRY_COLUMNS, entry_checksum, row_problem
from .schema import BLANK_ENTRY, LIVE, damaged, write_head
from .store import Store

_BATCH = 32
_MOST_NAMED = 20

_UNSTAGED = (
    f"SELECT entries.id FROM entries WHERE {LIVE} AND NOT EXISTS "
    "(SELECT 1 FROM staged WHERE staged.id = entries.id AND staged.model_id = ?)"
)

Embed = Callable[[list[Image]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Reembedded:
    """What became of a gallery's entries.

    Attributes:
        entries: Entries with the new model's embedding.
        dropped: Ids removed because they kept no picture.
        uncalibrated: Whether it had thresholds, which were of the old model and are gone with their negatives.
    """

    entries: int
    dropped: tuple[int, ...]
    uncalibrated: bool = False


def reembed(
    folder: Path, model_id: str, embed: Embed, reporter: Reporter | None = None, drop_missing: bool = False
) -> Reembedded:
    """Give a gallery another model's embeddings.

    Args:
        folder: The gallery's folder.
        model_id: The new model.
        embed: Turns BGR pictures into float32 (pictures, dim).
        reporter: Shown progress.
        drop_missing: Remove entries that keep no picture; else they stop the change.

    Raises:
        GalleryError: Entries keep no picture (they are named), or it could not be written. The gallery then
            serves its old embeddings as before, and what was embedded so far is kept for the next run.
    """
    store = Store.open(folder, None, False, None)
    try:
        head = store.head()
        if head.model_id == model_id:
            return Reembedded(head.entries, ())
        switched, calibrated = None, store.delta(0, head.generation, 1).thresholds is not None
        with (reporter or QuietReporter()).task("Embedding", head.entries) as task:
            while switched is None:
                missing = _stage_all(store, model_id, embed, task.advance)
                if missing and not drop_missing:
                    raise _no_pictures(folder, missing)
                switched = _switch(store, model_id, missing)
        # Vectors of another width move rows, and what moved leaves its bytes behind.
        store.compact()
        return Reembedded(switched, tuple(missing), calibrated)
    finally:
        store.close()


def _stage_all(store: Store, model_id: str, embed: Embed, advance: Callable[[float], None]) -> list[int]:
    """Embed what is not staged yet; returns the ids that keep no picture."""
    missing: list[int] = []
    after = 0
    while ids := _unstaged(store, model_id, after):
        pictures = [(id, jpeg) for id in ids if (jpeg := store.crop(id)) is not None]
        missing += sorted(set(ids) - {id for id, _ in pictures})
        if pictures:
            frames = [decode_image(jpeg, f"picture of entry {id}") for id, jpeg in pictures]
            _stage(store, model_id, [id for id, _ in pictures], unit_rows(embed(frames), None))
        advance(len(ids))
        after = ids[-1]
    return missing


def _unstaged(store: Store, model_id: str, after: int) -> list[int]:
    with store.reading() as reader:
        query = f"{_UNSTAGED} AND entries.id > ? ORDER BY entries.id LIMIT ?"
        return [row[0] for row in reader.execute(query, (model_id, after, _BATCH))]


def _stage(store: Store, model_id: str, ids: Sequence[int], vectors: NDArray[np.float32]) -> None:
    with store.transaction() as (writer, _):
        for id, vector in zip(ids, vectors, strict=True):
            data = vector.astype("<f4").tobytes()
            row = (id, model_id, _staged_checksum(id, model_id, data), data)
            writer.execute("INSERT OR REPLACE INTO staged VALUES (?, ?, ?, ?)", row)


def _switch(store: Store, model_id: str, missing: Sequence[int]) -> int | None:
    """Put the staged vectors in place, in one transaction.

    Returns:
        How many entries there are, or None where entries came or went meanwhile.
    """
    with store.transaction() as (writer, head):
        if {row[0] for row in writer.execute(_UNSTAGED, (model_id,))} != set(missing):
            return None
        # What is written below gets fresh checksums: damage would be hidden for good.
        held = writer.execute(f"SELECT count(*), coalesce(sum(checksum), 0) FROM entries WHERE {LIVE}").fetchone()
        if held != (head.entries, head.digest):
            raise damaged(store.folder, f"{head.entries} entries were stored, {held[0]} are there")
        for id in missing:
            uuid = writer.execute("SELECT uuid FROM entries WHERE id = ?", (id,)).fetchone()[0]
            writer.execute(BLANK_ENTRY, (id,))
            writer.execute("INSERT INTO removed VALUES (?, ?, ?, ?)", (head.generation + 1, id, uuid, time.time()))
        count, digest, size = _replace_vectors(writer, model_id, head.dim or 0, store.folder)
        writer.execute("DELETE FROM staged")
        forget_calibration(writer)
        epoch, generation = head.epoch + 1, head.generation + 1
        dim = size // 4 if count else None
        moved = replace(head, model_id=model_id, dim=dim, epoch=epoch, generation=generation)
        write_head(writer, replace(moved, entries=count, digest=digest))
    return count


def _replace_vectors(writer: sqlite3.Connection, model_id: str, old_dim: int, folder: Path) -> tuple[int, int, int]:
    """Returns how many entries there are, the sum of their checksums, and a vector's bytes."""
    count = digest = size = after = 0
    columns = ", ".join(f"entries.{name}" for name in ENTRY_COLUMNS.split(", "))
    query = (
        f"SELECT {columns}, staged.checksum, staged.embedding FROM entries JOIN staged USING (id) "
        f"WHERE entries.id > ? AND {LIVE} ORDER BY entries.id LIMIT 256"
    )
    while rows := writer.execute(query, (after,)).fetchall():
        for row in rows:
            problem = row_problem(row[:11], old_dim)
            if problem is not None:
                raise damaged(folder, problem)
            id, vector = row[0], row[12]
            if row[11] != _staged_checksum(id, model_id, vector) or size not in (0, len(vector)):
                raise damaged(folder, f"the new embedding of entry {id} fails its checksum")
            fields = [*row[:7], model_id, row[8], vector]
            checksum = entry_checksum(*fields)
            writer.execute(
                "UPDATE entries SET model_id = ?, embedding = ?, checksum = ? WHERE id = ?",
                (model_id, vector, checksum, id),
            )
            count, digest, size = count + 1, digest + checksum, len(vector)
        after = rows[-1][0]
    return count, digest, size


def _staged_checksum(id: int, model_id: str, embedding: bytes) -> int:
    return zlib.crc32(embedding, zlib.crc32(f"{id} {model_id}".encode()))


def _no_pictures(folder: Path, missing: Sequence[int]) -> GalleryError:
    named = ", ".join(map(str, missing[:_MOST_NAMED])) + (", ..." if len(missing) > _MOST_NAMED else "")
    return GalleryError(
        f"gallery '{folder}': {len(missing)} entries keep no picture to embed anew ({named}): remove them, or let "
        "--drop-missing remove them; the gallery is unchanged"
    )
