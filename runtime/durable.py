"""Files that are either the old ones or the new ones, whatever is interrupted.

A new file is written beside its place, flushed to the disk and renamed; a new folder likewise. A full disk or
a lost process therefore leaves what stood there before. One moment is left: a folder that takes another one's place
needs two renames, and a process killed between them leaves the old folder whole beside it, as `.NAME.*.old/NAME`.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file so that after any interruption the old or the new content is there, never a part.

    Args:
        path: Its place.
        data: Its content.
        mode: Who may read and write it.

    Raises:
        OSError: It could not be written; what stood there before still does.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a staging folder that takes the place of `path` when the block ends well.

    On any exception the staging folder is removed and `path` stays as it was; a killed process leaves it behind, as
    `.NAME.*.tmp`.

    Raises:
        OSError: It could not be written or renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        staging.chmod(0o755)
        yield staging
        for file in staging.rglob("*"):
            sync_folder(file) if file.is_dir() else _sync_file(file)
        sync_folder(staging)
        _swap(staging, path)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _swap(staging: Path, path: Path) -> None:
    if not path.exists():
        staging.rename(path)
        return
    previous = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    path.rename(previous / path.name)
    try:
        staging.rename(path)
    except OSError:
        (previous / path.name).rename(path)
        raise
    finally:
        shutil.rmtree(previous, ignore_errors=True)
