"""Removed means that no file of the gallery holds any of it."""

from pathlib import Path

import numpy as np
import pytest

from sightline.runtime import Gallery, NewEntry
from tests.runtime.gallery.make import MODEL, graph_gallery

_PIECE = 12
_JPEG_HEADER = 650  # the same tables in every picture


def _entry(random: np.random.Generator, dim: int) -> NewEntry:
    height, width = random.integers(8, 90, 2)
    crop = random.integers(0, 256, (height, width, 3), np.uint8) if random.random() < 0.7 else None
    metadata = {"note": random.bytes(int(random.integers(4, 300))).hex()}
    source = random.bytes(8).hex()
    return NewEntry(random.bytes(12).hex(), random.standard_normal(dim), crop, metadata, source)


def _secrets(gallery: Gallery, id: int, vector: np.ndarray) -> list[bytes]:
    entry = gallery.entry(id)
    picture = (gallery.crop(id) or b"")[_JPEG_HEADER:-2]
    unit = (vector / np.linalg.norm(vector)).astype("<f4").tobytes()
    parts = [unit, picture, entry.label.encode(), entry.metadata["note"].encode(), str(entry.source).encode()]
    starts = [(part, start) for part in parts for start in (0, len(part) // 2 - _PIECE // 2, len(part) - _PIECE)]
    return [part[start : start + _PIECE] for part, start in starts if len(part) >= 2 * _PIECE or start == 0]


def _pieces_in(folder: Path) -> set[bytes]:
    data = b"".join(file.read_bytes() for file in folder.iterdir())
    return {data[start : start + _PIECE] for start in range(len(data) - _PIECE)}


@pytest.mark.parametrize(("dim", "rounds"), [(32, 40), (256, 25)])
def test_nothing_of_a_removed_entry_is_in_any_file(tmp_path: Path, dim: int, rounds: int) -> None:
    random = np.random.default_rng(dim)
    vectors_of: dict[int, np.ndarray] = {}
    secrets: list[bytes] = []
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        for turn in range(rounds):
            added = [_entry(random, dim) for _ in range(random.integers(1, 30))]
            ids = gallery.add_many(added)
            vectors_of.update({id: entry.embedding for id, entry in zip(ids, added, strict=True)})
            gone = random.choice(list(vectors_of), min(len(vectors_of), int(random.integers(0, 40))), replace=False)
            secrets += [secret for id in gone for secret in _secrets(gallery, int(id), vectors_of.pop(id))]
            gallery.remove(gone.tolist())
            if turn % 8 == 7:
                found = _pieces_in(tmp_path / "g")
                assert not [secret for secret in secrets if len(secret) == _PIECE and secret in found]
        assert len(secrets) > 500 and gallery.check().ok


def test_a_kept_entry_is_found_by_the_same_search(tmp_path: Path) -> None:
    entry = _entry(np.random.default_rng(0), 32)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        id = gallery.add(entry.label, entry.embedding, crop=entry.crop, metadata=entry.metadata, source=entry.source)
        secrets = [secret for secret in _secrets(gallery, id, entry.embedding) if len(secret) == _PIECE]
        found = _pieces_in(tmp_path / "g")
        # A piece of a picture may lie across two pages of the file.
        assert len(secrets) >= 10 and sum(secret in found for secret in secrets) >= len(secrets) - 2


def test_the_graph_file_holds_nothing_of_it_either(tmp_path: Path) -> None:
    rows = graph_gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        gallery.remove([7])
    data = b"".join(file.read_bytes() for file in (tmp_path / "g").iterdir())
    assert rows[6].tobytes()[:12] not in data and rows[7].tobytes()[:12] in data
