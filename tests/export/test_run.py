"""A RUN folder survives writing and reading, and says what is wrong with it."""

import json
from pathlib import Path

import pytest
import torch

from sightline.export.data import Split
from sightline.export.recipe import Recipe
from sightline.export.run import (
    SCHEMA_VERSION,
    Epoch,
    RunDetails,
    load_run,
    write_details,
    write_split,
    write_tensors,
)
from sightline.export.source import source_from_run
from sightline.models import build_model
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import InputSpec
from tests.export.nets import LABELS, draw_folder


def write_run(folder: Path, **changes: object) -> RunDetails:
    torch.manual_seed(0)
    model = build_model("mobilenet_v3_small", 2, 16)
    values: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "arch": "mobilenet_v3_small",
        "labels": ["mug", "cup, blue"],
        "input": InputSpec(96, 64, 0.9),
        "dim": 16,
        "data": "photos",
        "label_column": "label",
        "seed": 1,
        "weights": "random weights",
        "recipe": Recipe(lr=0.1, sizes=(0.5, 1.0)),
        "history": [Epoch(0, 96, 0.0, 0.7, 0.5, 0.7, 0.5, 1.0)],
        "best_epoch": 0,
        "stopped": "epochs",
        "top1": 0.5,
        "top5": 1.0,
        "retrieval_top1": 0.5,
        "train_images": 1,
        "val_images": 1,
        "seconds": 2.0,
    }
    details = RunDetails(**{**values, **changes})
    folder.mkdir()
    train, val = LabelledImage(Path("/photos/a,b.jpg"), "mug"), LabelledImage(Path("/photos/c.jpg"), "cup, blue")
    write_split(folder / "split.csv", Split((train,), (val,)))
    write_tensors(folder / "model.pt", model.state_dict())
    write_details(folder, details)
    return details


def test_round_trip(tmp_path):
    details = write_run(tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.details == details
    assert run.spec == InputSpec(96, 64, 0.9)
    assert run.labels == ("mug", "cup, blue")
    assert [(i.path, i.label) for i in run.train + run.val] == [
        (Path("/photos/a,b.jpg"), "mug"),
        (Path("/photos/c.jpg"), "cup, blue"),
    ]
    torch.manual_seed(0)
    expected = build_model("mobilenet_v3_small", 2, 16).eval()
    image = torch.zeros(1, 96, 64, 3, dtype=torch.uint8)
    assert not run.model.training
    assert torch.equal(run.model(image)[0], expected(image)[0])


def test_newer_schema_is_refused(tmp_path):
    write_run(tmp_path / "run", schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(InputError, match=r"schema 2, this program knows up to 1: update"):
        load_run(tmp_path / "run")


def test_unknown_architecture_is_named(tmp_path):
    write_run(tmp_path / "run", arch="alexnet")
    with pytest.raises(InputError, match=r"unknown architecture 'alexnet': choose one of mobilenet_v2"):
        load_run(tmp_path / "run")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["run.json", "model.pt", "split.csv"])
@pytest.mark.parametrize("harm", [Path.unlink, truncate])
def test_damage_is_one_sentence(tmp_path, name, harm):
    write_run(tmp_path / "run")
    harm(tmp_path / "run" / name)
    with pytest.raises(InputError):
        load_run(tmp_path / "run")


def test_model_of_another_shape_is_refused(tmp_path):
    write_run(tmp_path / "run", labels=["a", "b", "c"])
    with pytest.raises(InputError, match=r"not the model of run\.json"):
        load_run(tmp_path / "run")


def test_bad_values_are_refused(tmp_path):
    write_run(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    content = json.loads(file.read_text())
    content["labels"] = "mug"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="damaged"):
        load_run(tmp_path / "run")


def test_no_run(tmp_path):
    with pytest.raises(InputError, match="expected what 'sightline train' writes"):
        load_run(tmp_path)


def test_what_a_run_set_apart_is_parted_and_nothing_of_it_is_used_twice(tmp_path):
    write_run(tmp_path / "run", labels=list(LABELS[:2]), train_images=8, val_images=48)
    folders = {name: draw_folder(tmp_path / name, count, seed) for name, count, seed in (("a", 4, 0), ("b", 24, 50))}
    train, val = ([one for one in images if one.label in LABELS[:2]] for images in folders.values())
    write_split(tmp_path / "run" / "split.csv", Split(tuple(train), tuple(val)))
    source = source_from_run(tmp_path / "run")
    assert source.choosing is not None and len(source.choosing) == 16 and len(source.evaluation) == 32
    assert {one.path for one in (*source.choosing, *source.evaluation)} == {one.path for one in val}
    assert {one.path for one in source.calibration.images} == {one.path for one in train}
