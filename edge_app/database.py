"""Whose database a file is, told from its first bytes: a power cut may have left no more than these, or none."""

from pathlib import Path

# Where SQLite keeps what `PRAGMA application_id` sets; see its file format, section 1.3.
_APPLICATION_ID = slice(68, 72)
_HEAD_BYTES = 100


def may_be_ours(file: Path, application_id: int) -> bool:
    """Whether a file began as a database of this kind, or lost its first page to a power cut (empty or all zero).

    Raises:
        OSError: It cannot be read.
    """
    with file.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    return head[_APPLICATION_ID] == application_id.to_bytes(4, "big") or not any(head)
