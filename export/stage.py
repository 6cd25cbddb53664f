"""Everything that is settled before the first training step: options, photos, model, input size."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sightline.models import (
    ARCHITECTURES,
    Architecture,
    RecognitionModel,
    UnknownArchitectureError,
    WeightsError,
    build_model,
    find_architecture,
    load_weights,
)
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.errors import InputError
from sightline.runtime.manifest import EMBEDDING, MULTI_LABEL, SINGLE_LABEL
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.reporter import Reporter

from .balance import balance_filters
from .data import DataSet, Split, all_labels, class_indices, label_targets, load_data, split_data
from .devices import AUTO, choose_device
from .distill import Teacher, load_teacher
from .evaluator import Evaluator
from .features import FEATURE_PHOTOS, extract_features
from .losses import Targets
from .photos import PhotoCache
from .processes import Processes
from .recipe import Recipe, choose_image_size
from .recipe_file import apply_recipe
from .run import read_split, separator_of, write_split
from .torchvision_data import PREFIX

TASKS = (SINGLE_LABEL, MULTI_LABEL, EMBEDDING)

# What a network cannot see it says with whatever trips first: a size below zero, a patch cut in half.
_BLIND = (RuntimeError, AssertionError)


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What the user asked for.

    Attributes:
        data: A folder of class folders, a CSV file, or `torchvision:NAME`.
        out: The RUN folder to write.
        weights: A file, "imagenet" or "none".
        epochs: Passes over the training photos; None chooses by their number, or by the budget.
        budget_s: Seconds that everything may take; None for no limit.
        image_size: Height and width of the model input; None chooses by architecture and photos.
        validation: Photos set apart by the user; None sets `val_fraction` of each class apart.
        seed: Of split, start, order and augmentation. The same seed and epochs on the same machine give the
            same model; under a time budget the number of steps follows the clock.
        dim: Width of the embedding.
        root: Where torchvision data sets lie.
        task: A name of `TASKS`: one label a photo, several of them, or an embedding for look-up beside one label.
        label_separator: Between the labels of a photo where it may have several.
        recipe: TOML text with the user's own values, see `recipe_file`.
        teacher: A finished run of a larger net to learn from.
        amp: Precision of the matrix work, see `devices.AMP`.
    """

    data: str
    out: str
    arch: str = "mobilenet_v2"
    weights: str = "imagenet"
    epochs: int | None = None
    budget_s: float | None = None
    image_size: int | None = None
    label_column: str = "label"
    validation: str | None = None
    val_fraction: float = 0.1
    seed: int = 0
    dim: int = 256
    root: str | None = None
    task: str = SINGLE_LABEL
    label_separator: str = ";"
    recipe: str = ""
    teacher: str | None = None
    amp: str = AUTO


@dataclass(frozen=True, slots=True)
class Stage:
    """All that is fixed before the first step.

    Attributes:
        features: Of the training photos, from the trunk as it starts, where they are known already.
        weights: What the model started from, in one sentence.
        precision: Of the matrix work, see `choose_device`.
        started: When, by the monotonic clock.
        processes: Which of the processes that train together this one is.
    """

    options: TrainOptions
    folder: Path
    split: Split
    features: NDArray[np.float32] | None
    labels: tuple[str, ...]
    spec: InputSpec
    recipe: Recipe
    model: RecognitionModel
    weights: str
    precision: torch.dtype
    evaluator: Evaluator
    cache: PhotoCache
    started: float
    processes: Processes
    teacher: Teacher | None = None

    def elapsed(self) -> float:
        """Seconds since training was asked for."""
        return time.monotonic() - self.started


def prepare_stage(
    options: TrainOptions, folder: Path, resumed: bool, reporter: Reporter, started: float, processes: Processes
) -> Stage:
    """Check the options, list and split the photos, build the model.

    Args:
        options: What the user asked for.
        folder: The RUN folder; `split.csv` is written there, or read where `resumed`.
        resumed: Whether the folder holds an interrupted run.
        reporter: Where progress goes.
        started: When training was asked for, by the monotonic clock.
        processes: Those that train together.

    Raises:
        InputError: The data or the options cannot be used.
    """
    # Two loader threads share the cores with torch; OpenCV's own pool would only stand in the way.
    cv2.setNumThreads(1)
    torch.manual_seed(options.seed)
    architecture = _check(options)
    cache = PhotoCache(options.image_size or architecture.image_size)
    photos = _photos(options, folder, resumed, cache, reporter, processes)
    size = options.image_size or choose_image_size(
        architecture.image_size, cache.shorter_side(image.path for image in photos.data.images[:200])
    )
    spec = InputSpec(size, size, apply_recipe(options.recipe, Recipe()).eval_crop)
    model, note = _model(options, len(photos.data.labels), spec)
    _see(model, options.arch, _recipe(options, architecture, 0, size).smallest(size), "larger sizes in the recipe")
    device, precision = choose_device(options.amp)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    split, features = _split(options, photos, model, spec, precision, reporter, processes)
    if not resumed and processes.leads:
        write_split(folder / "split.csv", split)
    reporter.say(
        f"{options.arch} at {size} px, {len(photos.data.labels)} classes, {len(split.train)} photos to learn from, "
        f"{len(split.val)} to evaluate on; {note}"
    )
    return Stage(
        options=options,
        folder=folder,
        split=split,
        features=features,
        labels=photos.data.labels,
        spec=spec,
        recipe=_recipe(options, architecture, len(split.train), size),
        model=model,
        weights=note,
        precision=precision,
        evaluator=Evaluator(
            split.val, photo_targets(split.val, photos.data.labels, options.task), spec, options.task, processes
        ),
        cache=cache,
        started=started,
        processes=processes,
        teacher=_teacher(options, photos.data.labels, device, precision),
    )


def photo_targets(images: Sequence[LabelledImage], labels: Sequence[str], task: str) -> Targets:
    """Give what is right of photos: the index of each one's label, or a row of zeros and ones of several."""
    if task == MULTI_LABEL:
        return label_targets(images, labels)
    return np.asarray(class_indices(images, labels), np.int64)


def _teacher(
    options: TrainOptions, labels: tuple[str, ...], device: torch.device, precision: torch.dtype
) -> Teacher | None:
    if options.teacher is None:
        return None
    return load_teacher(options.teacher, labels, device, precision, options.task == MULTI_LABEL)


def _recipe(options: TrainOptions, architecture: Architecture, photos: int, size: int) -> Recipe:
    base = Recipe.for_data(photos, options.weights != "none")
    if options.task == MULTI_LABEL:
        # Smoothing of a yes or no would pull the many absent labels of a photo up by as much as the few present down.
        base = replace(base, loss="bce", label_smoothing=0.0)
    if size < 64:  # most networks have nothing left to see in a smaller picture: a recipe has to ask for it
        base = replace(base, sizes=(1.0,))
    recipe = apply_recipe(options.recipe, base)
    if options.task == MULTI_LABEL and recipe.loss == "cross-entropy":
        raise InputError("cross-entropy knows one label a photo: for several choose the loss bce, focal or mse")
    return replace(recipe, sizes=(1.0,)) if architecture.fixed else recipe


@dataclass(frozen=True, slots=True)
class _Photos:
    """What there is to learn from, and the split that an interrupted run began with."""

    data: DataSet
    split: Split | None = None


def _check(options: TrainOptions) -> Architecture:
    if options.epochs is not None and options.epochs < 0:
        raise InputError(f"epochs must be 0 or more, not {options.epochs}")
    if options.task not in TASKS:
        raise InputError(f"unknown task '{options.task}': choose one of {', '.join(TASKS)}")
    if options.dim < 8:
        raise InputError(f"the embedding needs at least 8 dimensions, not {options.dim}")
    try:
        return find_architecture(options.arch)
    except UnknownArchitectureError as error:
        raise InputError(str(error)) from error


def _photos(
    options: TrainOptions, folder: Path, resumed: bool, cache: PhotoCache, reporter: Reporter, processes: Processes
) -> _Photos:
    separator = separator_of(options.task, options.label_separator)
    if not resumed:
        columns, apart = options.label_column, options.validation
        # What torchvision gives is written as files once.
        with processes.lead_first() if options.data.startswith(PREFIX) else nullcontext():
            return _Photos(load_data(options.data, columns, options.root, reporter, apart, cache.read, separator))
    train, val = processes.agree(read_split(folder / "split.csv", separator) if processes.leads else ([], []))
    return _Photos(DataSet(tuple(train), all_labels(train), tuple(val)), Split(tuple(train), tuple(val)))


def _split(
    options: TrainOptions,
    photos: _Photos,
    model: RecognitionModel,
    spec: InputSpec,
    precision: torch.dtype,
    reporter: Reporter,
    processes: Processes,
) -> tuple[Split, NDArray[np.float32] | None]:
    """Split the photos; gives the training photos' features too where they were needed for it."""
    data = photos.data
    if photos.split is not None:
        return photos.split, None
    # An untrained network sees no likeness, and among many photos a group is easily missed at random anyway.
    if data.validation or options.weights == "none" or len(data.images) > FEATURE_PHOTOS:
        return split_data(data, options.val_fraction, options.seed, reporter), None
    features = extract_features(model, data.images, spec, reporter, precision, processes)
    split = split_data(data, options.val_fraction, options.seed, reporter, features)
    row = {image.path: number for number, image in enumerate(data.images)}
    return split, features[[row[image.path] for image in split.train]]


def _model(options: TrainOptions, classes: int, spec: InputSpec) -> tuple[RecognitionModel, str]:
    model = _built(options, classes, spec.height)
    try:
        note = load_weights(model, options.weights).note
    except WeightsError as error:
        raise InputError(str(error)) from error
    # timm's networks need not register their layers in the order they run in.
    if options.weights != "none" and options.arch in ARCHITECTURES:
        balance_filters(model.trunk)
    return model, note


def _built(options: TrainOptions, classes: int, size: int) -> RecognitionModel:
    """Build the model and see whether it takes pictures of this size, before hours of work."""
    advice = "another --image-size"
    try:
        model = build_model(options.arch, classes, options.dim, size)
    except _BLIND as error:
        raise InputError(_cannot_see(options.arch, size, advice)) from error
    _see(model, options.arch, size, advice)
    return model


def _see(model: RecognitionModel, name: str, size: int, advice: str) -> None:
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros((2, size, size, 3), dtype=torch.uint8))
    except _BLIND as error:
        raise InputError(_cannot_see(name, size, advice)) from error


def _cannot_see(name: str, size: int, advice: str) -> str:
    return f"{name} cannot see pictures of {size} px: choose {advice}"
