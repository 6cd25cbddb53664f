"""Where a calibration lies on the disk: its thresholds, and the negatives that it is fitted to again and again.

Each is one row with a checksum. Thresholds name labels by an entry's id, so that a removed label is in neither.
"""

import sqlite3
import zlib
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .calibration import Thresholds
from .schema import DAMAGE, has_calibration

CALIBRATION_DAMAGED = (
    "the gallery's thresholds or negatives are damaged: 'sightline gallery calibrate' makes them anew, until then "
    "the bundle's own threshold holds"
)
Vectors = NDArray[np.float32]


class DamagedCalibration(Exception):
    """A row fails its checksum; never leaves the gallery."""


def read_thresholds(connection: sqlite3.Connection) -> Thresholds | None:
    """The stored thresholds, or None where the gallery was never calibrated.

    Raises:
        DamagedCalibration: They are not as they were written.
    """
    try:
        row = _row(connection, "SELECT checksum, thresholds FROM calibration")
        if row is None:
            return None
        if row[0] != zlib.crc32(row[1]):
            raise DamagedCalibration
        return msgspec.json.decode(row[1], type=Thresholds)
    except (*DAMAGE, TypeError, msgspec.MsgspecError) as error:
        raise DamagedCalibration from error


def write_thresholds(writer: sqlite3.Connection, thresholds: Thresholds) -> None:
    """Store thresholds in place of the old; part of the caller's transaction."""
    text = msgspec.json.encode(thresholds)
    writer.execute("INSERT OR REPLACE INTO calibration VALUES (1, ?, ?)", (zlib.crc32(text), text))


def read_negatives(connection: sqlite3.Connection, model_id: str, dim: int | None) -> Vectors:
    """The stored negatives, float32 (negatives, dim); none where they were made by another model.

    Raises:
        DamagedCalibration: They are not as they were written.
    """
    none = np.empty((0, dim or 0), np.float32)
    try:
        row = _row(connection, "SELECT model_id, dim, checksum, embeddings FROM negatives")
        if row is None or (row[0], row[1]) != (model_id, dim):
            return none
        if row[2] != _checksum(row[0], row[1], row[3]):
            raise DamagedCalibration
        return np.frombuffer(row[3], "<f4").reshape(-1, row[1]).astype(np.float32, copy=False)
    except (*DAMAGE, TypeError, ValueError, AttributeError) as error:
        raise DamagedCalibration from error


def write_negatives(writer: sqlite3.Connection, model_id: str, negatives: Vectors) -> None:
    """Store negatives in place of the old; part of the caller's transaction."""
    data, dim = negatives.astype("<f4").tobytes(), negatives.shape[1]
    row = (model_id, dim, _checksum(model_id, dim, data), data)
    writer.execute("INSERT OR REPLACE INTO negatives VALUES (1, ?, ?, ?, ?)", row)


def forget_calibration(writer: sqlite3.Connection) -> None:
    """Delete thresholds and negatives; part of the caller's transaction."""
    for table in ("calibration", "negatives"):
        writer.execute(f"DELETE FROM {table}")


def _row(connection: sqlite3.Connection, query: str) -> tuple[Any, ...] | None:
    if not has_calibration(connection):
        return None
    row: tuple[Any, ...] | None = connection.execute(query).fetchone()
    return row


def _checksum(model_id: str, dim: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(f"{model_id} {dim}".encode("utf-8", "surrogatepass")))
