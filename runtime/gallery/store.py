"""The truth: one SQLite file, written by one connection behind the writer lock, read by another."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from ..durable import sync_folder
from ..errors import GalleryError
from .calibration_rows import CALIBRATION_DAMAGED, DamagedCalibration, read_negatives, read_thresholds
from .folder import DATABASE, GRAPH, LOCK, writing
from .rows import ENTRY_COLUMNS, Batch, Delta, PreparedEntry, checked_batch, crop_checksum, entry_checksum, row_problem
from .schema import (
    BLANK_CROP,
    BLANK_ENTRY,
    BLANK_STAGED,
    BUSY_TIMEOUT_S,
    LIVE,
    Head,
    check_version,
    connect,
    create_tables,
    damaged,
    explained,
    has_calibration,
    make_durable,
    read_head,
    upgrade,
    write_head,
)

# Past this the log is copied back at the end of a write: bulk loads keep it small, single adds never wait.
_CHECKPOINT_BYTES = 16 << 20
# VACUUM builds the new file in memory, so that no copy of it is ever in a folder of temporary files.
_LARGEST_COMPACTION_BYTES = 256 << 20
_PAGE = 256


class Store:
    """An open gallery file.

    Every method may be called from any thread. Writes return when they are on the disk.

    Attributes:
        folder: The gallery's folder.
        writable: Whether the disk lets this process write.
    """

    def __init__(self, folder: Path, writer: sqlite3.Connection | None, reader: sqlite3.Connection) -> None:
        self.folder = folder
        self.writable = writer is not None
        self._writer = writer
        self._reader = reader
        self._write_lock = threading.RLock()
        self._read_lock = threading.RLock()
        self._seen_version = -1

    @classmethod
    def open(cls, folder: Path, model_id: str | None, create: bool, dim: int | None) -> "Store":
        """Open the file, making it where it is missing and `create` is true.

        Raises:
            GalleryError: It is missing, damaged, newer, no gallery, or cannot be read.
        """
        with explained(folder):
            if not (folder / DATABASE).exists():
                _prepare_folder(folder, model_id, create)
            if (folder / DATABASE).exists() and not _may_write(folder):
                return cls._open_readonly(folder)
            return cls._open_writable(folder, model_id if create else None, dim)

    @classmethod
    def _open_writable(cls, folder: Path, model_id: str | None, dim: int | None) -> "Store":
        with writing(folder):
            writer = connect(folder, "rw" if model_id is None else "rwc")
            try:
                if not check_version(writer, folder):
                    _create(writer, folder, model_id, dim)
                make_durable(writer)
                if not has_calibration(writer):
                    _upgrade(writer)
                # What a killed process left in the log is copied back and the log emptied.
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                return cls(folder, writer, connect(folder, "ro"))
            except BaseException:
                writer.close()
                raise

    @classmethod
    def _open_readonly(cls, folder: Path) -> "Store":
        log = folder / f"{DATABASE}-wal"
        reader = connect(folder, "ro" if log.exists() and log.stat().st_size else "immutable")
        if not check_version(reader, folder):
            reader.close()
            raise GalleryError(f"gallery '{folder}' is empty and on a read-only disk: it cannot be begun there")
        return cls(folder, None, reader)

    def close(self) -> None:
        """Close; the last process to close empties the write-ahead log."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            if self._writer is not None:
                with suppress(GalleryError, OSError), writing(self.folder):
                    self._writer.close()
                self._writer.close()

    def head(self) -> Head:
        """Read the head: what the gallery is and how much it holds.

        Raises:
            GalleryError: It cannot be read.
        """
        with self.reading() as reader:
            return read_head(reader, self.folder)

    def changed(self) -> bool:
        """Tell whether anything was committed, by anyone, since the last call: about 2 to 10 µs.

        Where a thread is reading at this moment the answer is False, and the next call tells.
        """
        if not self._read_lock.acquire(blocking=False):
            return False
        try:
            version = int(self._reader.execute("PRAGMA data_version").fetchone()[0])
            changed, self._seen_version = version != self._seen_version, version
            return changed
        finally:
            self._read_lock.release()

    def look_again(self) -> None:
        """Make the next `changed` answer True: the last change could not be taken in."""
        self._seen_version = -1

    def delta(self, last_id: int, generation: int, limit: int) -> Delta:
        """Read what changed since `generation`: removals, and at most `limit` entries after `last_id`.

        Raises:
            GalleryError: It cannot be read, or an entry fails its checksum.
        """
        with self.reading() as reader:
            head = read_head(reader, self.folder)
            removed = reader.execute("SELECT id FROM removed WHERE generation > ?", (generation,)).fetchall()
            added = self._added(reader, head, last_id, limit)
            try:
                thresholds, note = read_thresholds(reader), None
            except DamagedCalibration:
                thresholds, note = None, CALIBRATION_DAMAGED
            return Delta(head, [row[0] for row in removed], added, thresholds, note)

    def negatives(self) -> NDArray[np.float32]:
        """The stored negatives, float32 (negatives, dim); none where they are damaged."""
        with self.reading() as reader:
            head = read_head(reader, self.folder)
            try:
                return read_negatives(reader, head.model_id, head.dim)
            except DamagedCalibration:
                return np.empty((0, head.dim or 0), np.float32)

    def append(self, entries: Sequence[PreparedEntry], model_id: str, dim: int) -> list[int]:
        """Add entries in one transaction; returns their ids when they are on the disk.

        Raises:
            GalleryError: It could not be written, or holds another model's vectors; nothing was added.
        """
        with self.transaction() as (writer, head):
            if head.model_id != model_id:
                raise GalleryError(
                    f"gallery '{self.folder}' was moved to model {head.model_id} meanwhile: open it anew"
                )
            if head.dim not in (None, dim):
                raise GalleryError(f"gallery '{self.folder}' holds embeddings of {head.dim} dimensions, not {dim}")
            ids = list(range(head.next_id, head.next_id + len(entries)))
            digest = sum(insert_entry(writer, id, entry) for id, entry in zip(ids, entries, strict=True))
            write_head(
                writer,
                replace(
                    head,
                    dim=dim,
                    generation=head.generation + 1,
                    next_id=head.next_id + len(entries),
                    entries=head.entries + len(entries),
                    digest=head.digest + digest,
                ),
            )
        return ids

    def delete(self, ids: Sequence[int]) -> int:
        """Blank entries in one transaction; unknown ids are passed over. Follow it with `erase_traces`.

        Returns:
            How many there were.

        Raises:
            GalleryError: It could not be written; nothing was removed.
        """
        with self.transaction() as (writer, head):
            query = f"SELECT id, uuid, checksum FROM entries WHERE id = ? AND {LIVE}"
            rows = [row for id in sorted(set(ids)) if (row := writer.execute(query, (id,)).fetchone())]
            generation, now = head.generation + 1, time.time()
            for id, uuid, _ in rows:
                writer.execute(BLANK_ENTRY, (id,))
                writer.execute(BLANK_CROP, (id,))
                writer.execute(BLANK_STAGED, (id,))
                writer.execute("INSERT INTO removed VALUES (?, ?, ?, ?)", (generation, id, uuid, now))
            digest = head.digest - sum(row[2] for row in rows)
            entries = head.entries - len(rows)
            write_head(writer, replace(head, generation=generation, entries=entries, digest=digest))
        return len(rows)

    def erase_traces(self) -> None:
        """Copy the log back and empty it, so that no file holds what was removed.

        Raises:
            GalleryError: Another process reads the log for too long, or the disk fails.
        """
        with explained(self.folder), self._write_lock, writing(self.folder):
            busy = self._write_connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise GalleryError(
                f"gallery '{self.folder}': the entries are removed, but another process still reads the log that "
                "holds them; it is emptied when that process closes the gallery"
            )

    def compact(self) -> None:
        """Write the file anew without gaps and blank rows' room; passed over where memory would not do.

        Raises:
            GalleryError: It could not be written; the file is as it was.
        """
        if (self.folder / DATABASE).stat().st_size > _LARGEST_COMPACTION_BYTES:
            return
        with explained(self.folder), self._write_lock, writing(self.folder):
            self._write_connection().execute("VACUUM")
        self.erase_traces()

    def checkpoint(self, wait_s: float = 0.2) -> None:
        """Copy the log back and empty it where no reader is in the way; keeps the log's exposure short.

        Raises:
            GalleryError: The disk fails.
        """
        with explained(self.folder), self._write_lock, writing(self.folder):
            writer = self._write_connection()
            writer.execute(f"PRAGMA busy_timeout = {round(1e3 * wait_s)}")
            try:
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                writer.execute(f"PRAGMA busy_timeout = {round(1e3 * BUSY_TIMEOUT_S)}")

    def crop(self, id: int) -> bytes | None:
        """The entry's JPEG, or None.

        Raises:
            GalleryError: It cannot be read or fails its checksum.
        """
        with self.reading() as reader:
            query = f"SELECT crop_checksum FROM entries WHERE id = ? AND {LIVE}"
            expected = reader.execute(query, (id,)).fetchone()
            if expected is None or expected[0] == 0:
                return None
            row = reader.execute("SELECT jpeg FROM crops WHERE id = ?", (id,)).fetchone()
        if row is None or expected[0] != crop_checksum(id, row[0]):
            raise damaged(self.folder, f"the picture of entry {id} fails its checksum")
        return bytes(row[0])

    def crops(self) -> int:
        """How many entries have a picture."""
        with self.reading() as reader:
            return int(reader.execute("SELECT count(*) FROM crops WHERE length(jpeg) > 0").fetchone()[0])

    def entry_rows(self, after: int, limit: int, label: str | None = None) -> list[tuple[Any, ...]]:
        """Rows of ENTRY_COLUMNS, ids ascending from after `after`."""
        condition, values = ("AND label = ?", [label]) if label is not None else ("", [])
        query = f"SELECT {ENTRY_COLUMNS} FROM entries WHERE id > ? AND {LIVE} {condition} ORDER BY id LIMIT ?"
        with self.reading() as reader:
            return reader.execute(query, (after, *values, limit)).fetchall()

    def checked_rows(self) -> Iterator[tuple[Any, ...]]:
        """Every row of ENTRY_COLUMNS by id, each checked; at the end, that none is missing.

        Raises:
            GalleryError: A row is damaged or missing.
        """
        head = self.head()
        count = digest = after = 0
        while rows := self.entry_rows(after, _PAGE):
            for row in rows:
                problem = row_problem(row, head.dim or 0)
                if problem is not None:
                    raise damaged(self.folder, problem)
                count, digest = count + 1, digest + row[10]
                yield row
            after = rows[-1][0]
        if self.head().generation == head.generation and (count, digest) != (head.entries, head.digest):
            raise damaged(self.folder, f"{head.entries} entries were stored, {count} are there")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent read."""
        with explained(self.folder), self._read_lock:
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                self._reader.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[tuple[sqlite3.Connection, Head]]:
        """One write: on the disk when the block has ended, undone when it raised."""
        with explained(self.folder), self._write_lock:
            writer = self._write_connection()
            with writing(self.folder):
                try:
                    writer.execute("BEGIN IMMEDIATE")
                    yield writer, read_head(writer, self.folder)
                    writer.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        writer.execute("ROLLBACK")
                    raise
                self._checkpoint_when_large(writer)

    def _write_connection(self) -> sqlite3.Connection:
        if self._writer is None:
            raise GalleryError(f"gallery '{self.folder}' is on a read-only disk: it cannot be changed there")
        return self._writer

    def _checkpoint_when_large(self, writer: sqlite3.Connection) -> None:
        # The commit is on the disk already: a checkpoint that fails is no failure of the write.
        with suppress(sqlite3.Error, OSError):
            if (self.folder / f"{DATABASE}-wal").stat().st_size > _CHECKPOINT_BYTES:
                writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _added(self, reader: sqlite3.Connection, head: Head, last_id: int, limit: int) -> Batch | None:
        if head.dim is None:
            return None
        query = f"SELECT {ENTRY_COLUMNS} FROM entries WHERE id > ? AND {LIVE} ORDER BY id LIMIT ?"
        return checked_batch(reader.execute(query, (last_id, limit)).fetchall(), head.dim, self.folder)


def insert_entry(writer: sqlite3.Connection, id: int, entry: PreparedEntry) -> int:
    """Write one entry as part of the caller's transaction; returns its checksum."""
    fields = (
        id,
        entry.uuid,
        entry.label,
        entry.metadata,
        entry.created,
        entry.changed,
        entry.source,
        entry.model_id,
        0 if entry.jpeg is None else crop_checksum(id, entry.jpeg),
        entry.embedding,
    )
    checksum = entry_checksum(*fields)
    writer.execute(f"INSERT INTO entries ({ENTRY_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)", (*fields, checksum))
    if entry.jpeg is not None:
        writer.execute("INSERT INTO crops VALUES (?,?)", (id, entry.jpeg))
    return checksum


def _prepare_folder(folder: Path, model_id: str | None, create: bool) -> None:
    if not create or model_id is None:
        raise GalleryError(f"gallery '{folder}' does not exist: 'sightline gallery build' or 'add' makes one")
    if folder.exists() and not folder.is_dir():
        raise GalleryError(f"'{folder}' is a file: a gallery is a folder, name another place")
    if folder.exists() and any(file.name not in (LOCK, GRAPH) for file in folder.iterdir()):
        raise GalleryError(f"folder '{folder}' holds other files and no gallery: name a new or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and os.access(folder / DATABASE, os.W_OK)


def _create(writer: sqlite3.Connection, folder: Path, model_id: str | None, dim: int | None) -> None:
    if model_id is None:
        raise GalleryError(f"gallery '{folder}' is empty: 'sightline gallery build' or 'add' begins it")
    make_durable(writer)
    writer.execute("BEGIN IMMEDIATE")
    create_tables(writer, Head(uuid4().bytes, model_id, dim, time.time()))
    writer.execute("COMMIT")
    sync_folder(folder)


def _upgrade(writer: sqlite3.Connection) -> None:
    writer.execute("BEGIN IMMEDIATE")
    upgrade(writer)
    writer.execute("COMMIT")
