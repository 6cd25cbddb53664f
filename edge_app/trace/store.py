"""The ring on the disk: `trace.sqlite` with frames, decisions and entries, and `bundles/` with what answered them."""

import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from sightline.runtime import Bundle
from sightline.runtime.durable import new_folder
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import Image

from ..database import keep_cache_small, may_be_ours
from .shot import About, Said, Shot

APPLICATION_ID = 0x53474C54  # "SGLT"
SCHEMA_VERSION = 1
FILE = "trace.sqlite"
# What `keep_bundle` names folders, staging leftovers of a killed run included.
_BUNDLE = re.compile(r"\.?[0-9a-f]{64}(\..*)?")
_TABLES = """
CREATE TABLE about (line TEXT NOT NULL);
CREATE TABLE frames (id INTEGER PRIMARY KEY, number INTEGER NOT NULL, at_s REAL NOT NULL, bundle_id TEXT NOT NULL,
    input BLOB NOT NULL, picture BLOB NOT NULL, said TEXT NOT NULL);
CREATE TABLE entries (id INTEGER PRIMARY KEY, vector BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True, eq=False)
class KeptEntry:
    """A gallery entry that came near a frame of the trace.

    Attributes:
        id: Its id in the gallery.
        vector: float32, shape (dim,), unit length.
        first: The first frame of the ring that it came near.
        last: The last one.
    """

    id: int
    vector: NDArray[np.float32]
    first: int
    last: int


class TraceStore:
    """An open ring.

    Args:
        folder: Its folder; what an earlier run kept there is replaced.
        about: What the run is.
        max_bytes: How large the file may grow; the newest frame is kept in any case.

    Raises:
        InputError: The folder cannot be written, or its file is another program's.
    """

    def __init__(self, folder: Path, about: About, max_bytes: int) -> None:
        self.folder, self._max_bytes = folder, max_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _make_room(folder / FILE)
            self._connection = _begin(folder / FILE, about)
        except (OSError, sqlite3.Error) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"--trace '{folder}' cannot be written: {why}") from error

    def keep_bundle(self, bundle: Bundle) -> None:
        """Copy a bundle beside the frames that it answered, once; those that answered none any more go."""
        place = self.folder / "bundles" / bundle.bundle_id
        if place.exists():
            return
        self._drop_bundles()
        with new_folder(place) as staging:
            (staging / "manifest.json").write_bytes(_manifest_bytes(bundle))
            for name in bundle.manifest.files:
                file = staging / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(bundle.read(name))

    def append(self, shots: Sequence[Shot], vectors: Mapping[int, NDArray[np.float32]]) -> None:
        """Keep frames in one transaction, and forget the oldest where the ring is full.

        Args:
            shots: The frames, in order.
            vectors: Those of the entries among their matches that `unknown` named.

        Raises:
            sqlite3.Error: The disk is full.
        """
        with self._connection as writer:
            for shot in shots:
                row = (shot.number, shot.at_s, shot.bundle_id, _png(shot.prepared), shot.picture, _encode(shot.said))
                query = "INSERT INTO frames (number, at_s, bundle_id, input, picture, said) VALUES (?, ?, ?, ?, ?, ?)"
                at = writer.execute(query, row).lastrowid
                for match in shot.said.matches:
                    if match.id in vectors:
                        new = (match.id, vectors[match.id].tobytes(), at, at)
                        writer.execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", new)
                    writer.execute("UPDATE entries SET last = ? WHERE id = ?", (at, match.id))
                # In the same transaction: a batch that fails here and is tried again is not kept twice.
                self._forget(writer)

    def unknown(self, ids: set[int]) -> list[int]:
        """Those of these entries whose vectors are not kept yet."""
        marks = ",".join("?" * len(ids))
        rows = self._connection.execute(f"SELECT id FROM entries WHERE id IN ({marks})", sorted(ids))
        return sorted(ids - {id for (id,) in rows})

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _forget(self, writer: sqlite3.Connection) -> None:
        oldest = "DELETE FROM frames WHERE id = (SELECT min(id) FROM frames) AND id < (SELECT max(id) FROM frames)"
        gone = 0
        while self._used_bytes() > self._max_bytes and writer.execute(oldest).rowcount:
            gone += 1
        if gone:
            writer.execute("DELETE FROM entries WHERE last < (SELECT min(id) FROM frames)")

    def _drop_bundles(self) -> None:
        used = {id for (id,) in self._connection.execute("SELECT DISTINCT bundle_id FROM frames")}
        for place in (self.folder / "bundles").glob("*"):
            if _BUNDLE.fullmatch(place.name) and place.name not in used:
                shutil.rmtree(place, ignore_errors=True)

    def _used_bytes(self) -> int:
        ask = self._connection.execute
        pages, free, size = (
            ask(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


class TraceReader:
    """A trace as it lies on the disk; a run may be writing it meanwhile.

    Args:
        folder: Its folder.

    Raises:
        InputError: It is missing, damaged, newer or no trace.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        file = folder / FILE
        if not file.is_file():
            raise InputError(f"trace '{folder}' holds no {FILE}: expected what 'sightline run --trace' wrote")
        try:
            self._connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=2.0)
        except sqlite3.Error as error:
            raise InputError(f"trace '{folder}' cannot be read: {error}") from error
        try:
            self._check()
            (line,) = self._connection.execute("SELECT line FROM about").fetchone()
            self.about = msgspec.json.decode(line, type=About)
        except InputError:
            self._connection.close()
            raise
        except (sqlite3.Error, msgspec.MsgspecError, TypeError) as error:
            self._connection.close()
            raise InputError(f"trace '{folder}' cannot be read: {error}") from error

    def shots(self) -> Iterator[tuple[int, Shot]]:
        """The frames, oldest first, each with its place in the ring.

        Raises:
            InputError: One is damaged.
        """
        query = "SELECT id, number, at_s, bundle_id, input, picture, said FROM frames ORDER BY id"
        try:
            for id, number, at_s, bundle_id, png, picture, said in self._connection.execute(query):
                yield id, Shot(number, at_s, bundle_id, _pixels(png), picture, msgspec.json.decode(said, type=Said))
        except (sqlite3.Error, msgspec.MsgspecError, cv2.error) as error:
            raise InputError(f"trace '{self.folder}' is damaged: {error}") from error

    def entries(self) -> list[KeptEntry]:
        """The gallery entries that came near a frame."""
        rows = self._connection.execute("SELECT id, vector, first, last FROM entries ORDER BY id")
        return [KeptEntry(id, np.frombuffer(vector, np.float32), first, last) for id, vector, first, last in rows]

    def bundle(self, bundle_id: str) -> Path:
        """Where the bundle of this id lies."""
        return self.folder / "bundles" / bundle_id

    def __enter__(self) -> "TraceReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _check(self) -> None:
        ask = self._connection.execute
        if ask("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise InputError(f"'{self.folder / FILE}' is no trace of 'sightline run'")
        version = ask("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise InputError(
                f"trace '{self.folder}' has schema {version}, this program knows {SCHEMA_VERSION}: update it"
            )


def _make_room(file: Path) -> None:
    """Delete an earlier trace, whole or damaged: what a power cut left of it must not keep a device from starting."""
    if file.exists() and not may_be_ours(file, APPLICATION_ID):
        raise InputError(f"--trace: '{file}' is another program's: name another folder")
    for suffix in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _begin(file: Path, about: About) -> sqlite3.Connection:
    connection = sqlite3.connect(file, check_same_thread=False)
    try:
        # Before the write-ahead log, so that from the first power cut on the file says whose it is.
        connection.executescript(
            f"BEGIN; {_TABLES}PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
        with connection:
            connection.execute("INSERT INTO about VALUES (?)", [msgspec.json.encode(about).decode()])
        connection.execute("PRAGMA journal_mode = WAL")
        # A trace is for finding errors: after a power cut its last second may be missing, never its wholeness.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 16000000")
        keep_cache_small(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _manifest_bytes(bundle: Bundle) -> bytes:
    if bundle.path.is_dir():
        return (bundle.path / "manifest.json").read_bytes()
    import zipfile

    with zipfile.ZipFile(bundle.path) as archive:
        return archive.read("manifest.json")


def _encode(said: Said) -> str:
    return msgspec.json.encode(said).decode()


def _png(prepared: Image) -> bytes:
    # Level 1: 2 ms for 224x224, a third larger than the best.
    done, data = cv2.imencode(".png", cv2.cvtColor(prepared, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise sqlite3.DataError("a frame could not be encoded")
    return data.tobytes()


def _pixels(png: bytes) -> Image:
    frame_bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if frame_bgr is None:
        raise sqlite3.DataError("a frame cannot be decoded")
    return np.ascontiguousarray(frame_bgr[:, :, ::-1]).astype(np.uint8, copy=False)
