"""Names of the files of a gallery's folder, and the lock that orders its writers.

gallery.db            SQLite: the truth
gallery.db-wal, -shm  SQLite's write-ahead log, only while a process has the gallery open
gallery.lock          an empty file, locked while a process writes
graph.bin             the hnswlib graph's links: a cache
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import GalleryError

try:
    import fcntl
except ImportError:  # Windows: SQLite's own locks stand alone there
    fcntl = None  # type: ignore[assignment]

DATABASE = "gallery.db"
GRAPH = "graph.bin"
LOCK = "gallery.lock"
_STALE_TEMPORARY_S = 3600


def is_uri(place: str | Path) -> bool:
    """Whether a gallery's name is the address of an engine and no folder."""
    return isinstance(place, str) and "://" in place


def gallery_folder(place: str | Path) -> Path:
    """The folder of a gallery, for what only a gallery on this device can do.

    Raises:
        GalleryError: It is the address of an engine.
    """
    if is_uri(place):
        raise GalleryError(
            f"'{place}' is a collection of an engine: only a gallery's folder can do this; 'gallery build', 'add', "
            "'remove', 'search', 'list' and 'stats', 'predict' and 'eval' take collections too"
        )
    return Path(place)


@contextmanager
def writing(folder: Path, timeout_s: float = 10.0) -> Iterator[None]:
    """Hold the gallery's writer lock, across processes.

    SQLite orders writers itself, but up to 3.51.2 a checkpoint that runs beside another connection's write
    can corrupt the file (sqlite.org/wal.html#walresetbug); behind this lock the two never meet.

    Raises:
        GalleryError: Another process holds it for longer than `timeout_s`.
        OSError: The folder cannot be written.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(handle, folder, timeout_s)
        yield
    finally:
        os.close(handle)


def remove_stale_temporaries(folder: Path) -> None:
    """Delete what a killed process left half written; young files may belong to a living one."""
    for file in folder.glob(f".{GRAPH}.*.tmp"):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > _STALE_TEMPORARY_S:
                file.unlink()


def disk_bytes(folder: Path) -> int:
    """Bytes of all files of the folder."""
    total = 0
    for file in folder.iterdir():
        with suppress(OSError):
            total += file.stat().st_size
    return total


def _acquire(handle: int, folder: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise GalleryError(
                    f"gallery '{folder}' is being written by another process for more than {timeout_s:g} s: "
                    "try again when it is done"
                ) from None
            time.sleep(0.002)
