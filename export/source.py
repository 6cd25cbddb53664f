"""What is exported: a finished training run, ready weights, or (see `foreign`) an ONNX file from anywhere."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sightline.models import RecognitionModel, UnknownArchitectureError, WeightsError, build_model, load_weights
from sightline.runtime.dataset import LabelledImage, match_labels, read_labels
from sightline.runtime.errors import InputError
from sightline.runtime.manifest import SINGLE_LABEL
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.reporter import QuietReporter, Reporter

from .calibration import (
    LEAST_IMAGES,
    CalibrationSet,
    choose_calibration,
    split_for_calibration,
    split_for_choosing,
)
from .data import load_data
from .features import extract_features, fit_projection
from .float_model import FloatModel
from .run import Epoch, load_run


@dataclass(frozen=True, slots=True)
class ExportSource:
    """A model with the photos that prove it.

    Attributes:
        model: A torch model in evaluation mode, or a foreign ONNX file.
        labels: In the order of the logits.
        spec: Size and crop.
        calibration: The photos that ranges are measured on.
        evaluation: The photos that the gate judges on; none of them was trained or calibrated on.
        gallery: Photos that play the gallery when thresholds are fitted: training or calibration photos.
        choosing: Photos to choose the layers by that stay in float, neither trained, calibrated nor judged on; None
            where nothing was trained on, so that any photo but those will do.
        training: What the manifest says of the training.
        history: Training epoch by epoch; empty for ready weights.
        task: What the bundle answers by, see `Manifest`.
    """

    model: FloatModel
    labels: tuple[str, ...]
    spec: InputSpec
    calibration: CalibrationSet
    evaluation: tuple[LabelledImage, ...]
    gallery: tuple[LabelledImage, ...]
    training: dict[str, Any] = field(default_factory=dict)
    history: tuple[Epoch, ...] = ()
    task: str = SINGLE_LABEL
    choosing: tuple[LabelledImage, ...] | None = None


@dataclass(frozen=True, slots=True)
class ReadyWeights:
    """Weights that need no training.

    Attributes:
        arch: A key of `ARCHITECTURES`.
        weights: A torchvision state dict, or "imagenet".
        labels: One name a line, in the order of the logits.
        data: Labelled photos: a folder of class folders or a CSV.
        label_column: The CSV column with the label, or with its index into `labels`.
        dim: Width of the embedding.
    """

    arch: str
    weights: str
    labels: str
    data: str
    label_column: str = "label"
    dim: int = 256


def source_from_run(path: str | Path, seed: int = 0) -> ExportSource:
    """Take up what `sightline train` left; the photos it set apart are parted, see `split_for_choosing`.

    Raises:
        InputError: It is no finished run, or its photos are gone.
    """
    run = load_run(path)
    missing = next((image.path for image in [*run.train, *run.val] if not image.path.is_file()), None)
    if missing is not None:
        raise InputError(f"photo '{missing}' of run '{path}' is gone: put it back, or train again")
    details = msgspec.to_builtins(run.details)
    choosing, evaluation = split_for_choosing(run.val, seed)
    kept: tuple[str, ...] = (
        "data",
        "weights",
        "seed",
        "best_epoch",
        "stopped",
        "top1",
        "train_images",
        "val_images",
        "seconds",
    )
    if run.details.mean_average_precision is not None:
        kept = (*kept, "mean_average_precision")
    return ExportSource(
        run.model,
        run.labels,
        run.spec,
        choose_calibration(run.train, run.val, seed=seed),
        tuple(evaluation),
        tuple(run.train),
        {key: details[key] for key in kept},
        tuple(run.details.history),
        run.details.task,
        tuple(choosing),
    )


def source_from_weights(ready: ReadyWeights, seed: int = 0, reporter: Reporter | None = None) -> ExportSource:
    """Take weights as they are; the embedding's projection is fitted to the calibration photos.

    Raises:
        InputError: A file is missing or does not fit, or no photo has one of the labels.
    """
    reporter = reporter or QuietReporter()
    labels = tuple(read_labels(ready.labels))
    model, note = _load(ready, len(labels))
    reporter.say(note)
    images = labelled_photos(ready.data, ready.label_column, ready.labels, labels, reporter)
    chosen, evaluation = split_for_calibration(images, seed=seed)
    if len(chosen) < LEAST_IMAGES:
        raise InputError(
            f"data '{ready.data}' has {len(images)} usable photos: at least {2 * LEAST_IMAGES} are needed, half to "
            f"calibrate on and half to judge on"
        )
    architecture = model.architecture
    spec = InputSpec(architecture.image_size, architecture.image_size, architecture.crop)
    fit_projection(model, extract_features(model, chosen, spec, reporter))
    calibration = choose_calibration(chosen, evaluation, seed=seed)
    training = {"weights": note, "data": ready.data, "trained": False}
    return ExportSource(model, labels, spec, calibration, tuple(evaluation), tuple(chosen), training)


def _load(ready: ReadyWeights, classes: int) -> tuple[RecognitionModel, str]:
    try:
        model = build_model(ready.arch, classes, ready.dim)
        loaded = load_weights(model, ready.weights)
    except (UnknownArchitectureError, WeightsError) as error:
        raise InputError(str(error)) from error
    if not loaded.head_loaded:
        raise InputError(
            f"{loaded.note}: export needs weights whose classifier has the {classes} outputs that '{ready.labels}' "
            f"names; to train a new one use 'sightline train'"
        )
    if loaded.missing:
        raise InputError(f"{loaded.note}: export needs whole weights; train the missing ones with 'sightline train'")
    return model.eval(), loaded.note


def labelled_photos(
    data: str, label_column: str, labels_file: str, labels: Sequence[str], reporter: Reporter
) -> list[LabelledImage]:
    """List the photos of a data set that a model has a label for; the others are counted in a warning.

    Raises:
        InputError: None has.
    """
    images = match_labels(load_data(data, label_column, reporter=reporter).images, labels)
    names = set(labels)
    strange = Counter(image.label for image in images if image.label not in names)
    kept = [image for image in images if image.label in names]
    if not kept:
        raise InputError(
            f"no label of '{data}' is among the {len(labels)} of '{labels_file}' (it has "
            f"'{next(iter(strange))}', they begin with '{labels[0]}'): name the right column with --label-column"
        )
    if strange:
        reporter.warn(f"left out: {strange.total()} photos of {len(strange)} labels that '{labels_file}' does not name")
    return kept
