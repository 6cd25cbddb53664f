"""What commands need of a gallery, wherever it lies: a folder on this device, or a collection of an engine."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ..recognition import Match
from .folder import is_uri
from .gallery import Gallery
from .values import CatalogueStats, Entry, GalleryStats, Matches, NewEntry


class Catalogue(Protocol):
    """Entries that are added, removed and looked up; `Gallery` documents each method.

    Attributes:
        model_id: The embedding space of its entries.
    """

    model_id: str

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __len__(self) -> int: ...

    def __contains__(self, id: object) -> bool: ...

    def add_many(self, entries: Sequence[NewEntry]) -> list[int]:
        """Store items; returns their ids when they are on the disk."""

    def remove(self, ids: Sequence[int]) -> int:
        """Remove entries; returns how many there were."""

    def search(self, queries: NDArray[np.float32], k: int = 5) -> Matches:
        """Find the nearest entries to each query."""

    def match(self, embedding: NDArray[np.float32], k: int = 5) -> tuple[Match, ...]:
        """The nearest entries to one embedding, named."""

    def match_among(
        self, query: NDArray[np.float32] | int, k: int, label: str | None, where: Mapping[str, str]
    ) -> tuple[Match, ...]:
        """The nearest of a selection of entries."""

    def entries(self, label: str | None = None) -> Iterator[Entry]:
        """Go through the entries."""

    def labels(self) -> dict[str, int]:
        """Entries of each label, most first."""

    def ids_of(self, label: str) -> list[int]:
        """Ids of the entries of a label."""

    def stats(self) -> GalleryStats | CatalogueStats:
        """Size, and how queries are answered."""


def open_catalogue(place: str | Path, model: str | None, create: bool, dim: int | None = None) -> Catalogue:
    """Open the gallery that a path or a URI names.

    Args:
        place: A folder, or `qdrant://HOST[:PORT]/COLLECTION`, `qdrant+https://HOST[:PORT]/COLLECTION`,
            `qdrant+local://FOLDER/COLLECTION`; see `qdrant`.
        model: The embedding model in use; None takes the gallery's own.
        create: Make it where it is missing; needs `model`, and a collection also `dim`.
        dim: Width of the embeddings, where known.

    Raises:
        GalleryError: It is missing, of another model, or cannot be reached, read or made.
    """
    if not is_uri(place):
        return Gallery.open(place, model, create, dim)
    from .qdrant import QdrantCatalogue

    return QdrantCatalogue.open(str(place), model, create, dim)
