"""`sightline demo`, driven as a person would."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from sightline.edge_app.cli import run
from sightline.edge_app.demo.shop import KNOWN, NOVEL, draw_photos
from sightline.edge_app.demo.story import clear
from sightline.runtime import Bundle, Gallery, InputError

SIGHTLINE = Path(sys.executable).with_name("sightline")
LEFT_BEHIND = ["annotated.mp4", "answers.jsonl", "clip.mp4", "demo.json", "poster.png", "report.html"]


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(SIGHTLINE), "demo", "--quick", "--json", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


def frames(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def check_folder(out: Path, measured: dict, new: str) -> None:
    assert all((out / name).stat().st_size > 0 for name in LEFT_BEHIND)
    assert json.loads((out / "demo.json").read_text()) == {
        name: value for name, value in measured.items() if name != "out"
    }
    assert frames(out / "annotated.mp4") == frames(out / "clip.mp4")
    bundle = Bundle.load(out / "bundle")
    assert list(bundle.labels) == measured["labels"] and new not in bundle.labels
    with Gallery.open(out / "gallery", model=bundle.model_id) as gallery:
        assert gallery.labels()[new] == measured["clip"]["views"] >= 1
        assert len(gallery) == measured["gallery_entries"] + measured["clip"]["views"]


def check_figures(measured: dict, exit_code: int) -> None:
    clip = measured["clip"]
    before, after = clip["new_before"], clip["new_after"]
    kinds = [clip[name] for name in ("known", "new_before", "new_after", "stranger", "empty") if clip[name]["frames"]]
    ok = measured["gate_passed"] and clip["views"] > 0 and all(2 * kind["right"] > kind["frames"] for kind in kinds)
    assert measured["ok"] == ok and exit_code == (0 if ok else 1)
    assert before["frames"] > 5 and after["frames"] > 10 and clip["known"]["frames"] > 10
    assert [variant["name"] for variant in measured["variants"]] == ["fp32", "int8"]
    assert 2 * measured["variants"][1]["bytes"] < measured["variants"][0]["bytes"]
    assert len(measured["stages"]) == 5 and all(stage["seconds"] > 0 for stage in measured["stages"])


@pytest.mark.slow
def test_the_whole_path_on_drawn_photos(tmp_path):
    done = demo("--out", str(tmp_path / "demo"))
    assert done.returncode in (0, 1), done.stderr
    measured = json.loads(done.stdout)
    check_figures(measured, done.returncode)
    check_folder(tmp_path / "demo", measured, NOVEL.name)
    assert "[1/5]" in done.stderr and "[5/5]" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_whole_path_on_own_photos(tmp_path):
    data = tmp_path / "photos"
    draw_photos(data, KNOWN[:4], 14, seed=3, size=96)
    new = KNOWN[1].name
    done = demo("--data", str(data), "--new", new, "--out", str(tmp_path / "demo"))
    assert done.returncode in (0, 1), done.stderr
    measured = json.loads(done.stdout)
    assert measured["new"] == new and len(measured["labels"]) == 3
    check_figures(measured, done.returncode)
    check_folder(tmp_path / "demo", measured, new)


@pytest.mark.parametrize("names", [["thesis.txt"], ["clip.mp4"], ["demo.json", "thesis.txt"]])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("all my work")
    with pytest.raises(InputError, match=f"holds '{names[-1]}', which no demo wrote"):
        clear(tmp_path)
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == dict.fromkeys(names, "all my work")


def test_an_earlier_demo_is_replaced(tmp_path):
    place = tmp_path / "new" / "one"
    clear(place)
    (place / "run").mkdir()
    (place / "run" / "model.pt").write_text("old")
    clear(place)
    assert [entry.name for entry in place.iterdir()] == ["demo.json"]


def test_new_without_own_photos_is_wrong_usage(capsys):
    assert run(["demo", "--new", "mug"]) == 2
    assert "add --data" in capsys.readouterr().err


def test_own_photos_that_are_not_there_are_one_sentence(tmp_path, capsys):
    assert run(["demo", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "does not exist" in said.err and said.out == "" and "Traceback" not in said.err


def test_without_the_workstation_packages_the_pip_line_is_said(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from sightline.edge_app.cli import run\n"
        f"sys.exit(run(['demo', '--out', {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "pip install 'sightline[export]'" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
