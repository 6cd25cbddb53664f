"""Damage is found before it can make an answer wrong."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sightline.runtime import Gallery, GalleryError
from sightline.runtime.gallery import check_folder
from sightline.runtime.gallery.container import DoubtfulGraph, read_container, write_container
from tests.runtime.gallery.make import MODEL, frame, graph_gallery, small_gallery, true_ids, vectors

QUERIES = vectors(5, seed=5)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "g"
    small_gallery(folder, 60)
    with Gallery.open(folder, model=MODEL) as gallery:
        gallery.add("with a picture", vectors(61)[60], crop=frame(3, 100), metadata={"sku": "A"})
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large") / "g"
    graph_gallery(folder)
    return folder


def _flip(data: bytearray, random: np.random.Generator) -> None:
    data[random.integers(len(data))] ^= 1 << random.integers(8)


def _zero_sector(data: bytearray, random: np.random.Generator) -> None:
    start = 512 * int(random.integers(len(data) // 512 + 1))
    data[start : start + 512] = bytes(len(data[start : start + 512]))


def _truncate(data: bytearray, random: np.random.Generator) -> None:
    del data[random.integers(len(data)) :]


DAMAGES = [_flip, _zero_sector, _truncate]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_graph_file_is_never_loaded(
    large: Path, tmp_path: Path, damage: Callable[[bytearray, np.random.Generator], None]
) -> None:
    original = (large / "graph.bin").read_bytes()
    random = np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(original)
        damage(data, random)
        (tmp_path / "graph.bin").write_bytes(data)
        if data != original:
            with pytest.raises(DoubtfulGraph):
                read_container(tmp_path / "graph.bin")


def test_search_goes_on_exactly_while_a_damaged_graph_is_made_anew(large: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(large, tmp_path / "g")
    data = bytearray((folder / "graph.bin").read_bytes())
    data[len(data) // 2] ^= 16
    (folder / "graph.bin").write_bytes(data)
    assert "fails its SHA-256" in check_folder(folder).graph
    with Gallery.open(folder, model=MODEL) as gallery:
        matches = gallery.search(QUERIES, 10)
        assert matches.exact and (matches.ids == true_ids(vectors(5600), QUERIES, 10)).all()
        assert gallery.settle(60)
        stats = gallery.stats()
        assert stats.graph_entries == 5600 and "fails its SHA-256" in str(stats.trouble)
        assert gallery.check().ok
    assert check_folder(folder).graph == "whole"


def test_a_graph_of_another_gallery_is_not_used(large: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    graph_gallery(other)
    shutil.copy(large / "graph.bin", other / "graph.bin")
    with Gallery.open(other, model=MODEL) as gallery:
        gallery.search(QUERIES, 1)
        gallery.settle(60)
        assert "belongs to another gallery" in str(gallery.stats().trouble)


def test_a_graph_whose_links_belong_to_other_vectors_is_not_used(large: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(large, tmp_path / "g")
    header, links = read_container(folder / "graph.bin")
    wrong = links.checksums.copy()
    wrong[7] ^= 1
    write_container(folder / "graph.bin", header, type(links)(links.ids, wrong, links.levels, links.base, links.upper))
    with Gallery.open(folder, model=MODEL) as gallery:
        gallery.search(QUERIES, 1)
        gallery.settle(60)
        assert "made for other entries" in str(gallery.stats().trouble)


@pytest.mark.parametrize("column", ["base", "upper", "levels", "ids"])
def test_a_file_made_to_harm_is_not_used(large: Path, tmp_path: Path, column: str) -> None:
    header, links = read_container(large / "graph.bin")
    arrays = {name: getattr(links, name).copy() for name in ("ids", "checksums", "levels", "base", "upper")}
    arrays[column].reshape(-1)[-3 if column == "ids" else 1] = 2**30 if column != "ids" else arrays["ids"][0]
    write_container(tmp_path / "graph.bin", header, type(links)(**arrays))
    with pytest.raises(DoubtfulGraph):
        read_container(tmp_path / "graph.bin")


def _answers(folder: Path) -> list[object]:
    """Everything a user sees; raises GalleryError where damage is found."""
    with Gallery.open(folder, model=MODEL, create=False) as gallery:
        entries = list(gallery.entries())
        crops = [gallery.crop(entry.id) for entry in entries]
        matches = [gallery.match(query, 10) for query in QUERIES]
        return [entries, crops, matches, gallery.labels()]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_gives_the_truth_or_a_sentence(
    small: Path, tmp_path: Path, damage: Callable[[bytearray, np.random.Generator], None]
) -> None:
    truth = _answers(small)
    original = (small / "gallery.db").read_bytes()
    random = np.random.default_rng(2)
    found = 0
    for turn in range(120):
        data = bytearray(original)
        damage(data, random)
        folder = tmp_path / f"g{turn}"
        folder.mkdir()
        (folder / "gallery.db").write_bytes(data)
        try:
            assert _answers(folder) == truth
        except GalleryError:
            found += 1
    assert found > 5


def test_check_names_the_damaged_entry(small: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small, tmp_path / "g")
    data = bytearray((folder / "gallery.db").read_bytes())
    where = bytes(data).index(vectors(61)[16].tobytes())
    data[where + 5] ^= 4
    (folder / "gallery.db").write_bytes(data)
    with pytest.raises(GalleryError, match=r"entry 17 fails its checksum.*salvage"):
        Gallery.open(folder, model=MODEL)
    report = check_folder(folder)
    assert not report.ok and report.entries == 60 and "entry 17 fails its checksum" in report.problems


def test_a_damaged_picture_is_not_shown(small: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small, tmp_path / "g")
    with Gallery.open(folder, model=MODEL) as gallery:
        crop = gallery.crop(61)
    assert crop is not None
    data = bytearray((folder / "gallery.db").read_bytes())
    data[bytes(data).index(crop[-200:])] ^= 1
    (folder / "gallery.db").write_bytes(data)
    with Gallery.open(folder, model=MODEL) as gallery, pytest.raises(GalleryError, match="picture of entry 61"):
        gallery.crop(61)
    assert check_folder(folder).problems == ("the picture of entry 61 fails its checksum",)


def test_a_missing_row_is_noticed(small: Path, tmp_path: Path) -> None:
    import sqlite3

    folder = shutil.copytree(small, tmp_path / "g")
    connection = sqlite3.connect(folder / "gallery.db")
    connection.execute("DELETE FROM entries WHERE id = 5")
    connection.commit()
    connection.close()
    with pytest.raises(GalleryError, match="entries are missing"):
        Gallery.open(folder, model=MODEL)
    assert any("61 entries were stored, 60" in problem for problem in check_folder(folder).problems)


def _many(place: Path, *counts: int) -> str:
    words = [sys.executable, "-m", "tests.runtime.gallery.damage", str(place), *map(str, counts)]
    done = subprocess.run(words, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    return done.stdout


def test_damage_and_swapped_files_give_the_truth_or_a_sentence(tmp_path: Path) -> None:
    assert "no crash, no wrong answer" in _many(tmp_path / "d", 60, 20, 20, 11, 1)


@pytest.mark.slow
def test_ten_thousand_damages_give_the_truth_or_a_sentence(tmp_path: Path) -> None:
    _many(tmp_path / "d", 10_000, 2_000, 2_000, 500, 1)
