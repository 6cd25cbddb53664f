"""Photos with several labels or none: listed, split, learned, exported, measured, answered."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch import nn

from sightline.edge_app.cli import run
from sightline.export.data import all_labels, label_targets, load_data, split_data
from sightline.export.distill import label_distillation_loss
from sightline.export.evaluate import Outputs
from sightline.export.label_decision import choose_label_thresholds, cross_fitted, fit_labels
from sightline.export.losses import balanced_weights, make_loss, photo_weights
from sightline.export.negatives import absence_loss
from sightline.export.recipe import Recipe
from sightline.export.run import load_run
from sightline.export.train import TrainOptions, train
from sightline.runtime import Bundle, Gallery, Recognizer, read_image
from sightline.runtime.dataset import read_dataset
from sightline.runtime.errors import InputError
from sightline.runtime.multilabel import label_sets

LABELS = ("ball", "box")


def draw(names: set[str], rng: np.random.Generator) -> np.ndarray:
    frame = np.clip(rng.normal(90, 12, (48, 48, 3)), 0, 255).astype(np.uint8)
    if "ball" in names:
        cv2.circle(frame, (int(rng.integers(14, 20)), 24), 10, (30, 30, 230), -1)
    if "box" in names:
        cv2.rectangle(frame, (28, int(rng.integers(6, 20))), (44, 40), (230, 60, 30), -1)
    return frame


def draw_photos(folder: Path, count: int, seed: int) -> Path:
    """Write photos and a CSV: half of them with each label, a quarter with none."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    with (folder / "photos.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "label"))
        for number in range(count):
            names = {name for bit, name in enumerate(LABELS) if number >> bit & 1}
            cv2.imwrite(str(folder / f"{number}.png"), draw(names, rng))
            writer.writerow((f"{number}.png", "|".join(names)))
    return folder / "photos.csv"


# --- data --------------------------------------------------------------------------------------------------


def test_labels_stand_in_one_cell_or_in_several_rows(tmp_path):
    (tmp_path / "a.csv").write_text("file,label\n1.png,red; round\n2.png,\n1.png,small;red\n3.png,round\n")
    images = read_dataset(tmp_path / "a.csv", separator=";")
    assert [image.names for image in images] == [("red", "round", "small"), (), ("round",)]
    assert label_targets(images, ("red", "round", "small")).tolist() == [[1, 1, 1], [0, 0, 0], [0, 1, 0]]
    with pytest.raises(InputError, match="line 3"):
        read_dataset(tmp_path / "a.csv")
    with pytest.raises(InputError, match="label separator is empty"):
        read_dataset(tmp_path / "a.csv", separator=" ")


def test_no_label_is_on_one_side_of_the_split_only(tmp_path):
    data = load_data(draw_photos(tmp_path / "photos", 32, 0), separator="|")
    split = split_data(data, 0.25)
    assert all_labels(split.train) == all_labels(split.val) == data.labels == LABELS
    assert not {image.path for image in split.train} & {image.path for image in split.val}
    assert () in {image.names for image in split.val}


# --- losses ------------------------------------------------------------------------------------------------


def test_losses_of_several_labels_are_their_formulas():
    logits, wanted = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -0.3]]), torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    p = 1 / (1 + np.exp(-logits.numpy()))
    right = np.where(wanted.numpy() > 0, p, 1 - p)

    def loss(name: str) -> float:
        return float(
            make_loss(Recipe(loss=name, label_smoothing=0.0), wanted.numpy(), 3, logits.device)(logits, wanted)
        )

    assert loss("bce") == pytest.approx(-np.log(right).sum(1).mean(), rel=1e-5)
    assert loss("focal") == pytest.approx(-((1 - right) ** 2 * np.log(right)).sum(1).mean(), rel=1e-5)
    assert loss("mse") == pytest.approx(np.square(1 - right).sum(1).mean(), rel=1e-5)
    assert float(absence_loss(logits)) == pytest.approx(-np.log(1 - p).sum(1).mean(), rel=1e-5)
    assert float(label_distillation_loss(logits, logits, 2.0)) == pytest.approx(0, abs=1e-6)


def test_a_rare_label_counts_more():
    targets = np.array([[1, 0]] * 9 + [[1, 1], [0, 0]], np.float32)
    weights = balanced_weights(targets, 2)
    assert weights[1] == pytest.approx(10 * weights[0])
    assert photo_weights(targets, 2).tolist() == pytest.approx([weights[0]] * 9 + [weights[1], weights[0]])


# --- thresholds --------------------------------------------------------------------------------------------


def test_thresholds_are_where_f1_is_largest():
    rng = np.random.default_rng(0)
    present = rng.random((400, 3)) < (0.5, 0.2, 0.01)
    scores = np.clip(rng.normal(0.3, 0.15, present.shape) + 0.3 * present, 0, 1).astype(np.float32)
    found = choose_label_thresholds(scores, present)
    for column in range(2):
        cuts = np.unique(scores[:, column])
        best = max(f1_score(present[:, column], scores[:, column] >= cut) for cut in cuts)
        assert f1_score(present[:, column], scores[:, column] >= found[column]) == pytest.approx(best)
    assert choose_label_thresholds(scores[:20], np.zeros((20, 3), bool)).tolist() == [0.5] * 3
    chosen, crossed = (f1_score(present[:, 0], said[:, 0]) for said in (scores >= found, cross_fitted(scores, present)))
    assert chosen - 0.1 < crossed <= chosen


def test_the_temperature_undoes_what_scales_the_logits():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (3000, 2)).astype(np.float32)
    truth = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    embeddings = np.asarray(nn.functional.normalize(torch.randn(3000, 4)))
    outputs = Outputs(3 * logits, embeddings)
    policy = fit_labels(outputs, truth, outputs, truth).policy
    assert policy.temperature == pytest.approx(3.0, rel=0.1)
    assert len(policy.label_thresholds) == 2


def test_figures_are_those_of_the_library():
    rng = np.random.default_rng(2)
    truth, scores = rng.random((60, 4)) < 0.3, rng.random((60, 4)).astype(np.float32)
    figures = label_sets(scores, truth, [0.5, 0.4, 0.6, 0.5], list("abcd"))
    said = scores >= np.array([0.5, 0.4, 0.6, 0.5])
    assert figures.mean_average_precision == pytest.approx(average_precision_score(truth, scores))
    assert figures.micro_f1 == pytest.approx(f1_score(truth, said, average="micro"))
    assert figures.macro_f1 == pytest.approx(f1_score(truth, said, average="macro"))
    assert figures.exact == pytest.approx((truth == said).all(1).mean())


# --- the whole path ----------------------------------------------------------------------------------------


def options(data: Path, out: Path, **changes: object) -> TrainOptions:
    small = TrainOptions(str(data), str(out), "lenet5", "none", image_size=32, dim=16)
    return replace(small, task="multi-label", label_separator="|", **changes)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    data = draw_photos(folder / "photos", 96, 0)
    recipe = "sizes = [1.0]\nlr = 0.02\ncrop_area = 0.8\nflip = 0.0\n"
    details = train(options(data, folder / "run", epochs=12, val_fraction=0.4, recipe=recipe))
    assert details.mean_average_precision > 0.95
    assert load_run(folder / "run").train[1].names in {(), *((name,) for name in LABELS), LABELS}
    assert not (folder / "run" / "confusion.png").exists()
    assert run(["export", str(folder / "run"), "--out", str(folder / "bundle")]) == 0
    return folder / "bundle"


def test_a_bundle_of_several_labels_is_measured(bundle, tmp_path, capsys):
    manifest = Bundle.load(bundle).manifest
    assert manifest.task == "multi-label" and len(manifest.decision.label_thresholds) == 2
    data = draw_photos(tmp_path / "test", 24, 7)
    capsys.readouterr()
    assert run(["eval", str(bundle), str(data), "--label-separator", "|", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    images = read_dataset(data, separator="|")
    recognizer = Recognizer(Bundle.load(bundle), "cpu", threads=1)
    scores = np.stack([recognizer.recognize(read_image(image.path)).probabilities for image in images])
    truth = label_targets(images, LABELS)
    assert found["mean_average_precision"] == pytest.approx(average_precision_score(truth, scores))
    assert found["mean_average_precision"] > 0.9 and found["micro_f1"] > 0.8
    assert found["unknown"]["unknown_images"] == 6
    assert run(["eval", str(bundle), str(data), "--label-separator", "|", "--plot", "curve.png"]) == 1
    assert "this one gives several" in capsys.readouterr().err


def test_every_label_above_its_threshold_is_said(bundle, tmp_path, capsys):
    rng = np.random.default_rng(9)
    for name, names in {"both": set(LABELS), "none": set(), "box": {"box"}}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), draw(names, rng))
    assert run(["predict", str(bundle), str(tmp_path), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answers = {Path(line["image"]).stem: line for line in lines}
    assert {one["label"] for one in answers["both"]["labels"]} == set(LABELS) and answers["both"]["known"]
    assert set(answers["both"]["label"].split(", ")) == set(LABELS)
    assert [one["label"] for one in answers["box"]["labels"]] == ["box"]
    assert answers["none"]["labels"] == [] and not answers["none"]["known"] and answers["none"]["label"] is None
    assert len(answers["none"]["top"]) == 2
    assert run(["predict", str(bundle), str(tmp_path / "both.png")]) == 0
    said = capsys.readouterr().out
    assert "ball" in said and "box" in said


def test_what_was_taught_wins_where_it_is_nearest(bundle, tmp_path):
    recognizer = Recognizer(Bundle.load(bundle), "cpu", threads=1)
    rng = np.random.default_rng(3)
    taught = np.full((48, 48, 3), (20, 200, 60), np.uint8)
    with Gallery.open(tmp_path / "shop.gallery", model=recognizer.model_id) as gallery:
        gallery.add("plant", recognizer.recognize(taught).embedding, crop=taught)
        answer = recognizer.recognize(taught, gallery)
        assert (answer.decision.label, answer.decision.decided_by) == ("plant", "gallery")
        both = recognizer.recognize(draw(set(LABELS), rng), gallery)
    assert both.labels is not None and {one.label for one in both.labels} == set(LABELS)
    assert both.decision.decided_by == "classifier"
    assert both.decision.confidence == min(one.probability for one in both.labels)


def test_the_task_asks_for_a_loss_of_its_own(tmp_path):
    data = draw_photos(tmp_path / "photos", 16, 0)
    with pytest.raises(InputError, match="choose the loss bce, focal or mse"):
        train(options(data, tmp_path / "run", recipe='loss = "cross-entropy"'))
