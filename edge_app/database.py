"""What the event log and the trace have in common: little memory, and a file that says whose it is."""

import sqlite3
from pathlib import Path

# Where SQLite keeps what `PRAGMA application_id` sets; see its file format, section 1.3.
_APPLICATION_ID = slice(68, 72)
_HEAD_BYTES = 100
_CACHE_KIB = 256


def keep_cache_small(connection: sqlite3.Connection) -> None:
    """Hold the page cache to what a writer needs that only appends and forgets.

    SQLite's own 2 MB fill over the first hour with pages that nobody asks for again (measured: 25 bytes a frame).
    """
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")


def may_be_ours(file: Path, application_id: int) -> bool:
    """Tell from its first bytes whether a file began as a database of this kind.

    A power cut may have left no more than these, or none: empty or all zero may be ours too.

    Raises:
        OSError: It cannot be read.
    """
    with file.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    return head[_APPLICATION_ID] == application_id.to_bytes(4, "big") or not any(head)
