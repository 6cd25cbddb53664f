"""Learning without labels: the trunk tells photos apart, and training goes on from its weights."""

import json

import cv2
import numpy as np
import pytest
import torch

from sightline.edge_app.cli import run
from sightline.export.pretrain import PretrainOptions, pretrain
from sightline.models import build_model, load_weights
from sightline.runtime.errors import InputError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabelled")
    rng = np.random.default_rng(0)
    for number in range(16):
        coarse = rng.integers(0, 256, (3, 3, 3)).astype(np.uint8)
        (folder / f"{number % 2}").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{number % 2}" / f"{number}.png"), cv2.resize(coarse, (48, 40)))
    return folder


def options(photos, out, **changes):
    return PretrainOptions(str(photos), str(out), **{"arch": "lenet5", "epochs": 30, "batch_size": 16} | changes)


def test_views_of_one_photo_are_found_and_training_takes_the_weights_up(photos, tmp_path):
    short = pretrain(options(photos, tmp_path / "short.pth", epochs=1))
    long = pretrain(options(photos, tmp_path / "long.pth"))
    assert long.loss < short.loss and long.found > 2 / 32 and long.steps == 30
    loaded = load_weights(build_model("lenet5", 3, image_size=32), str(tmp_path / "long.pth"))
    assert loaded.missing == () and "has no classifier, replaced by one of 3" in loaded.note


def test_the_same_seed_gives_the_same_weights(photos, tmp_path):
    for name in ("first", "second"):
        pretrain(options(photos, tmp_path / name, epochs=2))
    first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_command_and_what_it_refuses(photos, tmp_path, capsys):
    words = ["--arch", "lenet5", "--epochs", "1", "--batch-size", "8", "--out", str(tmp_path / "start.pth")]
    (tmp_path / "none").mkdir()
    assert run(["pretrain", str(photos), *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2
    for wrong, sentence in ((tmp_path / "missing", "do not exist"), (tmp_path / "none", "holds no image")):
        assert run(["pretrain", str(wrong), *words]) == 1
        assert sentence in capsys.readouterr().err
    with pytest.raises(InputError, match="unknown architecture 'resnet19'"):
        pretrain(options(photos, tmp_path / "start.pth", arch="resnet19"))
