"""Training end to end on pictures that the test draws: whole runs, repeats, interruptions, bad input."""

import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch

from sightline.edge_app.cli import run
from sightline.edge_app.commands.train import parse_budget
from sightline.export.run import Epoch, RunDetails, load_run
from sightline.export.train import TrainOptions, train
from sightline.models import ARCHITECTURES
from sightline.runtime.errors import InputError

FILES = {"run.json", "model.pt", "split.csv", "last.pt", "metrics.json", "per_class.csv"}
FILES |= {"curves.png", "confusion.png", "augmented.png"}
COLOURS = {"blue": (200, 40, 40), "green": (40, 200, 40)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (folder / label).mkdir()
        for number in range(10):
            frame = np.clip(rng.normal(0, 20, (48, 64, 3)) + colour, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / label / f"{number}.png"), frame)
    return folder


def options(photos: Path, out: Path, **changes: object) -> TrainOptions:
    small = TrainOptions(
        str(photos), str(out), "mobilenet_v3_small", "none", epochs=2, image_size=64, val_fraction=0.2, dim=32
    )
    return replace(small, **changes)


def without_time(history: list[Epoch]) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in history]


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory) -> tuple[Path, RunDetails]:
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, train(options(photos, out))


def test_a_run_is_whole_and_loads(finished):
    out, details = finished
    assert {path.name for path in out.iterdir()} == FILES
    loaded = load_run(out)
    assert loaded.details == details
    assert loaded.labels == ("blue", "green")
    assert (len(loaded.train), len(loaded.val)) == (16, 4)
    assert [epoch.epoch for epoch in details.history] == [0, 1, 2]
    logits, embedding = loaded.model(torch.zeros(2, 64, 64, 3, dtype=torch.uint8))
    assert logits.shape == (2, 2)
    assert embedding.shape == (2, 32)
    for name in ("curves.png", "confusion.png"):
        assert cv2.imread(str(out / name)).std() > 10


def test_the_same_seed_gives_the_same_model(photos, finished, tmp_path):
    out, details = finished
    again = train(options(photos, tmp_path / "again"))
    assert without_time(again.history) == without_time(details.history)
    first, second = (torch.load(folder / "model.pt", weights_only=True) for folder in (out, tmp_path / "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_colours_are_learned_by_a_head_alone(photos, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(ARCHITECTURES["resnet18"].build().state_dict(), weights)
    details = train(options(photos, tmp_path / "run", arch="resnet18", weights=str(weights), epochs=0))
    assert details.best_epoch == 0
    assert details.top1 == 1.0
    assert details.retrieval_top1 == 1.0
    assert "replaced by one of 2" in details.weights


def test_a_budget_ends_the_schedule(photos, tmp_path):
    details = train(options(photos, tmp_path / "run", epochs=None, budget_s=14.0))
    rates = [epoch.lr for epoch in details.history]
    assert details.stopped in ("budget", "early")
    assert details.stopped == "early" or rates[-1] <= 0.1 * max(rates)


def test_a_budget_too_short_for_fine_tuning_gives_the_head(photos, tmp_path):
    details = train(options(photos, tmp_path / "run", epochs=None, budget_s=0.5))
    assert (details.stopped, details.best_epoch) == ("budget", 0)


def test_photos_of_the_users_own_are_evaluated_on(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "val")
    for path in (tmp_path / "val").rglob("*.png"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    details = train(options(photos, tmp_path / "run", validation=str(tmp_path / "val"), epochs=0))
    assert (details.train_images, details.val_images) == (20, 20)


def start(photos: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    words = ["train", str(photos), "--out", str(out), "--arch", "mobilenet_v3_small", "--weights", "none"]
    command = [sys.executable, "-m", "sightline.edge_app", *words, "--image-size", "64", "--val-fraction", "0.2", *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # Tests that were started in the background ignore Ctrl-C, and what they start would too.
    return subprocess.Popen(command, **pipes, text=True, preexec_fn=_heed_ctrl_c)


def _heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_ctrl_c_completes_the_run(photos, tmp_path):
    process = start(photos, tmp_path / "run", "--epochs", "5000", "--json")
    wait_for(tmp_path / "run" / "last.pt", process)
    process.send_signal(signal.SIGINT)
    output, talk = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "--resume" in talk
    assert "Traceback" not in talk
    assert msgspec.json.decode(output)["stopped"] == "interrupted"
    assert load_run(tmp_path / "run").details.stopped == "interrupted"


def test_a_killed_run_goes_on(photos, finished, tmp_path):
    process = start(photos, tmp_path / "run", "--epochs", "12")
    wait_for(tmp_path / "run" / "last.pt", process)
    process.kill()
    process.communicate()
    with pytest.raises(InputError, match="--resume"):
        load_run(tmp_path / "run")
    with pytest.raises(InputError, match="interrupted run"):
        train(options(photos, tmp_path / "run"))
    details = train(options(photos, tmp_path / "run"), resume=True)
    numbers = [epoch.epoch for epoch in details.history]
    assert numbers == list(range(len(numbers)))
    assert details.stopped in ("epochs", "early")
    assert load_run(tmp_path / "run").details == details


def test_a_finished_run_is_not_written_over(photos, finished):
    out, details = finished
    with pytest.raises(InputError, match="holds a finished run"):
        train(options(photos, out))
    assert load_run(out).details == details


def test_a_full_disk_is_one_sentence(photos, tmp_path):
    words = [str(photos), "--out", str(tmp_path / "run"), "--arch", "mobilenet_v3_small", "--weights", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "sightline.edge_app", "train", *words, "--epochs", "1", "--image-size", "64"],
        capture_output=True,
        text=True,
        # A file may grow to 1 MB: writing the model then fails in the middle, as on a full disk.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert done.returncode == 1, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "run.json").exists()
    assert not list((tmp_path / "run").glob(".*"))


def bad_folder(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one" / "only").mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(tmp_path / "one" / "only" / f"{number}.png"), np.full((9, 9, 3), 60 * number, np.uint8))
    (tmp_path / "table.csv").write_text("file,name\na.png,b\n")
    (tmp_path / "text.pth").write_text("no weights")
    torch.save(ARCHITECTURES["resnet18"].build().state_dict(), tmp_path / "resnet18.pth")
    (tmp_path / "file").write_text("in the way")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing"], "does not exist"),
        (["empty"], "is empty"),
        (["one"], "only 'only' as class"),
        (["table.csv"], "no column 'label', only file, name; name another with --label-column"),
        (["PHOTOS", "--arch", "alexnet"], "choose one of mobilenet_v2, mobilenet_v3_small"),
        (["PHOTOS", "--weights", "resnet18.pth", "--arch", "mobilenet_v2"], "are not of mobilenet_v2"),
        (["PHOTOS", "--weights", "text.pth"], "cannot be read"),
        (["PHOTOS", "--weights", "nowhere.pth"], "do not exist"),
        (["PHOTOS", "--budget", "soon"], "expected one like 90s, 10m"),
        (["PHOTOS", "--budget", "0m"], "expected one like"),
        (["PHOTOS", "--epochs", "-1"], "0 or more"),
        (["PHOTOS", "--image-size", "5"], "8 to 4096"),
        (["PHOTOS", "--val-fraction", "1.5"], "between 0 and 1"),
        (["PHOTOS", "--dim", "0"], "at least 8"),
        (["PHOTOS", "--out", "file/run"], "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence(photos, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(bad_folder(tmp_path))
    words = [str(photos) if word == "PHOTOS" else word for word in words]
    out = [] if "--out" in words else ["--out", "run"]
    weights = [] if "--weights" in words else ["--weights", "none"]
    assert run(["train", *words, *out, *weights]) == 1
    talk = capsys.readouterr().err.strip().splitlines()
    assert message in talk[-1]
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("45", 45), (" 2M ", 120)]
)
def test_budgets(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 minutes", "-5m", "1d", "5m x"])
def test_budgets_that_are_none(text):
    with pytest.raises(InputError, match="length of time"):
        parse_budget(text)
