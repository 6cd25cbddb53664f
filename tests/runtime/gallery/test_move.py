"""Galleries made from others: salvage, merge, and another model's embeddings."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.runtime import Gallery, GalleryError, NewEntry
from sightline.runtime.gallery import merge, reembed, salvage
from sightline.runtime.preprocess import Image
from tests.runtime.gallery.make import DIM, MODEL, frame, vectors


def _gallery(folder: Path, count: int = 40, seed: int = 0) -> None:
    with Gallery.open(folder, model=MODEL) as gallery:
        rows = vectors(count, seed)
        gallery.add_many([NewEntry(f"item {row % 4}", rows[row], frame(row), {"n": str(row)}) for row in range(count)])
        gallery.remove([5])


def _flip_in(data: bytearray, piece: bytes) -> None:
    data[bytes(data).index(piece) + 2] ^= 8


def _one_vector(data: bytearray) -> None:
    _flip_in(data, vectors(40)[9].tobytes())


def _first_page(data: bytearray) -> None:
    data[:512] = bytes(512)


def _whole_first_page(data: bytearray) -> None:
    data[:4096] = bytes(4096)


def _head_row(data: bytearray) -> None:
    _flip_in(data, MODEL.encode())


def _a_leaf(data: bytearray) -> None:
    page = bytes(data).index(vectors(40)[20].tobytes()) // 4096
    data[4096 * page : 4096 * page + 1024] = bytes(1024)


@pytest.mark.parametrize(
    ("damage", "most_lost"), [(_one_vector, 1), (_first_page, 0), (_whole_first_page, 0), (_head_row, 0), (_a_leaf, 30)]
)
def test_salvage_saves_what_is_whole(tmp_path: Path, damage: Callable[[bytearray], None], most_lost: int) -> None:
    _gallery(tmp_path / "g")
    data = bytearray((tmp_path / "g" / "gallery.db").read_bytes())
    damage(data)
    (tmp_path / "g" / "gallery.db").write_bytes(data)
    with pytest.raises(GalleryError):
        Gallery.open(tmp_path / "g", model=MODEL)
    done = salvage(tmp_path / "g", tmp_path / "saved")
    assert done.saved + len(done.lost) == 39 and len(done.lost) <= most_lost and not done.without_picture
    assert (tmp_path / "g" / "gallery.db").read_bytes() == data
    with Gallery.open(tmp_path / "saved", model=MODEL) as saved:
        assert saved.check().ok and len(saved) == done.saved and 5 not in saved
        for entry in saved.entries():
            assert entry.metadata == {"n": str(entry.id - 1)} and saved.crop(entry.id)
            assert saved.match(vectors(40)[entry.id - 1], 1)[0].id == entry.id
        assert saved.add("next", vectors(1)[0]) == 41


def test_salvage_keeps_an_entry_whose_picture_is_damaged(tmp_path: Path) -> None:
    _gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g") as gallery:
        crop = gallery.crop(7)
    assert crop is not None
    data = bytearray((tmp_path / "g" / "gallery.db").read_bytes())
    _flip_in(data, crop[-300:-200])
    (tmp_path / "g" / "gallery.db").write_bytes(data)
    done = salvage(tmp_path / "g", tmp_path / "saved")
    assert (done.saved, done.lost, done.without_picture) == (39, (), (7,))
    with Gallery.open(tmp_path / "saved") as saved:
        assert saved.crop(7) is None and not saved.entry(7).has_crop and saved.check().ok


def test_salvage_and_merge_never_overwrite(tmp_path: Path) -> None:
    _gallery(tmp_path / "g")
    (tmp_path / "there").mkdir()
    for action in (
        lambda: salvage(tmp_path / "g", tmp_path / "there"),
        lambda: merge([tmp_path / "g"], tmp_path / "there"),
    ):
        with pytest.raises(GalleryError, match="exists already"):
            action()
    assert not list((tmp_path / "there").iterdir())


def test_merge_joins_two_devices(tmp_path: Path) -> None:
    _gallery(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "second")  # a device set up as a copy
    with Gallery.open(tmp_path / "first", model=MODEL) as first:
        first.add("taught on the first", vectors(1, 50)[0], metadata={"by": "first"})
    with Gallery.open(tmp_path / "second", model=MODEL) as second:
        second.add("taught on the second", vectors(1, 51)[0], crop=frame(3))
        second.remove([10, 11])
    done = merge([tmp_path / "first", tmp_path / "second"], tmp_path / "both")
    assert (done.entries, done.same, done.removed) == (39 + 2 - 2, 37, 2)
    with Gallery.open(tmp_path / "both", model=MODEL) as both:
        assert both.check().ok and len(both) == 39
        texts = {entry.metadata.get("n") for entry in both.entries()}
        assert "9" not in texts and "10" not in texts and "4" not in texts and "0" in texts
        assert both.match(vectors(1, 50)[0], 1)[0].metadata == {"by": "first"}
        assert both.match(vectors(1, 51)[0], 1)[0].label == "taught on the second"
    again = merge([tmp_path / "both", tmp_path / "first"], tmp_path / "again")
    assert again.entries == 39 and again.removed == 2


def test_galleries_of_two_models_are_not_merged(tmp_path: Path) -> None:
    _gallery(tmp_path / "one")
    Gallery.open(tmp_path / "two", model="model-b", dim=DIM).close()
    with pytest.raises(GalleryError, match="of model model-b"):
        merge([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def _embed(frames: list[Image]) -> NDArray[np.float32]:
    """Another model: 24 grey levels of a grid."""
    return np.stack([np.asarray(one[::10, ::7, 0], np.float32).reshape(-1)[:24] - 100 for one in frames])


def test_reembed_gives_another_models_vectors(tmp_path: Path) -> None:
    _gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as old:
        done = reembed(tmp_path / "g", "model-b", _embed)
        assert (done.entries, done.dropped) == (39, ())
        assert len(old.match(vectors(40)[0], 3)) == 3  # what is open goes on with the old vectors
        assert "model-b" in str(old.stats().trouble)
        with pytest.raises(GalleryError, match="moved to model model-b"):
            old.add("late", vectors(1)[0])
    with Gallery.open(tmp_path / "g", model="model-b") as new:
        assert new.check().ok and new.dim == 24 and len(new) == 39
        assert new.match(_embed([frame(3)])[0], 1)[0].metadata == {"n": "3"}
        assert new.entry(1).model_id == "model-b"
        assert new.add("next", _embed([frame(99)])[0]) == 41
    data = (tmp_path / "g" / "gallery.db").read_bytes()
    assert vectors(40)[0].tobytes()[:12] not in data
    assert reembed(tmp_path / "g", "model-b", _embed).entries == 40


def test_an_interrupted_reembed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    _gallery(tmp_path / "g")
    asked: list[int] = []

    def breaks(frames: list[Image]) -> NDArray[np.float32]:
        asked.append(len(frames))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return _embed(frames)

    with pytest.raises(KeyboardInterrupt):
        reembed(tmp_path / "g", "model-b", breaks)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert gallery.check().ok and gallery.match(vectors(40)[0], 1)[0].metadata == {"n": "0"}
    assert reembed(tmp_path / "g", "model-b", breaks).entries == 39
    assert sum(asked) == 39 + asked[1]  # only the batch that broke was embedded twice


def test_entries_without_a_picture_are_named(tmp_path: Path) -> None:
    _gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        gallery.add_many([NewEntry("bare", row) for row in vectors(2, 9)])
    with pytest.raises(GalleryError, match=r"2 entries keep no picture to embed anew \(41, 42\)"):
        reembed(tmp_path / "g", "model-b", _embed)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert len(gallery) == 41
    assert reembed(tmp_path / "g", "model-b", _embed, drop_missing=True).dropped == (41, 42)
    with Gallery.open(tmp_path / "g", model="model-b") as gallery:
        assert len(gallery) == 39 and gallery.check().ok
