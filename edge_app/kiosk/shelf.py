"""The gallery as the page browses it: items, their entries, removal."""

import threading
from collections.abc import Sequence
from datetime import datetime

import msgspec

from sightline.runtime import Entry, Gallery
from sightline.runtime.errors import GalleryError

from ..teach import Removed

PAGE_ITEMS = 60
PAGE_ENTRIES = 48
MAX_NAMES = 24


class Item(msgspec.Struct, frozen=True):
    """A label: how many entries it has, and the one whose picture stands for it."""

    label: str
    entries: int
    cover: int


class Items(msgspec.Struct, frozen=True):
    """Some of the items: `found` of `total` fit the query, `items` starts at `start` of them."""

    items: list[Item]
    start: int
    found: int
    total: int
    entries: int


class Piece(msgspec.Struct, frozen=True):
    """One entry."""

    id: int
    label: str
    metadata: dict[str, str]
    created: datetime
    source: str | None


class Pieces(msgspec.Struct, frozen=True):
    """Some of an item's entries, newest first, from `start` of `total`."""

    label: str
    entries: list[Piece]
    start: int
    total: int


class Shelf:
    """Browses a gallery and removes from it. Its methods may be called from any thread.

    Args:
        gallery: The gallery, or None where the run has none.
    """

    def __init__(self, gallery: Gallery | None) -> None:
        self._gallery = gallery
        self._removing = threading.Lock()

    def items(self, query: str, start: int) -> Items:
        """The items whose name contains `query`, by name."""
        counts = self._open().labels()
        found = sorted((label for label in counts if query.casefold() in label.casefold()), key=str.casefold)
        page = [
            Item(label, counts[label], max(ids))
            for label in found[start : start + PAGE_ITEMS]
            if (ids := self._open().ids_of(label))
        ]
        return Items(page, start, len(found), len(counts), sum(counts.values()))

    def pieces(self, label: str, start: int) -> Pieces:
        """The entries of an item."""
        ids = sorted(self._open().ids_of(label), reverse=True)
        return Pieces(label, self._read(ids[start : start + PAGE_ENTRIES]), start, len(ids))

    def crop(self, id: int) -> bytes | None:
        """The JPEG of an entry, or None where there is none."""
        try:
            return self._open().crop(id)
        except GalleryError:
            # A match whose picture is damaged or just removed is still a match.
            return None

    def facts(self) -> list[tuple[str, str]]:
        """What the health panel says of the gallery."""
        if self._gallery is None:
            return [("Gallery", "none")]
        stats = self._gallery.stats()
        size = f"{stats.entries} entries of {stats.labels} items, {stats.disk_bytes / 1e6:.1f} MB"
        return [("Gallery", size), ("Look-up", stats.reason)] + ([("Trouble", stats.trouble)] if stats.trouble else [])

    def names(self, first: Sequence[str]) -> list[str]:
        """Names to offer for a new item: `first`, a free "Item N", then those of the gallery, most entries first."""
        labels = list(self._gallery.labels()) if self._gallery is not None else []
        number = next(n for n in range(1, len(labels) + 2) if f"Item {n}" not in labels)
        return list(dict.fromkeys([*first, f"Item {number}", *labels]))[:MAX_NAMES]

    def remove(self, ids: Sequence[int] = (), label: str = "") -> Removed:
        """Remove entries, or all of an item; gone from the disk when it returns.

        Raises:
            GalleryError: There is nothing to remove, or it could not be removed.
        """
        gallery = self._open()
        with self._removing:
            doomed = [id for id in (gallery.ids_of(label) if label else ids) if id in gallery]
            if not doomed:
                raise GalleryError("this was removed already")
            name = label or gallery.entry(doomed[0]).label
            gallery.remove(doomed)
        return Removed(name, tuple(doomed))

    def _read(self, ids: Sequence[int]) -> list[Piece]:
        pieces = []
        for id in ids:
            try:
                pieces.append(_piece(self._open().entry(id)))
            except GalleryError:
                continue  # removed between the list and the look
        return pieces

    def _open(self) -> Gallery:
        if self._gallery is None:
            raise GalleryError("this run has no gallery: start it with --gallery FOLDER")
        return self._gallery


def _piece(entry: Entry) -> Piece:
    return Piece(entry.id, entry.label, entry.metadata, entry.created, entry.source)
