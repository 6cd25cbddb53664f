"""What goes into a gallery and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ..preprocess import Image


@dataclass(frozen=True, slots=True, eq=False)
class NewEntry:
    """One item to be stored.

    Attributes:
        label: What it is; not empty.
        embedding: float32, shape (dim,); brought to unit length when it is stored.
        crop: uint8, shape (height, width, 3), BGR; kept as a JPEG of at most 160 pixels a side.
        metadata: Free text by name.
        source: Where it came from (a file, a camera), for people.
    """

    label: str
    embedding: NDArray[np.float32]
    crop: Image | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored item, without its vector and picture.

    Attributes:
        id: Its number in this gallery; never given twice.
        uuid: Its name in every gallery that it is ever merged into, 32 hexadecimal digits.
        label: What it is.
        metadata: Free text by name.
        created: When it was stored, by the device's clock.
        source: Where it came from, or None.
        model_id: The embedding space of its vector.
        has_crop: Whether a picture of it is kept.
    """

    id: int
    uuid: str
    label: str
    metadata: dict[str, str]
    created: datetime
    source: str | None
    model_id: str
    has_crop: bool


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The gallery's nearest entries to each query, most similar first.

    Attributes:
        ids: int64, shape (queries, k); -1 where the gallery has fewer than k entries.
        similarity: float32, shape (queries, k), cosine in [-1, 1]; nan where ids is -1.
        exact: Whether every entry was compared (True) or the graph was searched (False).
    """

    ids: NDArray[np.int64]
    similarity: NDArray[np.float32]
    exact: bool


@dataclass(frozen=True, slots=True)
class GalleryStats:
    """A gallery's size and how it is searched at this moment.

    Attributes:
        path: Its folder.
        model_id: The embedding space of its entries.
        dim: Width of its vectors; None while it is empty and was made without one.
        schema_version: Of the file on disk.
        entries: Entries stored.
        labels: Distinct labels.
        crops: Entries with a picture.
        disk_bytes: All files of the folder.
        search: "exact" or "graph".
        reason: Why it is searched so.
        graph_entries: Entries that the graph holds; the rest is compared exactly.
        graph_deleted: Share of the graph's entries that have been removed since it was built, 0 to 1.
        exact_us: One exact search on this machine, microseconds; None until measured.
        graph_us: One graph search on this machine, microseconds; None until measured.
        measured_recall: recall@10 of the graph when it was measured; None until then.
        live_recall: Running recall of sampled live queries against exact search; None until sampled.
        threshold: Similarity from which a match counts; None where the gallery was never calibrated.
        thresholds_of_labels: Labels with a threshold of their own.
        negatives: Negatives that the thresholds were fitted to.
        false_accept_rate: Share of negatives given a label by thresholds fitted without them; None without any.
        trouble: The last failure that was worked around, or None.
    """

    path: str
    model_id: str
    dim: int | None
    schema_version: int
    entries: int
    labels: int
    crops: int
    disk_bytes: int
    search: str
    reason: str
    graph_entries: int
    graph_deleted: float
    exact_us: float | None
    graph_us: float | None
    measured_recall: float | None
    live_recall: float | None
    threshold: float | None
    thresholds_of_labels: int
    negatives: int
    false_accept_rate: float | None
    trouble: str | None


@dataclass(frozen=True, slots=True)
class CatalogueStats:
    """An engine's collection: its size and state.

    Attributes:
        path: Its address.
        model_id: The embedding space of its entries.
        dim: Width of its vectors.
        schema_version: Of what is kept with an entry.
        entries: Entries stored.
        labels: Distinct labels.
        search: The engine that answers.
        reason: What it says of its index.
    """

    path: str
    model_id: str
    dim: int
    schema_version: int
    entries: int
    labels: int
    search: str
    reason: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check of every byte found.

    Attributes:
        path: The gallery's folder.
        entries: Entries that passed.
        problems: Damage to what was taught, one sentence each; empty when all is well.
        graph: State of the cache: "whole", "none", or what is wrong with it. Never a loss: it is rebuilt.
    """

    path: str
    entries: int
    problems: tuple[str, ...]
    graph: str

    @property
    def ok(self) -> bool:
        """Whether everything that was taught is whole."""
        return not self.problems
