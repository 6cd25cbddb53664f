"""Reading every byte of a gallery, damaged ones included."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GalleryError
from .calibration_rows import CALIBRATION_DAMAGED, DamagedCalibration, read_negatives, read_thresholds
from .container import DoubtfulGraph, read_container
from .folder import DATABASE, GRAPH
from .rows import ENTRY_COLUMNS, crop_checksum, row_problem
from .schema import DAMAGE, LIVE, Head, check_version, connect, read_head
from .values import CheckReport

_MOST_PROBLEMS = 1000
# Unreadable ids in a row: as many as a damaged inner page can take along.
_MOST_FAILURES = 50_000


def check_folder(folder: Path) -> CheckReport:
    """Check SQLite's structure, every entry, every picture and the graph's file.

    Args:
        folder: The gallery's folder; need not open as a gallery.

    Raises:
        GalleryError: There is no gallery, or one of a newer schema.
    """
    if not (folder / DATABASE).is_file():
        raise GalleryError(f"gallery '{folder}' does not exist: expected a folder with '{DATABASE}'")
    problems: list[str] = []
    whole = 0
    head: Head | None = None
    try:
        with open_for_check(folder) as connection:
            problems += _structure(connection)
            head = _head(connection, folder, problems)
            whole = _entries(connection, head, problems)
            problems += _calibration(connection, head)
    except DAMAGE as error:
        problems.append(f"'{DATABASE}' cannot be read: {error}")
    return CheckReport(str(folder), whole, tuple(problems[:_MOST_PROBLEMS]), check_graph(folder, head))


def check_graph(folder: Path, head: Head | None) -> str:
    """Say what state the graph's file is in: "whole", "none", or what is wrong with it."""
    path = folder / GRAPH
    if not path.exists():
        return "none"
    try:
        header, _ = read_container(path)
    except (DoubtfulGraph, OSError) as error:
        return f"not used: {error}"
    if head is not None and (header.gallery, header.model_id, header.epoch) != (
        head.uuid.hex(),
        head.model_id,
        head.epoch,
    ):
        return "not used: it belongs to another gallery or another model"
    return "whole"


@contextmanager
def open_for_check(folder: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to a gallery that may be damaged."""
    connection = connect(folder, "ro")
    try:
        if not check_version(connection, folder):
            raise GalleryError(f"gallery '{folder}' is empty: nothing was ever stored in it")
        yield connection
    finally:
        connection.close()


def readable_rows(connection: sqlite3.Connection, end: int) -> Iterator[tuple[Any, ...]]:
    """Yield the entries' rows (ENTRY_COLUMNS) by id up to `end`, stepping over those that SQLite cannot read."""
    query = f"SELECT {ENTRY_COLUMNS} FROM entries WHERE {LIVE} AND id"
    done, failures = 0, 0
    while done < end and failures < _MOST_FAILURES:
        try:
            if failures == 0:
                for row in connection.execute(f"{query} > ? ORDER BY id", (done,)):
                    done = max(done, row[0])
                    yield row
                return
            done += 1
            yield from connection.execute(f"{query} = ?", (done,)).fetchall()
            failures = 0
        except DAMAGE:
            failures += 1


def _structure(connection: sqlite3.Connection) -> list[str]:
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(50)")]
    except DAMAGE as error:
        return [f"'{DATABASE}' has damage to its structure: {error}"]
    return [] if found == ["ok"] else [f"'{DATABASE}' has damage to its structure: {text}" for text in found]


def _head(connection: sqlite3.Connection, folder: Path, problems: list[str]) -> Head | None:
    try:
        return read_head(connection, folder)
    except (*DAMAGE, GalleryError, TypeError):
        problems.append("the gallery's head row (its model, counts and checksums) is damaged")
        return None


def _entries(connection: sqlite3.Connection, head: Head | None, problems: list[str]) -> int:
    whole = digest = 0
    for row in readable_rows(connection, last_id(head)):
        problem = row_problem(row, (head.dim or 0) if head else len(row[9] or b"") // 4) or _vector_problem(row)
        if problem is None:
            whole, digest = whole + 1, digest + row[10]
            problem = crop_problem(connection, row)
        if problem is not None:
            problems.append(problem)
    if head is not None and (whole, digest) != (head.entries, head.digest):
        problems.append(f"{head.entries} entries were stored, {whole} of them are whole")
    return whole


def _calibration(connection: sqlite3.Connection, head: Head | None) -> list[str]:
    try:
        read_thresholds(connection)
        if head is not None:
            read_negatives(connection, head.model_id, head.dim)
    except (*DAMAGE, DamagedCalibration):
        return [CALIBRATION_DAMAGED]
    return []


def crop_problem(connection: sqlite3.Connection, row: tuple[Any, ...]) -> str | None:
    """Say what is wrong with the picture of a whole row of ENTRY_COLUMNS, or None."""
    if row[8] == 0:
        return None
    try:
        crop = connection.execute("SELECT jpeg FROM crops WHERE id = ?", (row[0],)).fetchone()
        whole = crop is not None and crop_checksum(row[0], crop[0]) == row[8]
    except (*DAMAGE, TypeError):
        whole = False
    return None if whole else f"the picture of entry {row[0]} fails its checksum"


def last_id(head: Head | None) -> int:
    """Where reading rows by id may stop."""
    return head.next_id if head is not None else 2**31


def _vector_problem(row: tuple[Any, ...]) -> str | None:
    length = float(np.linalg.norm(np.frombuffer(row[9], "<f4").astype(np.float64)))
    return None if abs(length - 1.0) < 1e-3 else f"entry {row[0]} holds a vector of length {length:g}, expected 1"
