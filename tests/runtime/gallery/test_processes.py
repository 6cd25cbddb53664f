"""Two processes on one gallery: the loop runs, the command line adds."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from sightline.runtime import Gallery, GalleryError
from sightline.runtime.gallery import folder
from tests.runtime.gallery.make import MODEL, entries, small_gallery, vectors

ROOT = Path(__file__).parents[3]
_ADD = """
import sys
from sightline.runtime import Gallery
from tests.runtime.gallery.make import MODEL, vectors
with Gallery.open(sys.argv[1], model=MODEL) as gallery:
    for row in vectors(int(sys.argv[2]), seed=int(sys.argv[3])):
        print(gallery.add("from another process", row), flush=True)
"""


def _another(path: Path, count: int, seed: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", _ADD, str(path), str(count), str(seed)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_what_another_process_adds_is_found(tmp_path: Path) -> None:
    small_gallery(tmp_path / "g")
    new = vectors(3, seed=8)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery, _another(tmp_path / "g", 3, 8) as other:
        assert other.stdout is not None
        for row, line in zip(new, other.stdout, strict=True):
            match = gallery.match(row, 1)[0]
            assert (match.id, match.label) == (int(line), "from another process")
        assert len(gallery) == 33


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    small_gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery, _another(tmp_path / "g", 20, 8) as other:
        mine = [gallery.add("mine", row) for row in vectors(20, seed=9)]
        assert other.stdout is not None
        theirs = [int(line) for line in other.stdout]
        assert not set(mine) & set(theirs) and len(theirs) == 20
        assert len(gallery) == 70 and gallery.check().ok
        ids = gallery.search(np.concatenate([vectors(20, seed=9), vectors(20, seed=8)]), 1).ids[:, 0]
        assert ids.tolist() == mine + theirs


def test_what_another_handle_removes_is_gone(tmp_path: Path) -> None:
    rows = small_gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as one, Gallery.open(tmp_path / "g", model=MODEL) as two:
        two.remove([4])
        assert not np.isin(one.search(rows, 5).ids, [4]).any() and len(one) == 29


def test_a_bulk_add_is_taken_in_by_and_by(tmp_path: Path) -> None:
    small_gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as one, Gallery.open(tmp_path / "g", model=MODEL) as two:
        two.add_many(entries(1500, seed=4))
        counts = [len(one) for _ in range(5)]
        assert counts[-1] == 1530 and counts == sorted(counts)
        assert one.search(vectors(1500, seed=4), 1).ids[:, 0].tolist() == list(range(31, 1531))


def test_many_threads_add_and_remove(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        kept: list[int] = []

        def work(seed: int) -> None:
            ids = [gallery.add(f"thread {seed}", row) for row in vectors(12, seed=seed)]
            gallery.remove(ids[::3])
            kept.extend(id for id in ids if id not in ids[::3])

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(kept) == [entry.id for entry in gallery.entries()] and len(gallery) == 32
        assert gallery.check().ok


def test_a_gallery_that_stays_locked_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_gallery(tmp_path / "g")
    monkeypatch.setattr(folder.writing.__wrapped__, "__defaults__", (0.05,))  # type: ignore[attr-defined]
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        with folder.writing(tmp_path / "g"), pytest.raises(GalleryError, match="written by another process"):
            gallery.add("mug", vectors(1)[0])
        assert len(gallery) == 30 and gallery.add("mug", vectors(1)[0]) == 31
