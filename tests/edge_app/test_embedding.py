"""Photos embedded here, by several processes and on a cluster are the same entries."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sightline.edge_app.cli import run
from sightline.runtime import Gallery, InputError
from sightline.runtime.gallery import Snapshot
from tests.factories import photo_folder, tiny_bundle

SIGHTLINE = Path(sys.executable).parent / "sightline"
PHOTOS = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    tiny_bundle(folder / "kiosk.bundle")
    photo_folder(folder / "photos", PHOTOS // 3)
    (folder / "photos" / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(40))
    assert _build(folder, "here.gallery").returncode == 1
    return folder


def _words(gallery: str, *words: str) -> list[str]:
    return [str(SIGHTLINE), "gallery", "build", gallery, "photos", "--bundle", "kiosk.bundle", *words]


def _build(place: Path, gallery: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_words(gallery, *words), cwd=place, capture_output=True, text=True, timeout=240)


def _entries(folder: Path) -> Snapshot:
    with Gallery.open(folder, create=False) as gallery:
        return gallery.snapshot()


def _same(place: Path, gallery: str) -> bool:
    one, other = _entries(place / "here.gallery"), _entries(place / gallery)
    return one.labels == other.labels and bool((one.vectors == other.vectors).all())


def test_several_processes_make_the_same_gallery(place: Path) -> None:
    done = _build(place, "two.gallery", "--workers", "2", "--json")
    figures = json.loads(done.stdout)
    assert (done.returncode, figures["added"], len(figures["failed"])) == (1, PHOTOS, 1)
    assert "Traceback" not in done.stderr and _same(place, "two.gallery")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_goes_on_and_leaves_no_process(place: Path, how: signal.Signals) -> None:
    name = f"{how.name}.gallery"
    # A group of its own: Ctrl-C reaches the command and its workers, as in a terminal.
    words = _words(name, "--workers", "2")
    build = subprocess.Popen(words, cwd=place, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(_group(build.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    (os.killpg if how == signal.SIGINT else os.kill)(build.pid, how)
    _, said = build.communicate(timeout=60)
    if how == signal.SIGINT:  # a worker whose command was killed at its birth may complain
        assert build.returncode == 130 and "Traceback" not in said
    while _group(build.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _group(build.pid)
    assert json.loads(_build(place, name, "--workers", "2", "--json").stdout)["entries"] == PHOTOS
    assert sorted(_entries(place / name).labels) == sorted(_entries(place / "here.gallery").labels)


def _group(leader: int) -> list[int]:
    """Living processes of a group, by Linux's list of them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_collection_of_an_engine_is_taught_and_asked_by_the_same_commands(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("qdrant_client", reason="qdrant-client is not installed: pip install 'sightline[qdrant]'")
    monkeypatch.chdir(place)
    uri, bundle = "qdrant+local://engine/products", ("--bundle", "kiosk.bundle")

    def sightline(*words: str) -> Any:
        run([*words, "--json"])
        return json.loads(capsys.readouterr().out)

    assert sightline("gallery", "build", uri, "photos", *bundle)["added"] == PHOTOS
    assert sightline("gallery", "build", uri, "photos", *bundle)["known"] == PHOTOS
    words = ("photos/red/00.png", "--label", "mug", "--meta", "sku=A")
    assert sightline("gallery", "add", uri, *words, *bundle)["entries"] == PHOTOS + 1
    found = sightline("gallery", "search", uri, "photos/red/00.png", *bundle)["matches"]
    assert {"mug", "red"} >= {match["label"] for match in found} and found[0]["similarity"] > 0.999
    stats = sightline("gallery", "stats", uri)
    assert (stats["entries"], stats["per_label"]["mug"]) == (PHOTOS + 1, 1)
    assert sightline("gallery", "remove", uri, "--label", "mug")["entries"] == PHOTOS
    answer = sightline("predict", "kiosk.bundle", "photos/blue/00.png", "--gallery", uri)
    assert answer["matches"][0]["label"] == "blue"
    # Each photo finds itself: the broken one is left out.
    assert sightline("eval", "kiosk.bundle", "photos", "--gallery", uri)["retrieval"]["recall_at_1"] == 1.0


@pytest.mark.parametrize("words", ["check G", "duplicates G", "merge G --into m", "export G --out x", "calibrate G"])
def test_what_only_a_folder_can_do_is_refused_in_a_sentence(
    place: Path, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    more = ["--bundle", "kiosk.bundle"] if words.startswith("calibrate") else []
    assert run(["gallery", *words.replace("G", "qdrant://db/products").split(), *more]) == 1
    assert "'qdrant://db/products' is a collection of an engine" in capsys.readouterr().err


def test_a_ray_cluster_makes_the_same_gallery(place: Path) -> None:
    pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'sightline[cluster]'")
    figures = json.loads(_build(place, "ray.gallery", "--ray", "local", "--workers", "2", "--json").stdout)
    assert figures["added"] == PHOTOS and _same(place, "ray.gallery")


def test_what_ray_cannot_do_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.edge_app.cluster import embed_on_ray
    from sightline.edge_app.embedding import ModelChoice

    choice = ModelChoice("kiosk.bundle", "auto", "auto", None)
    with pytest.raises(InputError, match="--ray auto"):
        embed_on_ray(choice, 2, "ray://head:10001")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'sightline\[cluster\]'"):
        embed_on_ray(choice, 2, "local")
