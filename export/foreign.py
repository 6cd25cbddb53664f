"""Bring your own model: an ONNX file from anywhere as the source of a bundle.

read_onnx_file -> settle the preprocessing -> adopt the trunk -> fit a head to calibration photos -> ExportSource
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.dataset import LabelledImage, read_labels
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.reporter import QuietReporter, Reporter

from .calibration import LEAST_IMAGES, check_disjoint, choose_calibration, content_hashes, split_for_calibration
from .data import class_indices
from .features import FEATURE_PHOTOS, some_of, whitened_projection
from .foreign_model import Floats, ForeignModel, unit_rows
from .onnx_adopt import Trunk, add_class_means, add_embedding_head, adopt_trunk
from .onnx_file import read_onnx_file
from .onnx_settings import Settings, settle
from .photos import prepared
from .source import ExportSource, labelled_photos

_BATCH = 8


@dataclass(frozen=True, slots=True)
class ForeignOnnx:
    """What the user says of a foreign file.

    Attributes:
        file: The ONNX file.
        labels: One name a line, in the order of its outputs.
        calibration: Labelled photos to calibrate on; where `evaluation` is None, half of them at most.
        evaluation: Labelled photos to judge on.
        label_column: The CSV column with the label, or with its index into `labels`.
        settings: The preprocessing that was given.
        notes: A JSON file that says the preprocessing.
        embedding: Whether the file's output is an embedding instead of logits.
        dim: Width of the embedding fitted to a classifier.
    """

    file: str
    labels: str
    calibration: str
    evaluation: str | None = None
    label_column: str = "label"
    settings: Settings = field(default_factory=Settings)
    notes: str | None = None
    embedding: bool = False
    dim: int = 256


def source_from_onnx(foreign: ForeignOnnx, seed: int = 0, reporter: Reporter | None = None) -> ExportSource:
    """Adopt an ONNX file.

    Raises:
        InputError: The file, its labels, its preprocessing or the photos cannot be used; see `read_onnx_file`,
            `settle` and `adopt_trunk`.
    """
    reporter = reporter or QuietReporter()
    file = read_onnx_file(foreign.file)
    labels = tuple(read_labels(foreign.labels))
    how = settle(file, foreign.settings, foreign.notes)
    trunk = adopt_trunk(file, how, None if foreign.embedding else len(labels))
    chosen, evaluation = _photos(foreign, labels, seed, reporter)
    check_disjoint(chosen, content_hashes(image.path for image in chosen), evaluation)
    calibration = choose_calibration(chosen, evaluation, seed=seed)
    fitted = some_of(chosen, FEATURE_PHOTOS, seed)
    features = _features(trunk, fitted, how.spec, reporter)
    model = _complete(foreign, trunk, features, fitted, labels)
    training = {"weights": foreign.file, "data": foreign.evaluation or foreign.calibration, "trained": False}
    return ExportSource(model, labels, how.spec, calibration, tuple(evaluation), tuple(chosen), training)


def _photos(
    foreign: ForeignOnnx, labels: tuple[str, ...], seed: int, reporter: Reporter
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    pool = labelled_photos(foreign.calibration, foreign.label_column, foreign.labels, labels, reporter)
    if foreign.evaluation is None:
        chosen, evaluation = split_for_calibration(pool, seed=seed)
        needed, use = 2 * LEAST_IMAGES, "half to calibrate on and half to judge on"
    else:
        chosen = pool
        evaluation = labelled_photos(foreign.evaluation, foreign.label_column, foreign.labels, labels, reporter)
        needed, use = LEAST_IMAGES, "and some 300 are usual"
    if len(chosen) < LEAST_IMAGES:
        raise InputError(
            f"calibration '{foreign.calibration}' has {len(pool)} usable photos: at least {needed} are needed, {use}"
        )
    return chosen, evaluation


def _features(trunk: Trunk, images: Sequence[LabelledImage], spec: InputSpec, reporter: Reporter) -> Floats:
    found: list[Floats] = []
    with reporter.task("features", len(images)) as task:
        for batch in prepared([image.path for image in images], spec, _BATCH):
            found.append(trunk.features(batch))
            task.advance(len(batch))
    return np.concatenate(found)


def _complete(
    foreign: ForeignOnnx, trunk: Trunk, features: Floats, images: Sequence[LabelledImage], labels: tuple[str, ...]
) -> ForeignModel:
    name = Path(foreign.file).stem
    if foreign.embedding:
        means = _class_means(unit_rows(features), np.asarray(class_indices(images, labels)), labels)
        return ForeignModel(name, add_class_means(trunk, means), trunk, (means,))
    dim = min(foreign.dim, features.shape[1])
    mean, matrix = (part.astype(np.float32) for part in whitened_projection(features, dim))
    return ForeignModel(name, add_embedding_head(trunk, mean, matrix), trunk, (mean, matrix))


def _class_means(embeddings: Floats, classes: NDArray[np.int64], labels: tuple[str, ...]) -> Floats:
    empty = [label for row, label in enumerate(labels) if row not in set(classes.tolist())]
    if empty:
        raise InputError(
            f"no calibration photo shows '{empty[0]}' ({len(empty)} of {len(labels)} labels have none): an embedding "
            f"net knows a class by its calibration photos, so give some of each or take it off the label list"
        )
    return unit_rows(np.stack([embeddings[classes == row].mean(axis=0) for row in range(len(labels))]))
