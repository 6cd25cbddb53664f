"""A disk that fails, fills up or loses power."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sightline.runtime import Gallery, GalleryError, NewEntry
from sightline.runtime.gallery import follow
from tests.runtime.gallery.make import MODEL, small_gallery, vectors

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
COMPILER = shutil.which("gcc") or shutil.which("cc")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None or sys.platform != "linux":
        pytest.skip("failing disk calls needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    words = [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "faults.c"), "-ldl", "-lpthread"]
    subprocess.run(words, check=True)
    return library


def _run(module: str, *words: object, preload: Path | None = None) -> str:
    environment = {**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})}
    command = [sys.executable, "-m", f"tests.runtime.gallery.{module}", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    return done.stdout


def test_failing_disk_calls_lose_nothing(library: Path, tmp_path: Path) -> None:
    assert "nothing lost" in _run("faults", library, tmp_path, 23, preload=library)


@pytest.mark.slow
def test_every_failing_disk_call_loses_nothing(library: Path, tmp_path: Path) -> None:
    assert "nothing lost" in _run("faults", library, tmp_path, 1, preload=library)


def test_power_cuts_lose_nothing_acknowledged(library: Path, tmp_path: Path) -> None:
    _run("powercut", "record", library, tmp_path / "life", tmp_path / "trace", preload=library)
    said = _run("powercut", "replay", tmp_path / "cut", tmp_path / "trace", 60, 1)
    assert "nothing acknowledged" in said and " 0 lost" not in said


@pytest.mark.slow
def test_five_hundred_power_cuts_lose_nothing_acknowledged(library: Path, tmp_path: Path) -> None:
    _run("powercut", "record", library, tmp_path / "life", tmp_path / "trace", preload=library)
    _run("powercut", "replay", tmp_path / "cut", tmp_path / "trace", 500, 1000)


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    small_gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        # A page limit at the present size is SQLite's own way to have no space left.
        gallery._store._writer.execute("PRAGMA max_page_count = 1")
        with pytest.raises(GalleryError, match=r"no space left on the disk of gallery .*unchanged"):
            for seed in range(50):
                gallery.add_many(_many(seed))
        count = len(gallery)
        assert gallery.check().ok and gallery.check().entries == count


def test_a_read_only_gallery_answers_and_refuses_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = small_gallery(tmp_path / "g")
    monkeypatch.setattr("sightline.runtime.gallery.store._may_write", lambda folder: False)
    before = {file.name: file.read_bytes() for file in (tmp_path / "g").iterdir()}
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert gallery.search(rows, 1).ids[:, 0].tolist() == list(range(1, 31))
        for change in (lambda: gallery.add("mug", rows[0]), lambda: gallery.remove([1])):
            with pytest.raises(GalleryError, match="read-only"):
                change()
    assert {file.name: file.read_bytes() for file in (tmp_path / "g").iterdir()} == before


def test_a_passing_read_error_does_not_leave_a_reader_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_gallery(tmp_path / "g")
    clock, failed, seen = SimpleNamespace(now_s=0.0), 0, []
    monkeypatch.setattr(follow, "time", SimpleNamespace(monotonic=lambda: clock.now_s))

    def fails(*words: object) -> None:
        nonlocal failed
        failed += 1
        raise GalleryError("disk I/O error")

    with Gallery.open(tmp_path / "g", model=MODEL) as one, Gallery.open(tmp_path / "g", model=MODEL) as two:
        with monkeypatch.context() as patch:
            patch.setattr(one._store, "delta", fails)
            two.add("mug", vectors(1, seed=8)[0])
            for clock.now_s in (0.0, 0.9, 1.1, 2.9, 3.2):
                seen.append((len(one), failed))
        assert seen == [(30, 1), (30, 1), (30, 2), (30, 2), (30, 3)]  # asked again, ever less often
        assert "disk I/O error" in str(one.stats().trouble)
        clock.now_s = 8.0
        assert len(one) == 31 and one.match(vectors(1, seed=8)[0], 1)[0].label == "mug"


def _many(seed: int) -> list[NewEntry]:
    return [NewEntry("bulk", row) for row in vectors(50, seed=seed)]
