"""A gallery as files that other programs read, and back: a CSV, its pictures, and the embeddings.

    entries.csv      one row an entry: file, label, metadata (JSON), created, changed, source, uuid, model_id
    images/ID.jpg    the pictures
    embeddings.npy   float32, one row an entry, in the order of the CSV

The CSV is also a data set: `sightline gallery build` and `sightline train` take it where every entry has a picture.
"""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from ..durable import new_folder
from ..errors import GalleryError, InputError
from ..preprocess import decode_image
from .entries import checked_text, metadata_json, unit_rows
from .rows import PreparedEntry
from .schema import explained
from .store import Store

TABLE, IMAGES, EMBEDDINGS = "entries.csv", "images", "embeddings.npy"
_COLUMNS = ("file", "label", "metadata", "created", "changed", "source", "uuid", "model_id")
_SAFE_FILE = re.compile(r"images/[0-9]{1,18}\.jpg")
_MOST_PICTURE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of an import: entries added, and entries that the gallery held already."""

    added: int
    known: int


def export_gallery(folder: Path, into: Path) -> int:
    """Write a gallery's entries as files; returns how many. `into` appears when it is whole.

    Raises:
        GalleryError: The gallery cannot be read, `into` exists or cannot be written.
    """
    if into.exists():
        raise GalleryError(f"'{into}' exists already: name a new folder")
    store = Store.open(folder, None, False, None)
    try:
        with explained(into), new_folder(into) as staging:
            return _write(store, staging)
    finally:
        store.close()


def import_gallery(source: Path, folder: Path) -> Imported:
    """Add exported entries to a gallery, made where it is missing; those it holds already are passed over.

    Raises:
        InputError: The files cannot be read or do not belong together.
        GalleryError: The gallery is of another model, or cannot be written; nothing was added.
    """
    rows, vectors = _read_table(source / TABLE), _read_vectors(source / EMBEDDINGS)
    if len(rows) != len(vectors):
        raise InputError(f"'{source}' holds {len(rows)} entries and {len(vectors)} embeddings: export it again")
    if not rows:
        raise InputError(f"'{source / TABLE}' holds no entry")
    models = {row["model_id"] for row in rows}
    if len(models) > 1:
        raise InputError(f"'{source / TABLE}' holds embeddings of {len(models)} models: a gallery keeps to one")
    entries = [_entry(source, row, vector) for row, vector in zip(rows, vectors, strict=True)]
    return _add(entries, models.pop(), vectors.shape[1], folder)


def _add(entries: Sequence[PreparedEntry], model_id: str, dim: int, folder: Path) -> Imported:
    store = Store.open(folder, model_id, True, dim)
    try:
        if store.head().model_id != model_id:
            raise GalleryError(
                f"gallery '{folder}' holds embeddings of model {store.head().model_id}, the files of {model_id}: "
                "run 'sightline gallery build' on their entries.csv to embed the pictures anew"
            )
        with store.reading() as reader:
            known = {row[0] for row in reader.execute("SELECT uuid FROM entries UNION SELECT uuid FROM removed")}
        # A table that was edited may name an entry twice.
        fresh = list({entry.uuid: entry for entry in entries if entry.uuid not in known}.values())
        if fresh:
            store.append(fresh, model_id, dim)
        return Imported(len(fresh), len(entries) - len(fresh))
    finally:
        store.close()


def _write(store: Store, staging: Path) -> int:
    (staging / IMAGES).mkdir()
    vectors = []
    with (staging / TABLE).open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(_COLUMNS)
        for row in store.checked_rows():
            jpeg = store.crop(row[0])
            file = f"{IMAGES}/{row[0]}.jpg" if jpeg is not None else ""
            if jpeg is not None:
                (staging / file).write_bytes(jpeg)
            times = (repr(row[4]), repr(row[5]))
            table.writerow((file, row[2], row[3], *times, row[6] or "", UUID(bytes=row[1]).hex, row[7]))
            vectors.append(np.frombuffer(row[9], "<f4"))
    np.save(staging / EMBEDDINGS, np.array(vectors, np.float32), allow_pickle=False)
    return len(vectors)


def _read_table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream)
            missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise InputError(f"'{path}' lacks the column '{missing[0]}': expected a gallery's export")
            return list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read: expected a gallery's export ({error})") from error


def _read_vectors(path: Path) -> NDArray[np.float32]:
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"'{path}' cannot be read: expected a gallery's export ({error})") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype != np.float32:
        raise InputError(f"'{path}' holds no float32 rows: expected a gallery's export")
    return vectors


def _entry(source: Path, row: dict[str, str], vector: NDArray[np.float32]) -> PreparedEntry:
    try:
        metadata = json.loads(row["metadata"])
        return PreparedEntry(
            uuid=UUID(row["uuid"]).bytes,
            label=checked_text(row["label"], "label"),
            metadata=metadata_json(metadata),
            created=_time(row["created"]),
            changed=_time(row["changed"]),
            source=row["source"] or None,
            model_id=checked_text(row["model_id"], "model_id"),
            embedding=_unit(vector).astype("<f4").tobytes(),
            jpeg=_picture(source, row["file"]),
        )
    except (ValueError, AttributeError, TypeError, GalleryError) as error:
        raise InputError(f"entry {row.get('uuid')!r} of '{source / TABLE}' cannot be read: {error}") from error


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    # Dividing again by a length of almost one would change the last bits of what was exported.
    unit = unit_rows(vector, None)[0]
    return vector if np.abs(unit - vector).max() < 1e-6 else unit


def _time(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e11:
        raise ValueError(f"{text} is no time")
    return seconds


def _picture(source: Path, file: str) -> bytes | None:
    if not file:
        return None
    if not _SAFE_FILE.fullmatch(file):
        raise ValueError(f"{file!r} is no picture of an export")
    try:
        if (source / file).stat().st_size > _MOST_PICTURE_BYTES:
            raise ValueError(f"{file!r} is larger than any picture of a gallery")
        data = (source / file).read_bytes()
    except OSError as error:
        raise InputError(f"picture '{source / file}' cannot be read: {error.strerror}") from error
    decode_image(data, str(source / file))
    return data
