"""Checks on the way in, and the shapes of entries on the way in and out."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryError
from .crops import encode_crop
from .rows import PreparedEntry
from .values import Entry, NewEntry


def prepare(entry: NewEntry, model_id: str, dim: int | None) -> PreparedEntry:
    """Check one entry and bring it to the form that is stored.

    Raises:
        GalleryError: Its label, metadata or embedding cannot be stored.
        InputError: Its crop is no frame.
    """
    now = time.time()
    return PreparedEntry(
        uuid=uuid4().bytes,
        label=checked_text(entry.label, "label"),
        metadata=metadata_json(entry.metadata),
        created=now,
        changed=now,
        source=None if entry.source is None else checked_text(entry.source, "source"),
        model_id=model_id,
        embedding=unit_rows(entry.embedding, dim)[0].astype("<f4").tobytes(),
        jpeg=None if entry.crop is None else encode_crop(entry.crop),
    )


def check_texts(entry: NewEntry) -> None:
    """Check what an entry says of itself.

    Raises:
        GalleryError: Its label, metadata or source cannot be stored.
    """
    checked_text(entry.label, "label")
    metadata_json(entry.metadata)
    if entry.source is not None:
        checked_text(entry.source, "source")


def unit_rows(embeddings: NDArray[np.float32], dim: int | None) -> NDArray[np.float32]:
    """Check embeddings and bring them to unit length.

    Args:
        embeddings: Shape (dim,) or (rows, dim).
        dim: The width expected, or None for any.

    Returns:
        float32, shape (rows, dim).

    Raises:
        GalleryError: Another shape or width, a vector that is not finite, or one of zeros.
    """
    given = np.asarray(embeddings, np.float32)
    if given.ndim == 1 and len(given) == dim:  # the loop's case; the general one takes 5 us more
        squared = float(given @ given)
        if 1e-6 < squared < 1e6:  # else it may be zero, not finite, or too large for float32
            return (given * np.float32(1 / math.sqrt(squared)))[np.newaxis]
    rows = np.atleast_2d(given)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise GalleryError(f"embeddings have shape (dim,) or (rows, dim), not {np.shape(embeddings)}")
    if dim is not None and rows.shape[1] != dim:
        raise GalleryError(f"this gallery's embeddings have {dim} dimensions, not {rows.shape[1]}")
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise GalleryError("an embedding holds NaN or infinity: the model's output cannot be used")
    if (lengths < 1e-12).any():
        raise GalleryError("an embedding is all zeros: it has no direction to compare")
    return np.asarray(rows / lengths, np.float32)


def entry_of(row: Sequence[Any]) -> Entry:
    """Turn a row of ENTRY_COLUMNS into what users see."""
    return Entry(
        id=row[0],
        uuid=UUID(bytes=row[1]).hex,
        label=row[2],
        metadata=json.loads(row[3]),
        created=datetime.fromtimestamp(row[4], UTC),
        source=row[6],
        model_id=row[7],
        has_crop=row[8] != 0,
    )


def metadata_json(metadata: Mapping[str, str]) -> str:
    """Check metadata and give it as it is stored.

    Raises:
        GalleryError: It is no text by name.
    """
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise GalleryError(f"metadata is text by name, not {name!r}: {value!r}")
        checked_text(name + value, "metadata", empty=True)
    return json.dumps(dict(metadata), ensure_ascii=False, sort_keys=True) if metadata else "{}"


def checked_text(text: str, what: str, empty: bool = False) -> str:
    """Give a text that can be stored.

    Raises:
        GalleryError: It is empty or no valid Unicode.
    """
    if not isinstance(text, str) or not (text.strip() or empty):
        raise GalleryError(f"a {what} is text of at least one letter, not {text!r}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise GalleryError(f"a {what} must be valid Unicode, not {text!r}") from None
    return text
