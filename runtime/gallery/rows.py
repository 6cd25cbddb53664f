"""What travels between the SQLite file and the memory: checked batches, and rows on their way in."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibration import Thresholds
from .schema import Head, damaged

# The columns of one entry: those that its checksum covers, in the order of `entry_checksum`, and the checksum.
# An entry knows its picture's checksum too, so that a picture that vanished with its page is missed.
ENTRY_COLUMNS = "id, uuid, label, metadata, created, changed, source, model_id, crop_checksum, embedding, checksum"


@dataclass(frozen=True, slots=True)
class PreparedEntry:
    """An entry as SQLite takes it: metadata as JSON, vector as little-endian float32, crop as JPEG."""

    uuid: bytes
    label: str
    metadata: str
    created: float
    changed: float
    source: str | None
    model_id: str
    embedding: bytes
    jpeg: bytes | None


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Checked entries, ids ascending.

    Attributes:
        ids: int64, shape (n,).
        labels: n labels.
        metadata: n JSON objects.
        checksums: int64, shape (n,).
        matrix: float32, shape (n, dim), unit length.
    """

    ids: NDArray[np.int64]
    labels: list[str]
    metadata: list[str]
    checksums: NDArray[np.int64]
    matrix: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Delta:
    """What changed since a point of time, read in one transaction.

    Attributes:
        head: The gallery's head at that moment.
        removed: Ids removed since.
        added: Entries added since, as many as asked for; None where the gallery has no dimension yet.
        thresholds: The stored thresholds, or None.
        note: What is wrong with them, or None.
    """

    head: Head
    removed: list[int]
    added: Batch | None
    thresholds: Thresholds | None = None
    note: str | None = None


def entry_checksum(
    id: int,
    uuid: bytes,
    label: str,
    metadata: str,
    created: float,
    changed: float,
    source: str | None,
    model_id: str,
    crop_checksum: int,
    embedding: bytes,
) -> int:
    """CRC-32 over every field of an entry."""
    text = f"{id}\x1f{label}\x1f{metadata}\x1f{created!r}\x1f{changed!r}\x1f{source}\x1f{model_id}\x1f{crop_checksum}"
    return zlib.crc32(embedding, zlib.crc32(uuid, zlib.crc32(text.encode("utf-8", "surrogatepass"))))


def crop_checksum(id: int, jpeg: bytes) -> int:
    """CRC-32 over a crop and the entry it belongs to; never 0, which stands for no crop."""
    return zlib.crc32(jpeg, zlib.crc32(str(id).encode())) or 1


def row_problem(row: Sequence[Any], dim: int) -> str | None:
    """Say what is wrong with a row of ENTRY_COLUMNS, or None."""
    try:
        if entry_checksum(*row[:10]) != row[10]:
            return f"entry {row[0]} fails its checksum"
        if len(row[9]) != 4 * dim:
            return f"entry {row[0]} has {len(row[9]) // 4} dimensions, expected {dim}"
    except (TypeError, AttributeError, ValueError):
        return f"entry {row[0]!r} has a field of another type"
    return None


def checked_batch(rows: Sequence[Sequence[Any]], dim: int, folder: Path) -> Batch:
    """Turn rows of ENTRY_COLUMNS into a batch.

    Raises:
        GalleryError: A row fails its checksum.
    """
    for row in rows:
        problem = row_problem(row, dim)
        if problem is not None:
            raise damaged(folder, problem)
    vectors = np.frombuffer(b"".join(row[9] for row in rows), "<f4").reshape(len(rows), dim)
    return Batch(
        np.array([row[0] for row in rows], np.int64),
        [row[2] for row in rows],
        [row[3] for row in rows],
        np.array([row[10] for row in rows], np.int64),
        vectors.astype(np.float32, copy=False),
    )
