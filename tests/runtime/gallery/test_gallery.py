"""What a user of `Gallery` may rely on."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from sightline.runtime import Gallery, GalleryError, InputError, NewEntry
from tests.runtime.gallery.make import DIM, MODEL, entries, frame, small_gallery, true_ids, vectors


def test_what_was_added_is_there_after_reopening(tmp_path: Path) -> None:
    rows = vectors(3)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        picture = frame(1, 400)
        assert gallery.add("mug", rows[0], crop=picture, metadata={"sku": "A-17", "note": "größe"}, source="a.jpg") == 1
        assert gallery.add_many([NewEntry("pen", rows[1]), NewEntry("mug", rows[2])]) == [2, 3]
    with Gallery.open(tmp_path / "g", model=MODEL, create=False) as gallery:
        assert len(gallery) == 3 and gallery.labels() == {"mug": 2, "pen": 1} and gallery.dim == DIM
        entry = gallery.entry(1)
        assert (entry.label, entry.metadata, entry.source) == ("mug", {"sku": "A-17", "note": "größe"}, "a.jpg")
        assert (entry.model_id, entry.has_crop, gallery.entry(2).has_crop) == (MODEL, True, False)
        assert [entry.id for entry in gallery.entries()] == [1, 2, 3]
        assert [entry.id for entry in gallery.entries("mug")] == gallery.ids_of("mug") == [1, 3]
        crop = gallery.crop(1)
        assert crop is not None and gallery.crop(2) is None
        assert cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR).shape == (160, 160, 3)
        match = gallery.match(rows[0], 2)[0]
        assert (match.id, match.label, match.metadata) == (1, "mug", {"sku": "A-17", "note": "größe"})
        assert match.similarity == pytest.approx(1.0, abs=1e-6)
        assert gallery.check().ok and 1 in gallery and 4 not in gallery


def test_search_gives_the_nearest_by_cosine(tmp_path: Path) -> None:
    rows = small_gallery(tmp_path / "g")
    queries = vectors(7, seed=1)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        matches = gallery.search(queries * 3.5, k=4)  # any length: cosine
        assert matches.ids.dtype == np.int64 and matches.similarity.dtype == np.float32 and matches.exact
        assert (matches.ids == true_ids(rows, queries, 4)).all()
        expected = np.take_along_axis(queries @ rows.T, matches.ids - 1, axis=1)
        np.testing.assert_allclose(matches.similarity, expected, atol=1e-6)
        assert gallery.search(queries[0], 4).ids.shape == (1, 4)


def test_fewer_than_k_entries_give_fewer(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert gallery.match(vectors(1)[0]) == () and (gallery.search(vectors(2), 3).ids == -1).all()
        gallery.add("mug", vectors(1)[0])
        matches = gallery.search(vectors(1)[0], k=3)
        assert matches.ids.tolist() == [[1, -1, -1]] and np.isnan(matches.similarity[0, 1:]).all()
        assert len(gallery.match(vectors(1)[0], 3)) == 1


def test_removed_entries_are_gone_and_ids_are_not_given_again(tmp_path: Path) -> None:
    rows = small_gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert gallery.remove([30, 30, 2, 99]) == 2 and len(gallery) == 28
        assert gallery.remove([2]) == 0
        assert not np.isin(gallery.search(rows, 28).ids, [2, 30]).any()
        assert gallery.add("new", rows[0]) == 31
        with pytest.raises(GalleryError, match="no entry 30"):
            gallery.entry(30)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert len(gallery) == 29 and 2 not in gallery and 31 in gallery and gallery.check().ok


@pytest.mark.parametrize(
    ("embedding", "words"),
    [
        (np.full(DIM, np.nan), "NaN or infinity"),
        (np.full(DIM, np.inf), "NaN or infinity"),
        (np.zeros(DIM), "all zeros"),
        (np.ones(DIM + 1), "16 dimensions, not 17"),
        (np.ones((2, DIM, 1)), "shape"),
    ],
)
def test_embeddings_that_cannot_be_compared_are_refused(tmp_path: Path, embedding: np.ndarray, words: str) -> None:
    small_gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        with pytest.raises(GalleryError, match=words):
            gallery.add_many([NewEntry("whole", vectors(1)[0]), NewEntry("broken", embedding)])
        with pytest.raises(GalleryError, match=words):
            gallery.search(embedding)
        assert len(gallery) == 30


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (NewEntry("", vectors(1)[0]), GalleryError),
        (NewEntry("a\ud800", vectors(1)[0]), GalleryError),
        (NewEntry("a", vectors(1)[0], metadata={"size": 3}), GalleryError),  # type: ignore[dict-item]
        (NewEntry("a", vectors(1)[0], crop=np.zeros((3, 3), np.uint8)), InputError),
    ],
)
def test_entries_that_cannot_be_stored_are_refused(tmp_path: Path, entry: NewEntry, error: type[Exception]) -> None:
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        with pytest.raises(error):
            gallery.add_many([entry])
        assert len(gallery) == 0


def test_another_models_gallery_is_refused_with_the_way_out(tmp_path: Path) -> None:
    small_gallery(tmp_path / "g")
    with pytest.raises(GalleryError, match=r"model model-a, this bundle makes model-b.*sightline gallery reembed"):
        Gallery.open(tmp_path / "g", model="model-b")
    with pytest.raises(GalleryError, match="16 dimensions, not 32"):
        Gallery.open(tmp_path / "g", model=MODEL, dim=32)


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    small_gallery(tmp_path / "g")
    connection = sqlite3.connect(tmp_path / "g" / "gallery.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / "g" / "gallery.db").read_bytes()
    with pytest.raises(GalleryError, match="schema 99, this program reads up to 2: update sightline"):
        Gallery.open(tmp_path / "g", model=MODEL)
    assert (tmp_path / "g" / "gallery.db").read_bytes() == before


def _nothing(folder: Path) -> None:
    pass


def _a_file(folder: Path) -> None:
    folder.write_text("x")


def _other_files(folder: Path) -> None:
    folder.mkdir()
    (folder / "photo.jpg").write_text("x")


def _another_database(folder: Path) -> None:
    folder.mkdir()
    connection = sqlite3.connect(folder / "gallery.db")
    connection.execute("CREATE TABLE t (a)")
    connection.close()


def _no_database(folder: Path) -> None:
    folder.mkdir()
    (folder / "gallery.db").write_bytes(b"hello" * 1000)


@pytest.mark.parametrize(
    ("prepare", "create", "words"),
    [
        (_nothing, False, "does not exist"),
        (_a_file, True, "is a file"),
        (_other_files, True, "holds other files"),
        (_another_database, True, "not a gallery's database"),
        (_no_database, True, "damaged"),
    ],
)
def test_what_is_no_gallery_is_refused(
    tmp_path: Path, prepare: Callable[[Path], None], create: bool, words: str
) -> None:
    prepare(tmp_path / "g")
    with pytest.raises(GalleryError, match=words):
        Gallery.open(tmp_path / "g", model=MODEL, create=create)


def test_an_interrupted_creation_is_finished(tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "gallery.db").touch()
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert gallery.add("mug", vectors(1)[0]) == 1


def test_a_closed_gallery_says_so(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g", model=MODEL)
    gallery.close()
    gallery.close()
    with pytest.raises(GalleryError, match="closed"):
        gallery.add("mug", vectors(1)[0])


def test_stats_tell_how_it_is_searched(tmp_path: Path) -> None:
    small_gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g") as gallery:
        stats = gallery.stats()
    assert (stats.entries, stats.labels, stats.crops, stats.search, stats.trouble) == (30, 3, 0, "exact", None)
    assert "every entry is compared" in stats.reason and stats.disk_bytes > 30 * 4 * DIM


def test_metadata_is_kept_as_json_that_others_can_read(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        gallery.add("mug", vectors(1)[0], metadata={"b": "2", "a": "ü"})
    connection = sqlite3.connect(tmp_path / "g" / "gallery.db")
    (text,) = connection.execute("SELECT metadata FROM entries").fetchone()
    connection.close()
    assert json.loads(text) == {"a": "ü", "b": "2"}


def test_no_wal_is_left_behind(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        gallery.add_many(entries(5))
    assert {file.name for file in (tmp_path / "g").iterdir()} == {"gallery.db", "gallery.lock"}
