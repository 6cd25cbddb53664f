"""The command line as a person meets it: the installed command in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from sightline.edge_app.cli import COMMANDS, cli
from tests.factories import photo_folder, picture, tiny_bundle

SIGHTLINE = Path(sys.executable).parent / "sightline"


def sightline(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SIGHTLINE, *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "kiosk.bundle")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name: str) -> None:
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    commands = getattr(command, "commands", {name: command})
    for path, one in commands.items():
        help_text = one.get_help(one.make_context(path, [], resilient_parsing=True))
        assert "Example:" in help_text and "sightline " in help_text, path


def test_help_and_version() -> None:
    done = sightline("--help")
    assert done.returncode == 0 and all(name in done.stdout for name in COMMANDS)
    assert sightline("--version").stdout.startswith("sightline, version")


@pytest.mark.parametrize("words", [["nonsense"], ["predict"], ["predict", "--nonsense"], ["eval", "x", "y", "-k"]])
def test_wrong_usage_is_exit_code_2(words: list[str]) -> None:
    done = sightline(*words)
    assert done.returncode == 2 and "Usage:" in done.stderr


def test_predict_prints_a_line_an_image(bundle: Path, photos: Path) -> None:
    done = sightline("predict", bundle, photos / "red" / "00.png", photos / "blue")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5 and "red  " in lines[0] and "(classifier)" in lines[0] and "blue" in lines[1]


def test_predict_json_has_the_promised_fields(bundle: Path, photos: Path) -> None:
    done = sightline("predict", bundle, photos / "green" / "01.png", "--json")
    answer = json.loads(done.stdout)
    assert set(answer) == {"image", "label", "known", "confidence", "decided_by", "top", "matches", "latency_ms"}
    assert (answer["label"], answer["known"], answer["decided_by"], answer["matches"]) == (
        "green",
        True,
        "classifier",
        [],
    )
    assert set(answer["top"][0]) == {"label", "probability"}
    assert set(answer["latency_ms"]) == {"preprocess", "inference", "lookup", "total"}


def test_predict_goes_on_after_a_bad_file(bundle: Path, photos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 50)
    done = sightline("predict", bundle, bad, tmp_path / "none.jpg", photos / "red" / "00.png", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [set(line) for line in lines[:2]] == [{"image", "error"}] * 2
    assert lines[2]["label"] == "red" and "2 of 3 images could not be read" in done.stderr


def test_an_unknown_item_is_said_to_be_unknown(bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), picture("something else", 1))
    answer = json.loads(sightline("predict", bundle, tmp_path / "grey.png", "--json").stdout)
    assert (answer["label"], answer["known"], answer["decided_by"]) == (None, False, None)


def test_eval_measures(bundle: Path, photos: Path) -> None:
    cv2.imwrite(str(photos / "red" / "odd.png"), picture("blue", 50))
    (photos / "purple").mkdir()
    cv2.imwrite(str(photos / "purple" / "00.png"), picture("purple", 1))
    done = sightline("eval", bundle, photos, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["variant"], result["images"]) == ("fp32", 14)
    assert result["top1"] == pytest.approx(12 / 13) and result["top5"] == 1.0
    assert result["per_class"]["red"] == pytest.approx({"images": 5, "precision": 1.0, "recall": 0.8, "f1": 8 / 9})
    assert result["retrieval"]["against"] == "leave-one-out" and result["retrieval"]["images"] == 13
    assert result["unknown"]["unknown_images"] == 1 and result["unknown"]["false_accept_rate"] == 0.0
    assert set(result["latency_ms"]) == {"p50", "p95", "p99"}
    table = sightline("eval", bundle, photos)
    assert "top-1" in table.stdout and "0.9231" in table.stdout and "purple" not in table.stdout


def test_inspect_and_verify(bundle: Path) -> None:
    assert "tiny" in sightline("inspect", bundle).stdout
    assert json.loads(sightline("inspect", bundle, "--json").stdout)["labels"] == ["blue", "green", "red"]
    done = sightline("verify", bundle)
    assert done.returncode == 0 and "3 of 3 golden images" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["predict", "none.bundle", "x.jpg"], "bundle 'none.bundle' does not exist"),
        (["verify", "none.bundle"], "does not exist"),
        (["eval", "kiosk.bundle", "none"], "data 'none' does not exist"),
        (["eval", "kiosk.bundle", "empty"], "data 'empty' is empty"),
        (["predict", "kiosk.bundle", "empty"], "folder 'empty' holds no image"),
        (["predict", "kiosk.bundle", "photos", "--variant", "int4"], "no variant 'int4'"),
        (["predict", "kiosk.bundle", "photos", "--provider", "qnn"], "provider 'qnn' is not to be had"),
        (["predict", "kiosk.bundle", "photos", "--gallery", "none"], "none"),
        (["predict", "broken.bundle", "photos"], "model.fp32.onnx was changed after export"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_1(
    words: list[str], sentence: str, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    broken = shutil.copytree(bundle, tmp_path / "broken.bundle") / "model.fp32.onnx"
    broken.write_bytes(broken.read_bytes()[:-1] + b"?")
    done = sightline(*words, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("sightline: ") and sentence in done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_failure(bundle: Path, photos: Path) -> None:
    many = f"'{photos}' " * 40
    command = f"'{SIGHTLINE}' predict '{bundle}' {many} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ, timeout=120)
    assert done.returncode == 0 and "Traceback" not in done.stderr
