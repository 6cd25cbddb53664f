"""The SQLite file: its schema, how it is opened, and what its failures are called.

Every entry carries a CRC-32 of its content and of its crop, and the one row of `gallery` the number of
entries and the sum of their checksums. SQLite notices damage to its own structure only; with these a flipped
bit inside a vector, and a row that vanished with its page, are found when the gallery is opened.
"""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from ..errors import GalleryError
from .folder import DATABASE

SCHEMA_VERSION = 2
APPLICATION_ID = 0x51477A11
BUSY_TIMEOUT_S = 10.0

_TABLES = f"""
CREATE TABLE gallery (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    uuid BLOB NOT NULL, model_id TEXT NOT NULL, dim INTEGER, created REAL NOT NULL,
    epoch INTEGER NOT NULL, generation INTEGER NOT NULL, next_id INTEGER NOT NULL,
    entries INTEGER NOT NULL, digest INTEGER NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, uuid BLOB NOT NULL, label TEXT NOT NULL, metadata TEXT NOT NULL,
    created REAL NOT NULL, changed REAL NOT NULL, source TEXT, model_id TEXT NOT NULL,
    crop_checksum INTEGER NOT NULL, checksum INTEGER NOT NULL, embedding BLOB NOT NULL
);
CREATE TABLE crops (id INTEGER PRIMARY KEY, jpeg BLOB NOT NULL);
CREATE TABLE removed (
    generation INTEGER NOT NULL, id INTEGER NOT NULL, uuid BLOB NOT NULL, removed REAL NOT NULL,
    PRIMARY KEY (generation, id)
) WITHOUT ROWID;
CREATE TABLE staged (
    id INTEGER PRIMARY KEY, model_id TEXT NOT NULL, checksum INTEGER NOT NULL, embedding BLOB NOT NULL
);
PRAGMA application_id = {APPLICATION_ID};
"""
# Schema 2. After the others, so that their roots stay where those of schema 1 are.
_CALIBRATION_TABLES = f"""
CREATE TABLE calibration (one INTEGER PRIMARY KEY CHECK (one = 1), checksum INTEGER NOT NULL, thresholds BLOB NOT NULL);
CREATE TABLE negatives (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    model_id TEXT NOT NULL, dim INTEGER NOT NULL, checksum INTEGER NOT NULL, embeddings BLOB NOT NULL
);
PRAGMA user_version = {SCHEMA_VERSION};
"""

# Removed rows stay as blank stubs. A DELETE may merge two pages, and the bytes of rows that moved stay behind in
# the gap of the page they left, secure_delete or not (seen with 3.40.1 after a few hundred adds and removes);
# shrinking a row in place zeroes what it held and moves no other.
LIVE = "label <> ''"
BLANK_ENTRY = """
UPDATE entries SET uuid = x'', label = '', metadata = '', created = 0, changed = 0, source = NULL, model_id = '',
    crop_checksum = 0, checksum = 0, embedding = x'' WHERE id = ?
"""
BLANK_CROP = "UPDATE crops SET jpeg = x'' WHERE id = ?"
BLANK_STAGED = "UPDATE staged SET model_id = '', checksum = 0, embedding = x'' WHERE id = ?"


# What reading a damaged file raises: Python cannot even decode SQLite's message where a damaged name is in it.
DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)


class NewerSchema(GalleryError):
    """The gallery was written by a newer program."""


@dataclass(frozen=True, slots=True)
class Head:
    """The one row that says what the gallery is.

    Attributes:
        uuid: The gallery's own name, 16 bytes.
        model_id: The embedding space of its entries.
        dim: Width of its vectors, or None.
        created: Unix time.
        epoch: Counts changes to stored vectors (another model); in-memory copies of another epoch are void.
        generation: Counts commits.
        next_id: The id of the next entry; ids are never given twice.
        entries: Number of entries.
        digest: Sum of the entries' checksums.
    """

    uuid: bytes
    model_id: str
    dim: int | None
    created: float
    epoch: int = 0
    generation: int = 0
    next_id: int = 1
    entries: int = 0
    digest: int = 0


HEAD_COLUMNS = "uuid, model_id, dim, created, epoch, generation, next_id, entries, digest"


def create_tables(connection: sqlite3.Connection, head: Head) -> None:
    """Write schema and head; part of the caller's transaction, so that the file is whole or empty."""
    _run(connection, _TABLES + _CALIBRATION_TABLES)
    marks = ", ".join("?" * 11)
    connection.execute(
        f"INSERT INTO gallery (one, {HEAD_COLUMNS}, checksum) VALUES ({marks})",
        (1, *astuple(head), head_checksum(head)),
    )


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring a file of schema 1 to this program's; part of the caller's transaction."""
    if not has_calibration(connection):
        _run(connection, _CALIBRATION_TABLES)


def has_calibration(connection: sqlite3.Connection) -> bool:
    """Whether the file is of a schema with thresholds and negatives."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0]) >= 2


def write_head(connection: sqlite3.Connection, head: Head) -> None:
    """Replace the head; part of the caller's transaction."""
    names = ", ".join(f"{name.strip()} = ?" for name in HEAD_COLUMNS.split(","))
    connection.execute(f"UPDATE gallery SET {names}, checksum = ? WHERE one = 1", (*astuple(head), head_checksum(head)))


def read_head(connection: sqlite3.Connection, folder: Path) -> Head:
    """Read the head.

    Raises:
        GalleryError: It is missing or fails its checksum.
    """
    row = connection.execute(f"SELECT {HEAD_COLUMNS}, checksum FROM gallery").fetchone()
    if row is not None:
        head = Head(*row[:-1])
        if row[-1] == head_checksum(head):
            return head
    raise damaged(folder, "its head row is missing or fails its checksum")


def head_checksum(head: Head) -> int:
    """CRC-32 over every field."""
    return zlib.crc32(repr(astuple(head)).encode("utf-8", "surrogatepass"))


def connect(folder: Path, mode: str) -> sqlite3.Connection:
    """Open a connection the way this program needs it.

    Args:
        folder: The gallery's folder.
        mode: "rwc" may create the file, "rw" must find it, "ro" never writes, "immutable" neither writes
            nor locks (a read-only disk that holds no write-ahead log).
    """
    query = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"
    address = (folder / DATABASE).absolute().as_uri() + f"?{query}"
    connection = sqlite3.connect(
        address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "temp_store = MEMORY", "mmap_size = 0"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def make_durable(connection: sqlite3.Connection) -> None:
    """Acknowledged means on disk, removed means overwritten.

    The write-ahead log needs one fsync a commit where the rollback journal needs four: 4 ms against 20 ms
    measured on a disk whose fsync takes 4 ms. Checkpoints are ours to time, behind the writer lock.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    for pragma in ("synchronous = FULL", "secure_delete = ON", "wal_autocheckpoint = 0", "cache_size = -8192"):
        connection.execute(f"PRAGMA {pragma}")


def check_version(connection: sqlite3.Connection, folder: Path) -> bool:
    """Tell whether the file holds a gallery (True) or nothing yet (False).

    Raises:
        GalleryError: It is another program's file, or of a newer schema.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application == 0 and version == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        return False
    if application != APPLICATION_ID:
        raise damaged(folder, f"'{DATABASE}' is not a gallery's database (application id {application:#x})")
    if version > SCHEMA_VERSION:
        raise NewerSchema(
            f"gallery '{folder}' has schema {version}, this program reads up to {SCHEMA_VERSION}: update sightline"
        )
    if version < 1:
        raise damaged(folder, f"its schema version is {version}, expected 1 to {SCHEMA_VERSION}")
    return True


def damaged(folder: Path, what: str) -> GalleryError:
    """The error for damage to what was taught."""
    return GalleryError(
        f"gallery '{folder}' is damaged: {what}; 'sightline gallery check {folder}' lists what is wrong, "
        f"'sightline gallery salvage {folder} --into NEW' saves what is whole"
    )


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn SQLite's and the file system's failures into one sentence each.

    Raises:
        GalleryError: In place of sqlite3.Error and OSError.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _sentence(error, folder) from error
    except UnicodeDecodeError as error:
        raise damaged(folder, "text in it is not UTF-8") from error
    except OSError as error:
        raise GalleryError(
            f"gallery '{folder}' cannot be used: {error.strerror or error}; what it held is unchanged"
        ) from error


def _sentence(error: sqlite3.Error, folder: Path) -> GalleryError:
    name = str(getattr(error, "sqlite_errorname", ""))
    whole = "what it held is unchanged"
    if name.startswith("SQLITE_FULL"):
        return GalleryError(f"no space left on the disk of gallery '{folder}': free some; {whole}")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
        return GalleryError(f"gallery '{folder}' is on a read-only disk or not yours to write; {whole}")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return GalleryError(f"gallery '{folder}' is locked by another process: try again; {whole}")
    if name.startswith("SQLITE_IOERR"):
        return GalleryError(f"the disk of gallery '{folder}' fails ({name}); {whole}")
    if name.startswith("SQLITE_CANTOPEN"):
        return GalleryError(f"gallery '{folder}' cannot be opened: is '{DATABASE}' in it and readable?")
    return damaged(folder, str(error))


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in filter(str.strip, statements.split(";")):
        connection.execute(statement)
