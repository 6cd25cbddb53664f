"""The event log: decisions and what else happened, in one SQLite file of bounded age, rows and size.

Written by an outbox's thread in batches, each one transaction: after `kill -9` or a power cut the file is whole
and holds every batch that was committed. A damaged file is put aside and a new one begun: a log that cannot be
read must not stop a device.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from sightline.runtime.errors import InputError

from ..database import keep_cache_small, may_be_ours
from .event import Event
from .outbox import DeliveryFailed
from .settings import Retention

APPLICATION_ID = 0x53474C45  # "SGLE"
SCHEMA_VERSION = 1
DAY_S = 86_400.0
_PRUNE_EVERY_S = 60.0
_PRUNE_ROWS = 2000
_SLICE = 500
_BUSY_S = 2.0
_TABLES = """
CREATE TABLE events (id INTEGER PRIMARY KEY, at_s REAL NOT NULL, name TEXT NOT NULL, label TEXT, line TEXT NOT NULL);
CREATE INDEX events_at ON events (at_s);
"""


class EventLog:
    """Appends events to the file and forgets old ones; a `Delivery`.

    Args:
        path: The file; made where it is missing.
        retention: How much is kept.
        say: Told when a damaged file was put aside.

    Raises:
        InputError: It cannot be opened for writing, or is another kind of file.
    """

    def __init__(self, path: str | Path, retention: Retention, say: Callable[[str], None]) -> None:
        self.path, self.name = Path(path), f"event log '{path}'"
        self._retention, self._say = retention, say
        self._pruned_s, self._unpruned = float("-inf"), 0
        self._connection: sqlite3.Connection | None = None
        self._open().close()

    def deliver(self, items: Sequence[Event]) -> None:
        """Append events in one transaction.

        Raises:
            DeliveryFailed: The disk is full or the file is locked; nothing of the batch was kept.
        """
        try:
            connection = self._connection = self._connection or self._open()
            with connection:
                connection.executemany("INSERT INTO events (at_s, name, label, line) VALUES (?, ?, ?, ?)", _rows(items))
        except (sqlite3.Error, InputError, OSError) as error:
            self.close()
            raise DeliveryFailed(f"cannot be written: {error}") from error
        self._unpruned += len(items)
        self._prune_at_times(connection)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if not self.path.parent.is_dir():
            raise InputError(f"--events '{self.path}': the folder '{self.path.parent}' does not exist")
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if not (_is_damage(error) and may_be_ours(self.path, APPLICATION_ID)):
                raise InputError(f"--events '{self.path}' cannot be written: {error}") from error
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        self.path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._say(f"{self.name} was damaged: it lies now in '{aside.name}', and a new one was begun")
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, check_same_thread=False)
        try:
            _prepare(connection, self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prune_at_times(self, connection: sqlite3.Connection) -> None:
        if self._unpruned < _PRUNE_ROWS and time.monotonic() - self._pruned_s < _PRUNE_EVERY_S:
            return
        self._pruned_s, self._unpruned = time.monotonic(), 0
        try:
            self._prune(connection, time.time())
        except sqlite3.Error:
            # The batch is on the disk and must not be delivered again; what is damaged shows when the next one opens.
            self.close()

    def _prune(self, connection: sqlite3.Connection, now_s: float) -> None:
        oldest_s = now_s - self._retention.days * DAY_S
        newest = connection.execute("SELECT max(id) FROM events").fetchone()[0] or 0
        # Ids follow one another, so the newest one tells how many there are; slices keep each transaction short.
        while _delete(connection, "at_s < ? OR id <= ?", oldest_s, newest - self._retention.rows) == _SLICE:
            pass
        while _used_bytes(connection) > self._retention.max_bytes and _delete(connection, "1"):
            pass
        # It frees one page a step, and `execute` takes a single step of what gives no rows.
        connection.executescript("PRAGMA incremental_vacuum;")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events of a log are asked for; None or 0 asks for all."""

    since_s: float | None = None
    name: str | None = None
    label: str | None = None
    last: int = 0


def read_events(path: Path, wanted: Wanted) -> Iterator[str]:
    """Give events of a log as JSON lines, oldest first; a run may be writing it meanwhile.

    Raises:
        InputError: It is missing, damaged, or no event log.
    """
    if not path.is_file():
        raise InputError(f"event log '{path}' does not exist: expected what 'sightline run --events' wrote")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)) as connection:
            _check_kind(connection, path)
            yield from _select(connection, wanted)
    except sqlite3.Error as error:
        raise InputError(f"event log '{path}' cannot be read: {error}") from error


def _select(connection: sqlite3.Connection, wanted: Wanted) -> Iterator[str]:
    tests = {"at_s >= ?": wanted.since_s, "name = ?": wanted.name, "label = ?": wanted.label}
    given = {test: value for test, value in tests.items() if value is not None}
    where = f"WHERE {' AND '.join(given)}" if given else ""
    query = f"SELECT id, line FROM events {where} ORDER BY id DESC LIMIT ?"
    newest = f"SELECT line FROM ({query}) ORDER BY id"
    for (line,) in connection.execute(newest, [*given.values(), wanted.last or -1]):
        yield line


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    keep_cache_small(connection)
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if empty:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    else:
        _check_kind(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    # Batches are few, so each may wait for the disk: the writer is not the loop.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 4000000")
    if empty:
        connection.executescript(
            f"BEGIN; {_TABLES}PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
    elif connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("file is damaged")


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise InputError(f"'{path}' is a database of another program: name another file for --events")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise InputError(f"event log '{path}' has schema {version}, this program knows {SCHEMA_VERSION}: update it")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    words = ("not a database", "malformed", "damaged", "corrupt")
    return any(word in str(error) for word in words)


def _rows(items: Sequence[Event]) -> Iterator[tuple[float, str, str | None, str]]:
    for event in items:
        yield event.at_s, event.name, event.label, event.encode().decode()


def _delete(connection: sqlite3.Connection, test: str, *values: object) -> int:
    with connection:
        query = f"DELETE FROM events WHERE id IN (SELECT id FROM events WHERE {test} ORDER BY id LIMIT {_SLICE})"
        return connection.execute(query, values).rowcount


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
