"""Looking at a collection: selections, near-duplicates, clusters, and files for other programs."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from sightline.runtime import Gallery, GalleryError, InputError, NewEntry
from sightline.runtime.gallery import (
    Metric,
    Snapshot,
    density_clusters,
    export_gallery,
    import_gallery,
    mean_clusters,
    near_duplicates,
)
from sightline.runtime.gallery.views import Group
from tests.runtime.gallery.make import MODEL, frame, small_gallery, vectors


def blobs(count: int, each: int, noise: float, seed: int = 0) -> Snapshot:
    """`count` groups of entries around centres, and as many entries that belong nowhere."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((count, 24))
    rows = np.repeat(centres, each, axis=0) + noise * random.standard_normal((count * each, 24))
    rows = np.concatenate([rows, random.standard_normal((count, 24))])
    order = random.permutation(len(rows))
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)[order]
    labels = tuple(f"blob {number // each}" if number < count * each else "alone" for number in order)
    return Snapshot(np.arange(1, len(unit) + 1), labels, ("{}",) * len(unit), unit)


def _numbers(groups: list[Group], count: int) -> list[int]:
    where = {id: number for number, group in enumerate(groups) for id in group.ids}
    return [where.get(id, -1) for id in range(1, count + 1)]


def test_density_clusters_are_scikit_learns() -> None:
    entries = blobs(6, 20, 0.35)
    groups, alone = density_clusters(entries, 0.75, 4)
    theirs = DBSCAN(eps=0.25, min_samples=4, metric="cosine").fit_predict(entries.vectors)
    assert adjusted_rand_score(theirs, _numbers(groups, len(theirs))) == pytest.approx(1.0)
    assert sorted(alone) == (np.flatnonzero(theirs < 0) + 1).tolist() and len(groups) == 6
    assert all(set(group.labels) == {group.labels[0]} and group.similarity > 0.75 for group in groups)


def test_mean_clusters_find_the_blobs() -> None:
    entries = blobs(6, 20, 0.3)
    inside = entries.take(np.flatnonzero([label != "alone" for label in entries.labels]))
    groups = mean_clusters(inside, 6)
    assert sorted(len(group.ids) for group in groups) == [20] * 6
    assert sum(len(group.ids) for group in mean_clusters(entries, 1000)) == len(entries.ids)
    assert mean_clusters(entries.select("nobody"), 3) == []


def test_near_duplicates_are_grouped_and_nothing_else() -> None:
    entries = blobs(5, 4, 0.05)
    found = near_duplicates(entries, 0.97)
    assert [len(group.ids) for group in found] == [4] * 5
    assert all(set(group.labels) == {group.labels[0]} and "alone" not in group.labels for group in found)
    assert near_duplicates(entries, 1.1) == []


def test_a_selection_is_searched_and_told_in_either_metric(tmp_path: Path) -> None:
    rows = vectors(30)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        notes = [{"colour": "red" if row % 2 else "blue", "n": str(row)} for row in range(30)]
        gallery.add_many([NewEntry(f"label {row % 3}", rows[row], None, notes[row]) for row in range(30)])
        gallery.remove([4])
        entries = gallery.snapshot()
    assert len(entries.ids) == 29 and entries.select("label 1", {"colour": "red"}).ids.tolist() == [2, 8, 14, 20, 26]
    assert len(entries.select(metadata={"colour": "red", "n": "7"}).ids) == 1 and len(entries.select("no").ids) == 0
    chosen = entries.select(metadata={"colour": "blue"})
    cosine = chosen.vectors.astype(np.float64) @ rows[5]
    found = chosen.nearest(rows[5], 3)
    assert [match.id for match in found] == chosen.ids[np.argsort(-cosine)[:3]].tolist()
    distance = np.linalg.norm(chosen.vectors[chosen.row(found[0].id)].astype(np.float64) - rows[5])
    assert Metric.EUCLIDEAN.of(found[0].similarity) == pytest.approx(distance, abs=1e-4)
    assert Metric.INNER_PRODUCT.of(0.3) == Metric.COSINE.of(0.3) == 0.3
    with pytest.raises(GalleryError, match="no entry 4"):
        entries.row(4)


def test_a_collection_goes_out_and_comes_back_the_same(tmp_path: Path) -> None:
    rows = vectors(12)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        for row in range(12):
            crop = frame(row) if row % 3 else None
            gallery.add(f'mug, "{row}"\n', rows[row], crop=crop, metadata={"käse": "=1+1", "n": ""}, source="cam\\0")
        gallery.remove([3])
    assert export_gallery(tmp_path / "g", tmp_path / "out") == 11
    with (tmp_path / "out" / "entries.csv").open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert table[0]["label"] == 'mug, "0"\n' and table[1]["file"] == "images/2.jpg"
    done = import_gallery(tmp_path / "out", tmp_path / "back")
    assert (done.added, done.known) == (11, 0)
    assert _content(tmp_path / "g") == _content(tmp_path / "back")
    with Gallery.open(tmp_path / "back") as back:
        assert back.check().ok
        back.remove([1])
    again = import_gallery(tmp_path / "out", tmp_path / "back")
    assert (again.added, again.known) == (0, 11)


def _content(folder: Path) -> list[object]:
    with Gallery.open(folder, create=False) as gallery:
        entries = list(gallery.entries())
        vectors_of = [gallery.snapshot().vectors[row].tobytes() for row in range(len(entries))]
        plain = [(one.uuid, one.label, one.metadata, one.created, one.source, one.model_id) for one in entries]
        return [plain, vectors_of, [gallery.crop(entry.id) for entry in entries]]


def _drop_column(folder: Path) -> None:
    (folder / "entries.csv").write_text("file,label\nx,y\n")


def _drop_row(folder: Path) -> None:
    lines = (folder / "entries.csv").read_text().splitlines()
    (folder / "entries.csv").write_text("\n".join(lines[:-1]))


def _climb(folder: Path) -> None:
    text = (folder / "entries.csv").read_text()
    (folder / "entries.csv").write_text(text.replace("\n,label 0", "\n../../etc/passwd,label 0", 1))


def _pickle(folder: Path) -> None:
    np.save(folder / "embeddings.npy", np.array([{"a": 1}], object), allow_pickle=True)


def _nan(folder: Path) -> None:
    rows = np.load(folder / "embeddings.npy")
    rows[3] = np.nan
    np.save(folder / "embeddings.npy", rows)


@pytest.mark.parametrize("damage", [_drop_column, _drop_row, _climb, _pickle, _nan])
def test_files_that_are_no_export_are_refused_whole(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    small_gallery(tmp_path / "g")
    export_gallery(tmp_path / "g", tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises((InputError, GalleryError)):
        import_gallery(tmp_path / "out", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_another_models_files_are_refused(tmp_path: Path) -> None:
    small_gallery(tmp_path / "g")
    export_gallery(tmp_path / "g", tmp_path / "out")
    with Gallery.open(tmp_path / "other", model="model-b") as gallery:
        gallery.add("x", vectors(1)[0])
    with pytest.raises(GalleryError, match="model-b"):
        import_gallery(tmp_path / "out", tmp_path / "other")
    with pytest.raises(GalleryError, match="exists already"):
        export_gallery(tmp_path / "g", tmp_path / "out")
