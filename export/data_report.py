"""What a data set holds and what is wrong with it, before anything is trained: `sightline data`.

read_parts -> take_census -> find_duplicates -> find_suspects -> DataReport
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.models import UnknownArchitectureError, WeightsError, build_model, load_weights
from sightline.runtime import Bundle, Recognizer
from sightline.runtime.dataset import LabelledImage, read_dataset
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.reporter import QuietReporter, Reporter

from .census import Census, Unreadable, take_census
from .data import natural_key
from .devices import choose_device
from .duplicates import NEAR, Duplicates, find_duplicates
from .features import extract_features
from .photos import prepared
from .suspects import FOLDS, Suspicion, find_suspects

_BATCH = 16


@dataclass(frozen=True, slots=True)
class DataOptions:
    """What `sightline data` is asked.

    Attributes:
        data: A folder of class folders or a CSV.
        validation: A second data set, checked for photos of the first.
        label_column: The CSV column with the label.
        split_column: The CSV column that names each photo's split, where there is one.
        bundle: A bundle whose embeddings mislabelled photos are looked for with.
        arch: Or an architecture,
        weights: with its weights: a file or "imagenet".
        similarity: From which two photos are near-duplicates.
        seed: Of the folds.
    """

    data: str
    validation: str | None = None
    label_column: str = "label"
    split_column: str = "split"
    bundle: str | None = None
    arch: str | None = None
    weights: str | None = None
    similarity: float = NEAR
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One class: its photos in all and in each split."""

    label: str
    images: int
    parts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Sizes and colours.

    Attributes:
        shorter_side: Smallest, median and largest, pixels.
        aspect: Width over height: smallest, median and largest.
        sizes: The most frequent sizes, as "width x height", with their photos.
        mean: Of red, green and blue, 0 to 1.
        deviation: Likewise.
        histograms: Share of the pixels of red, green and blue in each of 32 steps of brightness.
    """

    shorter_side: tuple[int, int, int]
    aspect: tuple[float, float, float]
    sizes: dict[str, int]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    histograms: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class DataReport:
    """Everything found.

    Attributes:
        parts: The splits with their photos that can be read.
        classes: In natural order.
        duplicates: Groups, the gravest first.
        suspicion: Doubtful labels; None where they were not looked for.
        suspicion_note: What they were looked for with, or why they were not.
        census: The photos themselves; every row counts in it.
    """

    data: str
    parts: dict[str, int]
    classes: tuple[ClassCount, ...]
    pixels: Pixels
    unreadable: tuple[Unreadable, ...]
    duplicates: tuple[Duplicates, ...]
    suspicion: Suspicion | None
    suspicion_note: str
    census: Census

    @property
    def leaks(self) -> tuple[Duplicates, ...]:
        """Groups that stand in several splits."""
        return tuple(one for one in self.duplicates if one.leak)


def describe_data(options: DataOptions, reporter: Reporter | None = None) -> DataReport:
    """Look a data set over.

    Raises:
        InputError: There is no photo, no such column, or the weights do not fit.
        BundleError: The bundle is none.
    """
    reporter = reporter or QuietReporter()
    images, parts = _read_parts(options)
    features = _Features(options, reporter)
    census = take_census(images, parts, reporter)
    with reporter.task("comparing photos", len(set(census.digests))) as task:
        duplicates = find_duplicates(census, options.similarity, task.advance)
    suspicion, note = features.suspicion(census)
    return DataReport(
        data=options.data,
        parts=dict(Counter(census.parts)),
        classes=_classes(census),
        pixels=_pixels(census),
        unreadable=census.unreadable,
        duplicates=duplicates,
        suspicion=suspicion,
        suspicion_note=note,
        census=census,
    )


def _read_parts(options: DataOptions) -> tuple[list[LabelledImage], list[str]]:
    images = read_dataset(options.data, options.label_column)
    if options.validation is None:
        return images, [image.metadata.get(options.split_column) or "all" for image in images]
    apart = read_dataset(options.validation, options.label_column)
    return [*images, *apart], ["train"] * len(images) + ["val"] * len(apart)


class _Features:
    """Opens what features come from before hours of reading, and asks it afterwards."""

    def __init__(self, options: DataOptions, reporter: Reporter) -> None:
        self._options, self._reporter = options, reporter
        self._recognizer = Recognizer(Bundle.load(options.bundle)) if options.bundle else None
        self._model = None
        if self._recognizer is None and options.weights is not None:
            try:
                self._model = build_model(options.arch or "mobilenet_v2", 2)
                load_weights(self._model, options.weights)
            except (UnknownArchitectureError, WeightsError) as error:
                raise InputError(str(error)) from error

    def suspicion(self, census: Census) -> tuple[Suspicion | None, str]:
        """Look for doubtful labels; also gives what with, or why not."""
        if self._recognizer is None and self._model is None:
            return None, "not looked for: that takes features, from --bundle or --weights"
        features = self._extract(census.images)
        labels = [image.label for image in census.images]
        with self._reporter.task("judging labels", FOLDS) as task:
            found = find_suspects(features, labels, self._options.seed, task.advance)
        if found is None:
            return None, f"not looked for: fewer than two classes have {FOLDS} photos"
        left_out = len(labels) - found.images
        note = f"features of {self._name()}, {FOLDS}-fold cross-validation over {found.images} photos"
        return found, note + (f"; {left_out} photos of classes with fewer than {FOLDS} left out" if left_out else "")

    def _name(self) -> str:
        if self._recognizer is not None:
            return f"bundle '{Path(str(self._options.bundle)).name}'"
        return f"{self._options.arch or 'mobilenet_v2'}"

    def _extract(self, images: Sequence[LabelledImage]) -> NDArray[np.float32]:
        if self._model is not None:
            architecture = self._model.architecture
            spec = InputSpec(architecture.image_size, architecture.image_size, architecture.crop)
            device, precision = choose_device()
            return extract_features(self._model.to(device), images, spec, self._reporter, precision)
        assert self._recognizer is not None
        found = []
        with self._reporter.task("features", len(images)) as task:
            for batch in prepared([image.path for image in images], self._recognizer.bundle.input_spec, _BATCH):
                found.append(self._recognizer.run(batch)[1])
                task.advance(len(batch))
        return np.concatenate(found)


def _classes(census: Census) -> tuple[ClassCount, ...]:
    counts = Counter(zip((image.label for image in census.images), census.parts, strict=True))
    labels = sorted({label for label, _ in counts}, key=natural_key)
    parts = sorted(set(census.parts))
    by_part = {label: {part: counts[label, part] for part in parts} for label in labels}
    return tuple(ClassCount(label, sum(by_part[label].values()), by_part[label]) for label in labels)


def _pixels(census: Census) -> Pixels:
    sizes = census.sizes_wh
    aspect = sizes[:, 0] / sizes[:, 1]
    names = Counter(f"{width} x {height}" for width, height in sizes.tolist())
    low, middle, high = np.percentile(sizes.min(axis=1), (0, 50, 100)).tolist()
    return Pixels(
        (round(low), round(middle), round(high)),
        (float(aspect.min()), float(np.median(aspect)), float(aspect.max())),
        dict(names.most_common(12)),
        tuple(census.mean.tolist()),
        tuple(census.deviation.tolist()),
        tuple(tuple(row) for row in census.histograms.tolist()),
    )


def to_json(report: DataReport) -> dict[str, Any]:
    """What `sightline data --json` prints: the report with files in place of rows."""
    images, suspicion = report.census.images, report.suspicion

    def entry(row: int) -> dict[str, str]:
        return {"file": str(images[row].path), "label": images[row].label, "part": report.census.parts[row]}

    return {
        "data": report.data,
        "images": len(images),
        "parts": report.parts,
        "classes": report.classes,
        "pixels": report.pixels,
        "unreadable": report.unreadable,
        "duplicates": [
            {
                "exact": one.exact,
                "similarity": one.similarity,
                "contradict": one.contradict,
                "leak": one.leak,
                "images": [entry(row) for row in one.rows],
            }
            for one in report.duplicates
        ],
        "suspects": None
        if suspicion is None
        else {
            "images": suspicion.images,
            "top1": suspicion.top1,
            "found": [
                {
                    **entry(one.row),
                    "likely": one.likely,
                    "given_probability": one.given_probability,
                    "likely_probability": one.likely_probability,
                }
                for one in suspicion.suspects
            ],
        },
        "suspects_note": report.suspicion_note,
    }
