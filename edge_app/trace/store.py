"""The ring on the disk: `trace.sqlite` with frames, decisions and entries, and `bundles/` with what answered them."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
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

from .shot import About, Said, Shot

APPLICATION_ID = 0x53474C54  # "SGLT"
SCHEMA_VERSION = 1
FILE = "trace.sqlite"
_SLICE = 64
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
        max_bytes: How large the file may grow.

    Raises:
        InputError: The folder cannot be written, or its file is another program's.
    """

    def __init__(self, folder: Path, about: About, max_bytes: int) -> None:
        self.folder, self._max_bytes = folder, max_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _check_replaceable(folder / FILE)
            for suffix in ("", "-wal", "-shm"):
                (folder / f"{FILE}{suffix}").unlink(missing_ok=True)
            self._connection = sqlite3.connect(folder / FILE, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            # A trace is for finding errors: after a power cut its last second may be missing, never its wholeness.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA journal_size_limit = 16000000")
            self._connection.executescript(
                f"BEGIN; {_TABLES}"
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
            with self._connection:
                self._connection.execute("INSERT INTO about VALUES (?)", [msgspec.json.encode(about).decode()])
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"--trace '{folder}' cannot be written: {error}") from error

    def keep_bundle(self, bundle: Bundle) -> None:
        """Copy a bundle beside the frames that it answered, once."""
        place = self.folder / "bundles" / bundle.bundle_id
        if place.exists():
            return
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
        while self._used_bytes() > self._max_bytes and self._forget():
            pass

    def unknown(self, ids: set[int]) -> list[int]:
        """Those of these entries whose vectors are not kept yet."""
        marks = ",".join("?" * len(ids))
        rows = self._connection.execute(f"SELECT id FROM entries WHERE id IN ({marks})", sorted(ids))
        return sorted(ids - {id for (id,) in rows})

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _forget(self) -> int:
        with self._connection as writer:
            oldest = f"SELECT id FROM frames ORDER BY id LIMIT {_SLICE}"
            gone = writer.execute(f"DELETE FROM frames WHERE id IN ({oldest})").rowcount
            writer.execute("DELETE FROM entries WHERE last < (SELECT min(id) FROM frames)")
        return gone

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


def _check_replaceable(file: Path) -> None:
    if not file.exists():
        return
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise InputError(f"--trace: '{file}' is another program's: name another folder")


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
