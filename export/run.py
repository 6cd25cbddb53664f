"""The RUN folder: what training leaves behind and export takes up.

    run.json        RunDetails: architecture, labels, InputSpec, recipe, history, figures
    model.pt        the state dict of the RecognitionModel, plain tensors
    split.csv       file, label, split (train | val)
    metrics.json    Metrics; per_class.csv the same as a table; curves.png, confusion.png
    augmented.png   some photos and what training made of them
    last.pt         where training stood, for `--resume`; not needed for export

Every file is either the old one or the new one. `run.json` is written last: a folder that has it is whole.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch

from sightline.models import RecognitionModel, UnknownArchitectureError, WeightsError, build_model
from sightline.models.weights import read_saved
from sightline.runtime.dataset import LabelledImage, with_labels
from sightline.runtime.durable import write_file
from sightline.runtime.errors import InputError
from sightline.runtime.manifest import MULTI_LABEL, SINGLE_LABEL
from sightline.runtime.preprocess import InputSpec

from .data import Split
from .recipe import Recipe

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training photos gave.

    Attributes:
        size: Height and width of the training pictures, pixels.
        val_top1: On the evaluation photos; recall@1 among them where the task is look-up; mean average precision where
            photos have several labels.
        lr: Learning rate of the trunk at its end.
        seconds: Since training began.
    """

    epoch: int
    size: int
    lr: float
    train_loss: float
    train_top1: float
    val_loss: float
    val_top1: float
    seconds: float


@dataclass(frozen=True, slots=True)
class RunDetails:
    """The content of `run.json`.

    Attributes:
        input: How a frame is brought to the model's input.
        weights: What the model started from, in one sentence.
        recipe: The values of the training recipe.
        best_epoch: The epoch whose weights are kept; 0 is the linear head on frozen features.
        stopped: Why training ended: "epochs", "budget", "early" or "interrupted".
        top1: On the evaluation photos, 0 to 1; top5 likewise.
        task: What it was trained for, see `stage.TASKS`.
        label_separator: Between the labels of a photo where it may have several.
        mean_average_precision: Over the labels, on the evaluation photos; None where a photo has one.
        retrieval_top1: Recall@1 of evaluation photos among the training photos by embedding.
    """

    schema_version: int
    arch: str
    labels: list[str]
    input: InputSpec
    dim: int
    data: str
    label_column: str
    seed: int
    weights: str
    recipe: Recipe
    history: list[Epoch]
    best_epoch: int
    stopped: str
    top1: float
    top5: float
    retrieval_top1: float
    train_images: int
    val_images: int
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)
    task: str = SINGLE_LABEL
    label_separator: str = ";"
    mean_average_precision: float | None = None


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A finished run, ready for export.

    Attributes:
        model: In evaluation mode, on the CPU, float32.
        labels: In the order of the logits.
        train: The photos it learned from.
        val: The photos it was evaluated on; no content is in both.
    """

    model: RecognitionModel
    labels: tuple[str, ...]
    spec: InputSpec
    train: list[LabelledImage]
    val: list[LabelledImage]
    details: RunDetails


def load_run(path: str | Path) -> TrainedRun:
    """Load what `sightline train` wrote.

    Raises:
        InputError: The folder is no finished run, is damaged, or is of a newer program.
    """
    folder = Path(path)
    details = read_details(folder)
    try:
        model = build_model(details.arch, len(details.labels), details.dim, details.input.height)
    except UnknownArchitectureError as error:
        raise InputError(f"run '{path}': {error}") from error
    state = read_tensors(folder / "model.pt")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"run '{path}': model.pt is not the model of run.json; train again") from error
    train, val = read_split(folder / "split.csv", separator_of(details.task, details.label_separator))
    if (len(train), len(val)) != (details.train_images, details.val_images):
        raise InputError(f"run '{path}': split.csv does not list the photos of run.json; train again")
    return TrainedRun(model.eval(), tuple(details.labels), details.input, train, val, details)


def read_details(folder: Path) -> RunDetails:
    """Read and validate `run.json`.

    Raises:
        InputError: It is missing, damaged or of a newer schema.
    """
    file = folder / "run.json"
    if not file.is_file():
        hint = "training was interrupted, go on with --resume" if (folder / "last.pt").is_file() else "no run"
        raise InputError(f"'{folder}' holds no run.json ({hint}): expected what 'sightline train' writes")
    try:
        data = file.read_bytes()
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise InputError(
                f"run '{folder}' has schema {version}, this program knows up to {SCHEMA_VERSION}: update it"
            )
        return msgspec.json.decode(data, type=RunDetails)
    except (msgspec.DecodeError, OSError) as error:
        raise InputError(f"run '{folder}': run.json is damaged ({error}); train again") from error


def write_details(folder: Path, details: RunDetails) -> None:
    """Write `run.json`."""
    write_json(folder / "run.json", details)


def write_json(path: Path, value: object) -> None:
    """Write any value that msgspec encodes as indented JSON, whole or not at all."""
    write_file(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def write_tensors(path: Path, state: Mapping[str, object]) -> None:
    """Write a dictionary of tensors and plain values in torch's format, whole or not at all."""
    stream = io.BytesIO()
    torch.save(dict(state), stream)
    write_file(path, stream.getvalue())


def read_tensors(path: Path) -> dict[str, Any]:
    """Read what `write_tensors` wrote, without unpickling code.

    Raises:
        InputError: The file is missing or damaged.
    """
    try:
        return read_saved(path, "what training wrote; train again")
    except WeightsError as error:
        raise InputError(str(error)) from error


def write_split(path: Path, split: Split) -> None:
    """Write `split.csv` with absolute file paths."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "label", "split"))
    for name, images in (("train", split.train), ("val", split.val)):
        writer.writerows((image.path.resolve(), image.label, name) for image in images)
    write_file(path, text.getvalue().encode())


def separator_of(task: str, separator: str) -> str | None:
    """Give the separator between the labels of a photo where the task is several, else None."""
    return separator if task == MULTI_LABEL else None


def read_split(path: Path, separator: str | None = None) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Read `split.csv` as the training and the evaluation photos.

    Args:
        path: The file.
        separator: Between the labels of a photo that may have several; None for one label a photo.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [(row["file"], row["label"], row["split"]) for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise InputError(f"'{path}' is missing or damaged: train again") from error
    return _part(rows, "train", separator), _part(rows, "val", separator)


def _part(rows: Sequence[tuple[str, str, str]], name: str, separator: str | None) -> list[LabelledImage]:
    images = [LabelledImage(Path(file), label) for file, label, split in rows if split == name]
    if separator is None:
        return images
    return [with_labels(image, filter(None, image.label.split(separator)), separator) for image in images]


@dataclass(frozen=True, slots=True)
class _Version:
    schema_version: int
