"""A search on drawn photos: trials, their table, pruning, going on after a kill, the best run as any other."""

import csv
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import optuna
import pytest

from sightline.edge_app.cli import run
from sightline.export.recipe import Recipe
from sightline.export.recipe_file import apply_recipe
from sightline.export.run import load_run
from sightline.export.search import search
from sightline.export.search_space import propose, usual_values
from sightline.export.train import TrainOptions
from sightline.runtime.errors import InputError

COLOURS = {"blue": (200, 40, 40), "green": (40, 200, 40)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (folder / label).mkdir()
        for number in range(10):
            frame = np.clip(rng.normal(0, 60, (40, 40, 3)) + colour, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / label / f"{number}.png"), frame)
    return folder


def options(photos: Path, out: Path) -> TrainOptions:
    return TrainOptions(
        str(photos),
        str(out),
        "lenet5",
        "none",
        epochs=2,
        image_size=32,
        dim=16,
        val_fraction=0.3,
        recipe="colour = 0.1",
    )


def test_the_best_of_the_trials_is_left_and_a_search_goes_on(photos, tmp_path):
    found = search(options(photos, tmp_path / "run"), 2)
    assert [one.number for one in found.trials] == [0, 1] and not found.interrupted
    assert found.trials[0].values["lr_factor"] == 1.0 and "colour" not in found.trials[0].values
    went_on = search(options(photos, tmp_path / "run"), 3, resume=True)
    assert [one.value for one in went_on.trials[:2]] == [one.value for one in found.trials]
    assert len(went_on.trials) == 3
    best = max(one.value for one in went_on.trials if one.state == "complete")
    assert went_on.details.top1 == pytest.approx(best)
    assert load_run(tmp_path / "run").details == went_on.details
    with (tmp_path / "run" / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["state"] for row in rows] == [one.state for one in went_on.trials]
    assert cv2.imread(str(tmp_path / "run" / "search.png")).std() > 10
    with pytest.raises(InputError, match="begun with other options \\(epochs\\)"):
        search(replace(options(photos, tmp_path / "run"), epochs=5), 4, resume=True)
    with pytest.raises(InputError, match="holds a run or a search"):
        search(options(photos, tmp_path / "run"), 4)


def test_a_trial_behind_is_stopped_and_a_killed_one_counts_as_failed(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: trial.number == 1)
    pruned = search(options(photos, tmp_path / "run"), 2).trials[1]
    assert pruned.state == "pruned" and pruned.value is not None
    study = optuna.load_study(study_name="sightline", storage=f"sqlite:///{tmp_path / 'run' / 'search.db'}")
    study.ask()
    found = search(options(photos, tmp_path / "run"), 4, resume=True)
    assert [one.state for one in found.trials] == ["complete", "pruned", "fail", "complete"]


def test_the_space_leaves_what_the_user_named_and_makes_recipes(photos):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for fresh, several in ((True, False), (False, True)):
        for _ in range(10):
            text = propose(study.ask(), 'lr = 0.5\nloss = "mse"', fresh, several)
            made = apply_recipe(text, Recipe())
            assert made.lr == 0.5 and made.loss == "mse" and ("frozen_share" in tomllib.loads(text)) != fresh
    text = propose(study.ask(), "", True, False)
    factor = tomllib.loads(text)["lr_factor"]
    assert apply_recipe(text, Recipe(lr=0.02)).lr == pytest.approx(0.02 * factor)
    usual = usual_values("", False, False)
    assert usual["frozen_share"] == Recipe().frozen_share and usual["loss"] == "cross-entropy"


def test_the_command_shows_the_trials(photos, tmp_path, capsys):
    words = ["train", str(photos), "--arch", "lenet5", "--weights", "none", "--epochs", "1", "--image-size", "32"]
    assert run([*words, "--dim", "16", "--search", "2", "--out", str(tmp_path / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["trials"]) == 2 and found["arch"] == "lenet5"
