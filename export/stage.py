"""Everything that is settled before the first training step: options, photos, model, input size."""

import time
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
from sightline.runtime.errors import InputError
from sightline.runtime.manifest import EMBEDDING, SINGLE_LABEL
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.reporter import Reporter

from .balance import balance_filters
from .data import DataSet, Split, class_indices, load_data, natural_key, split_data
from .distill import Teacher, load_teacher
from .evaluator import Evaluator, choose_device
from .features import FEATURE_PHOTOS, extract_features
from .photos import PhotoCache
from .recipe import Recipe, choose_image_size
from .recipe_file import apply_recipe
from .run import read_split, write_split

TASKS = (SINGLE_LABEL, EMBEDDING)


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
        task: A name of `TASKS`: one label a photo, or an embedding for look-up that is learned beside it.
        recipe: TOML text with the user's own values, see `recipe_file`.
        teacher: A finished run of a larger net to learn from.
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
    recipe: str = ""
    teacher: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """All that is fixed before the first step.

    Attributes:
        features: Of the training photos, from the trunk as it starts, where they are known already.
        weights: What the model started from, in one sentence.
        precision: torch.bfloat16 where it is faster, else torch.float32.
        started: When, by the monotonic clock.
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
    teacher: Teacher | None = None

    @property
    def targets(self) -> list[int]:
        """The index of each training photo's label."""
        return class_indices(self.split.train, self.labels)

    def elapsed(self) -> float:
        """Seconds since training was asked for."""
        return time.monotonic() - self.started


def prepare_stage(options: TrainOptions, folder: Path, resumed: bool, reporter: Reporter, started: float) -> Stage:
    """Check the options, list and split the photos, build the model.

    Args:
        options: What the user asked for.
        folder: The RUN folder; `split.csv` is written there, or read where `resumed`.
        resumed: Whether the folder holds an interrupted run.
        reporter: Where progress goes.
        started: When training was asked for, by the monotonic clock.

    Raises:
        InputError: The data or the options cannot be used.
    """
    # Two loader threads share the cores with torch; OpenCV's own pool would only stand in the way.
    cv2.setNumThreads(1)
    torch.manual_seed(options.seed)
    architecture = _check(options)
    cache = PhotoCache(options.image_size or architecture.image_size)
    photos = _photos(options, folder, resumed, cache, reporter)
    size = options.image_size or choose_image_size(
        architecture.image_size, cache.shorter_side(image.path for image in photos.data.images[:200])
    )
    spec = InputSpec(size, size, apply_recipe(options.recipe, Recipe()).eval_crop)
    model, note = _model(options, len(photos.data.labels), spec)
    device, precision = choose_device()
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    split, features = _split(options, photos, model, spec, precision, reporter)
    if not resumed:
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
        recipe=_recipe(options, architecture, len(split.train)),
        model=model,
        weights=note,
        precision=precision,
        evaluator=Evaluator(split.val, class_indices(split.val, photos.data.labels), spec, options.task == EMBEDDING),
        cache=cache,
        started=started,
        teacher=load_teacher(options.teacher, photos.data.labels, device, precision) if options.teacher else None,
    )


def _recipe(options: TrainOptions, architecture: Architecture, photos: int) -> Recipe:
    recipe = apply_recipe(options.recipe, Recipe.for_data(photos, options.weights != "none"))
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


def _photos(options: TrainOptions, folder: Path, resumed: bool, cache: PhotoCache, reporter: Reporter) -> _Photos:
    if not resumed:
        return _Photos(
            load_data(options.data, options.label_column, options.root, reporter, options.validation, cache.read)
        )
    train, val = read_split(folder / "split.csv")
    labels = tuple(sorted({image.label for image in train}, key=natural_key))
    return _Photos(DataSet(tuple(train), labels, tuple(val)), Split(tuple(train), tuple(val)))


def _split(
    options: TrainOptions,
    photos: _Photos,
    model: RecognitionModel,
    spec: InputSpec,
    precision: torch.dtype,
    reporter: Reporter,
) -> tuple[Split, NDArray[np.float32] | None]:
    """Split the photos; gives the training photos' features too where they were needed for it."""
    data = photos.data
    if photos.split is not None:
        return photos.split, None
    # An untrained network sees no likeness, and among many photos a group is easily missed at random anyway.
    if data.validation or options.weights == "none" or len(data.images) > FEATURE_PHOTOS:
        return split_data(data, options.val_fraction, options.seed, reporter), None
    features = extract_features(model, data.images, spec, reporter, precision)
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
    try:
        model = build_model(options.arch, classes, options.dim, size)
        with torch.inference_mode():
            model.eval()(torch.zeros((2, size, size, 3), dtype=torch.uint8))
    # What a network cannot see it says with whatever trips first: a size below zero, a patch cut in half.
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"{options.arch} cannot see pictures of {size} px: choose another --image-size") from error
    return model
