"""The graph: as good as exact search, never trusted further than that."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from sightline.runtime import Gallery, NewEntry
from sightline.runtime.gallery import caretaker, graph
from sightline.runtime.gallery.nearest import nearest_rows
from sightline.runtime.gallery.speed import SMALLEST_GRAPH, recall_of
from tests.runtime.gallery.make import MODEL, entries, graph_gallery, prefer_graph, true_ids, vectors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "g"
    graph_gallery(path)
    return path


@pytest.fixture
def gallery(folder: Path, tmp_path: Path) -> Gallery:
    (tmp_path / "g").mkdir()
    for file in folder.iterdir():
        (tmp_path / "g" / file.name).write_bytes(file.read_bytes())
    with Gallery.open(tmp_path / "g", model=MODEL) as opened:
        opened.search(vectors(1), 1)
        assert opened.settle(60) and opened.stats().search == "graph", opened.stats()
        yield opened


ROWS = vectors(SMALLEST_GRAPH + 600)
QUERIES = vectors(50, seed=7)


def test_the_graph_agrees_with_exact_search(gallery: Gallery) -> None:
    matches = gallery.search(QUERIES, 10)
    assert not matches.exact
    assert recall_of(matches.ids, true_ids(ROWS, QUERIES, 10)) >= 0.98
    expected = np.take_along_axis(QUERIES @ ROWS.T, matches.ids - 1, axis=1)
    np.testing.assert_allclose(matches.similarity, expected, atol=1e-5)
    assert (np.diff(matches.similarity, axis=1) <= 0).all()


def test_its_file_holds_no_vector(gallery: Gallery) -> None:
    data = (gallery.path / "graph.bin").read_bytes()
    assert len(data) < len(ROWS) * 200
    assert not any(row.tobytes()[:16] in data for row in ROWS[::50])


def test_an_entry_is_found_before_and_after_the_graph_has_it(gallery: Gallery) -> None:
    new = vectors(3, seed=9)
    ids = [gallery.add("new", row) for row in new]
    assert gallery.search(new, 1).ids[:, 0].tolist() == ids
    assert gallery.settle(60)
    matches = gallery.search(new, 1)
    assert matches.ids[:, 0].tolist() == ids and not matches.exact


def test_a_removed_entry_is_not_found(gallery: Gallery) -> None:
    gone = list(range(1, 200))
    assert gallery.remove(gone) == len(gone)
    matches = gallery.search(ROWS[:199], 5)
    assert not matches.exact and not np.isin(matches.ids, gone).any()


def test_removals_while_it_was_closed_are_respected(gallery: Gallery) -> None:
    path = gallery.path
    gallery.remove(list(range(1, 300)))
    gallery.close()
    with Gallery.open(path, model=MODEL) as again:
        again.search(QUERIES, 1)
        again.settle(60)
        prefer_graph(again)
        matches = again.search(QUERIES, 10)
        truth = true_ids(ROWS[299:], QUERIES, 10) + 299
    assert not matches.exact and recall_of(matches.ids, truth) >= 0.98


def test_a_graph_whose_newest_entries_were_removed_is_used(gallery: Gallery) -> None:
    gallery.search(ROWS[0], 1)
    gallery.settle(60)
    newest = gallery.add_many([NewEntry("newest", row) for row in vectors(3, seed=8)])
    gallery.settle(60)
    gallery.remove(newest)
    gallery.close()
    with Gallery.open(gallery.path, model=MODEL) as again:
        again.search(ROWS[0], 1)
        assert again.settle(60)
        assert again.stats().trouble is None and again.stats().graph_entries == len(ROWS)
        late = again.add("late", vectors(4, seed=8)[3])
        assert late == newest[-1] + 1 and again.settle(60)
        matches = again.search(vectors(4, seed=8), 1)
        assert not matches.exact and matches.ids[3, 0] == late and not set(newest) & set(matches.ids[:, 0].tolist())


def test_it_is_made_anew_when_a_fifth_is_removed_and_replaced(gallery: Gallery) -> None:
    half = len(ROWS) // 2
    gallery.remove(list(range(1, half + 1)))
    gallery.add_many(entries(half, seed=3))
    assert gallery.settle(120)
    prefer_graph(gallery)
    assert gallery.stats().graph_deleted < 0.2
    rows = np.concatenate([ROWS[half:], vectors(half, seed=3)])
    matches = gallery.search(QUERIES, 10)
    assert not matches.exact and recall_of(matches.ids, true_ids(rows, QUERIES, 10) + half) >= 0.98


def test_more_than_the_graph_gives_is_answered_exactly(gallery: Gallery) -> None:
    matches = gallery.search(QUERIES[:2], 400)
    assert matches.exact and (matches.ids == true_ids(ROWS, QUERIES[:2], 400)).all()


def test_live_queries_are_sampled_against_exact_search(gallery: Gallery) -> None:
    for _ in range(120):
        for query in QUERIES:
            gallery.match(query, 5)
        gallery.settle(60)
    recall = gallery.stats().live_recall
    assert recall is not None and recall > 0.9


def test_low_live_recall_widens_the_search(gallery: Gallery) -> None:
    gallery._index._recalls.extend([0.5] * 50)
    before = gallery._index.speed
    assert gallery.settle(60)
    after = gallery._index.speed
    assert before is not None and after is not None and (after.ef > before.ef or before.ef == 512)


def test_adding_and_removing_while_others_search(gallery: Gallery) -> None:
    wrong: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            for row in range(500, 520):
                match = gallery.match(ROWS[row], 1)[0]
                if match.id != row + 1 or match.similarity < 0.999:
                    wrong.append(match)

    readers = [threading.Thread(target=ask) for _ in range(3)]
    for reader in readers:
        reader.start()
    new = vectors(60, seed=11)
    ids = [gallery.add("new", row) for row in new]
    gallery.remove(ids[::2])
    gallery.settle(60)
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert set(gallery.search(new, 1).ids[1::2, 0]) == set(ids[1::2]) and len(gallery) == len(ROWS) + 30


def test_everything_works_without_hnswlib(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    monkeypatch.setattr(graph, "available", lambda: False)
    (tmp_path / "g").mkdir()
    for file in folder.iterdir():
        (tmp_path / "g" / file.name).write_bytes(file.read_bytes())
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        matches = gallery.search(QUERIES, 10)
        gallery.settle(60)
        gallery.rebuild()
        assert matches.exact and (matches.ids == true_ids(ROWS, QUERIES, 10)).all()
        assert "hnswlib is not installed" in gallery.stats().reason


def test_a_full_disk_costs_the_graph_file_only(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = (gallery.path / "graph.bin").read_bytes()
    monkeypatch.setattr(caretaker, "write_container", full)
    gallery._caretaker._unsaved = 10**6
    gallery.settle(60)
    assert "No space left" in str(gallery.stats().trouble)
    assert (gallery.path / "graph.bin").read_bytes() == before
    assert (gallery.search(ROWS[:20], 1).ids[:, 0] == np.arange(1, 21)).all()


def test_nearest_rows_against_sorting_everything() -> None:
    rows, queries = vectors(100, dim=8), vectors(9, seed=2, dim=8)
    alive = np.ones(100, bool)
    alive[::3] = False
    slots, similarity = nearest_rows(rows, alive, queries, 80)
    scores = np.where(alive, queries @ rows.T, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :66]
    assert (slots[:, :66] == order).all() and (slots[:, 66:] == -1).all()
    assert np.isnan(similarity[:, 66:]).all()
