"""Two processes that train one model learn what one does, and one of them speaks and writes for both."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import nn

from sightline.edge_app.cli import run
from sightline.export.finetune import Pace
from sightline.export.photos import Brake
from sightline.export.processes import Processes
from sightline.export.run import load_run
from sightline.export.shared_norm import share_norms
from sightline.export.train import TrainOptions, train
from sightline.runtime.errors import InputError
from tests.export.two_ranks import learn_part, norm_net

# Without what is drawn for each part of a batch anew. Batches of 7 fall into parts of 4 and 3.
RECIPE = "negatives = 0.0\ndropout = 0.0\nbatch_size = 7\nlr = 0.02\n"
gloo = pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch was built without gloo")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, colour in {"blue": (200, 40, 40), "green": (40, 200, 40), "grey": (90, 90, 90)}.items():
        (folder / label).mkdir()
        for number in range(9):
            frame = np.clip(rng.normal(0, 60, (40, 40, 3)) + colour, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / label / f"{number}.png"), frame)
    return folder


def launch_two(words: list[str]) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    # A thread each: two processes of two threads would wait for each other's cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launcher, "-m", "sightline.edge_app", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)


@gloo
def test_two_processes_learn_what_one_does(photos, tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    options = TrainOptions(
        str(photos), str(tmp_path / "one"), "lenet5", "none", 3, val_fraction=0.3, dim=16, amp="off", recipe=RECIPE
    )
    mine = train(options)
    words = ["train", str(photos), "--arch", "lenet5", "--weights", "none", "--epochs", "3", "--val-fraction", "0.3"]
    words += ["--dim", "16", "--amp", "off", "--recipe", str(tmp_path / "recipe.toml"), "--json"]
    two = launch_two([*words, "--out", str(tmp_path / "two")])
    assert two.returncode == 0, two.stderr
    assert len(two.stdout.strip().splitlines()) == 1, "one process speaks for both"
    assert {path.name for path in (tmp_path / "one").iterdir()} == {path.name for path in (tmp_path / "two").iterdir()}
    other = load_run(tmp_path / "two")
    for expected, found in zip(mine.history, other.details.history, strict=True):
        assert found.train_loss == pytest.approx(expected.train_loss, rel=1e-4)
        assert found.val_loss == pytest.approx(expected.val_loss, rel=1e-4)
    states = load_run(tmp_path / "one").model.state_dict(), other.model.state_dict()
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


@gloo
def test_batch_norm_sees_the_parts_of_all(tmp_path):
    images = torch.randn(7, 3, 8, 8)
    torch.save(images, tmp_path / "images.pt")
    multiprocessing.spawn(learn_part, (str(tmp_path),), nprocs=2)
    net = norm_net()
    net(images).square().mean().backward()
    gradients, state, joined, told = torch.load(tmp_path / "found.pt")
    for name, value in net.named_parameters():
        torch.testing.assert_close(gradients[name], value.grad, rtol=1e-4, atol=1e-6, msg=name)
    torch.testing.assert_close(state["1.running_mean"], net[1].running_mean)
    torch.testing.assert_close(state["1.running_var"], net[1].running_var)
    assert joined == [0, 1, 4, 9, 16] and told == "from 0"


def test_batch_norm_of_another_kind_is_refused():
    class WithActivation(nn.BatchNorm2d):
        pass

    with pytest.raises(InputError, match="WithActivation"):
        share_norms(nn.Sequential(nn.Conv2d(3, 4, 3), WithActivation(4)))


@pytest.mark.parametrize("words", [["train", "--search", "2"], ["pretrain"]])
def test_what_runs_in_one_process_is_refused_to_several(words, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run([*words, str(photos), "--out", str(tmp_path / "out")]) == 1
    assert "without torch's launcher" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_parts_of_a_list_are_put_together_in_order():
    items = list(range(7))
    parts = [Processes(rank, 3).part(items) for rank in range(3)]
    assert sorted(item for part in parts for item in part) == items
    shares = [Processes(rank, 3).share(np.arange(7)) for rank in range(3)]
    assert np.concatenate(shares).tolist() == items and max(map(len, shares)) - min(map(len, shares)) <= 1
    assert Processes().join([4, 5]) == [4, 5] and Processes().agree("this") == "this"


def test_batches_made_ahead_ask_no_other_process_for_the_time():
    class Counting(Processes):
        asked = 0

        def agree(self, value):
            Counting.asked += 1
            return value

    pace = Pace(None, 100.0, spent=50.0, processes=Counting(0, 2))
    assert pace.planned(3) == pytest.approx(0.5) and Counting.asked == 0
    assert pace.progress(3) == pytest.approx(0.5, abs=0.01) and Counting.asked == 1


def test_the_brake_counts_what_was_waited_for():
    brake = Brake()
    taken = []
    for item in brake.watch(iter([3, 4])):
        taken.append(item)
        brake.pictures += item
    assert taken == [3, 4] and brake.pictures == 7 and brake.waited_s >= 0
    assert "pictures/s" in str(brake) and "waiting for data" in str(brake)
