"""Galleries made from others: what can be saved of a damaged one, and several joined into one.

Both write a new folder that appears when it is whole and on the disk; what they read is never changed.
"""

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..durable import new_folder
from ..errors import GalleryError
from .calibration import Thresholds
from .calibration_rows import (
    DamagedCalibration,
    read_negatives,
    read_thresholds,
    write_negatives,
    write_thresholds,
)
from .check import crop_problem, last_id, open_for_check, readable_rows
from .folder import DATABASE
from .rows import PreparedEntry, row_problem
from .schema import DAMAGE, Head, NewerSchema, explained, read_head, write_head
from .store import Store, insert_entry

_PAGE_SIZE_AT, _PAGE_COUNT_AT, _CHANGES_AT, _VALID_FOR_AT = 16, 28, 24, 92


@dataclass(frozen=True, slots=True)
class Salvage:
    """What was saved of a damaged gallery.

    Attributes:
        saved: Entries in the new gallery, under their old ids.
        lost: Ids that could not be saved.
        without_picture: Ids that were saved without their picture.
    """

    saved: int
    lost: tuple[int, ...]
    without_picture: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of several galleries.

    Attributes:
        entries: Entries of the new gallery.
        same: Entries that were in more than one and are kept once.
        removed: Entries left out because another gallery had removed them since.
    """

    entries: int
    same: int
    removed: int


@dataclass(frozen=True, slots=True)
class _Removal:
    """An entry that was removed: its id and uuid, and when, Unix time."""

    id: int
    uuid: bytes
    when: float


@dataclass(frozen=True, slots=True, eq=False)
class _Calibration:
    """A gallery's thresholds and negatives."""

    thresholds: Thresholds | None
    negatives: NDArray[np.float32]


def salvage(folder: Path, into: Path) -> Salvage:
    """Copy every whole entry of a gallery, damaged or not, into a new one under the same ids.

    Raises:
        GalleryError: There is no gallery, nothing can be saved, or `into` exists.
    """
    _must_be_new(into)
    if not (folder / DATABASE).is_file():
        raise GalleryError(f"gallery '{folder}' does not exist: expected a folder with '{DATABASE}'")
    with explained(into), new_folder(into) as staging, _readable(folder) as connection:
        head = _head_or_none(connection, folder)
        rows = [row for row in readable_rows(connection, last_id(head)) if _is_whole(row)]
        if not rows:
            raise GalleryError(f"nothing can be saved of gallery '{folder}': no entry in it is whole")
        model_id, size = Counter((row[7], len(row[9])) for row in rows).most_common(1)[0][0]
        rows = [row for row in rows if (row[7], len(row[9])) == (model_id, size)]
        without = {row[0] for row in rows if crop_problem(connection, row) is not None}
        removals = _removals(connection)
        calibration = _calibration(connection, model_id, size // 4)
        next_id = max([head.next_id if head else 1, *(row[0] + 1 for row in rows)])
        _write(staging, model_id, size // 4, _with_crops(connection, rows, without), removals, next_id, [calibration])
        known = {row[0] for row in rows} | {removal.id for removal in removals}
        lost = tuple(id for id in range(1, next_id) if id not in known)
    return Salvage(len(rows), lost, tuple(sorted(without)))


def merge(sources: Sequence[Path], into: Path) -> Merged:
    """Join galleries of one model: the same entry once, the later word where they differ, removals respected.

    Raises:
        GalleryError: A source is missing, damaged or of another model than the first, or `into` exists.
    """
    _must_be_new(into)
    stores = [Store.open(source, None, False, None) for source in sources]
    try:
        heads = [store.head() for store in stores]
        for source, head in zip(sources, heads, strict=True):
            if (head.model_id, head.dim) != (heads[0].model_id, heads[0].dim):
                raise GalleryError(
                    f"gallery '{source}' holds embeddings of model {head.model_id}, '{sources[0]}' of "
                    f"{heads[0].model_id}: bring them to one model with 'sightline gallery reembed' first"
                )
        return _merge(stores, heads[0], into)
    finally:
        for store in stores:
            store.close()


def _merge(stores: Sequence[Store], head: Head, into: Path) -> Merged:
    removed = _latest_removals(stores)
    winners: dict[bytes, tuple[float, int]] = {}  # uuid: when it was changed, in which store
    seen = 0
    for number, store in enumerate(stores):
        for row in store.checked_rows():
            seen += 1
            if row[1] not in winners or row[5] > winners[row[1]][0]:
                winners[row[1]] = (row[5], number)
    kept = {uuid: place for uuid, place in winners.items() if removed.get(uuid, -1.0) < place[0]}
    removals = [_Removal(-number, uuid, when) for number, (uuid, when) in enumerate(removed.items(), 1)]
    count = len(kept)

    def entries() -> Iterator[tuple[int, PreparedEntry]]:
        id = 0
        for number, store in enumerate(stores):
            for row in store.checked_rows():
                # Popped, so that an entry that one gallery holds twice is taken once.
                if kept.get(row[1]) == (row[5], number) and kept.pop(row[1]):
                    id += 1
                    yield id, _prepared(row, store.crop(row[0]))

    with explained(into), new_folder(into) as staging:
        calibrations = [_calibration_of(store, head) for store in stores]
        _write(staging, head.model_id, head.dim, entries(), removals, count + 1, calibrations)
    return Merged(count, seen - len(winners), len(winners) - count)


def _write(
    staging: Path,
    model_id: str,
    dim: int | None,
    entries: Iterable[tuple[int, PreparedEntry]],
    removals: Sequence[_Removal],
    next_id: int,
    calibrations: Sequence[_Calibration],
) -> None:
    store = Store.open(staging, model_id, True, dim)
    try:
        with store.transaction() as (writer, head):
            count = digest = 0
            for id, entry in entries:
                digest += insert_entry(writer, id, entry)
                count += 1
            for one in removals:
                writer.execute("INSERT INTO removed VALUES (1, ?, ?, ?)", (one.id, one.uuid, one.when))
            write_head(writer, replace(head, dim=dim, generation=1, next_id=next_id, entries=count, digest=digest))
            _write_calibration(writer, model_id, calibrations)
    finally:
        store.close()


def _write_calibration(writer: sqlite3.Connection, model_id: str, parts: Sequence[_Calibration]) -> None:
    """Join thresholds and negatives: the strictest aim; fitted, and measured, anew when the gallery is opened."""
    fitted = [part.thresholds for part in parts if part.thresholds is not None]
    if not fitted:
        return
    write_negatives(writer, model_id, np.concatenate([part.negatives for part in parts]))
    strictest = min(fitted, key=lambda one: one.aim.false_accepts)
    highest = max(one.similarity for one in fitted)
    joined = Thresholds(
        aim=strictest.aim,
        similarity=highest,
        of_label={},
        generation=0,
        entries=0,
        negatives=0,
        false_accept_rate=None,
        false_accept_bound=None,
        false_reject_rate=None,
        other_accept_rate=None,
        auc=None,
    )
    write_thresholds(writer, joined)


def _calibration_of(store: Store, head: Head) -> _Calibration:
    with store.reading() as reader:
        return _calibration(reader, head.model_id, head.dim)


def _calibration(connection: sqlite3.Connection, model_id: str, dim: int | None) -> _Calibration:
    try:
        return _Calibration(read_thresholds(connection), read_negatives(connection, model_id, dim))
    except (*DAMAGE, DamagedCalibration):
        return _Calibration(None, np.empty((0, dim or 0), np.float32))


def _latest_removals(stores: Sequence[Store]) -> dict[bytes, float]:
    latest: dict[bytes, float] = {}
    for store in stores:
        with store.reading() as reader:
            for removal in _removals(reader):
                latest[removal.uuid] = max(removal.when, latest.get(removal.uuid, removal.when))
    return latest


def _removals(connection: sqlite3.Connection) -> list[_Removal]:
    try:
        rows = connection.execute("SELECT id, uuid, removed FROM removed").fetchall()
    except DAMAGE:
        return []
    unique = {row[0]: _Removal(*row) for row in rows if isinstance(row[0], int) and isinstance(row[1], bytes)}
    return list(unique.values())


def _prepared(row: Sequence[Any], jpeg: bytes | None) -> PreparedEntry:
    return PreparedEntry(row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[9], jpeg)


def _with_crops(
    connection: sqlite3.Connection, rows: Sequence[Sequence[Any]], without: set[int]
) -> Iterator[tuple[int, PreparedEntry]]:
    for row in rows:
        jpeg = None
        if row[8] and row[0] not in without:
            jpeg = bytes(connection.execute("SELECT jpeg FROM crops WHERE id = ?", (row[0],)).fetchone()[0])
        yield row[0], _prepared(row, jpeg)


def _is_whole(row: Sequence[Any]) -> bool:
    return isinstance(row[9], bytes) and len(row[9]) > 0 and row_problem(row, len(row[9]) // 4) is None


def _head_or_none(connection: sqlite3.Connection, folder: Path) -> Head | None:
    try:
        return read_head(connection, folder)
    except (*DAMAGE, GalleryError, TypeError):
        return None


def _must_be_new(into: Path) -> None:
    if into.exists():
        raise GalleryError(f"'{into}' exists already: name a new folder")


@contextmanager
def _readable(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open a gallery's file; where its first page is damaged, a copy with a whole one."""
    if _opens(folder):
        with open_for_check(folder) as connection:
            yield connection
        return
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
        copy = Path(place) / "copy"
        _copy_with_new_first_page(folder, copy)
        with open_for_check(copy) as connection:
            yield connection


def _opens(folder: Path) -> bool:
    try:
        with open_for_check(folder) as connection:
            connection.execute("SELECT id FROM entries LIMIT 1").fetchone()
    except NewerSchema:
        raise
    except (*DAMAGE, GalleryError):
        return False
    return True


def _copy_with_new_first_page(folder: Path, copy: Path) -> None:
    # Tables are always made in the same order, so the first page of a new gallery names the right roots.
    Store.open(copy, "unknown", True, None).close()
    fresh = (copy / DATABASE).read_bytes()
    size = int.from_bytes(fresh[_PAGE_SIZE_AT : _PAGE_SIZE_AT + 2], "big")
    shutil.copyfile(folder / DATABASE, copy / DATABASE)
    pages = (copy / DATABASE).stat().st_size // size
    first = bytearray(fresh[:size])
    first[_PAGE_COUNT_AT : _PAGE_COUNT_AT + 4] = pages.to_bytes(4, "big")
    first[_VALID_FOR_AT : _VALID_FOR_AT + 4] = first[_CHANGES_AT : _CHANGES_AT + 4]
    with (copy / DATABASE).open("r+b") as stream:
        stream.write(first)
