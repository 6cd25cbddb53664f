"""The photos that a model is trained, calibrated and evaluated on: listed, checked and split.

    load_data -> DataSet (readable photos, no duplicates, labels in order) -> split_data -> Split

Files that cannot be read are named and left out; the same bytes are never on both sides of a split.
"""

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.dataset import LabelledImage, read_dataset
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import Image, read_image
from sightline.runtime.reporter import QuietReporter, Reporter

from .lookalikes import set_apart
from .torchvision_data import PREFIX, write_torchvision

# How many files a warning names before it only counts.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class DataSet:
    """Photos that can be read, each content once.

    Attributes:
        images: The photos.
        labels: The classes in the order of the model's outputs: natural order ("item 2" before "item 10").
        validation: Photos that the user set apart for evaluation; empty where a split is to be made.
    """

    images: tuple[LabelledImage, ...]
    labels: tuple[str, ...]
    validation: tuple[LabelledImage, ...] = ()


@dataclass(frozen=True, slots=True)
class Split:
    """What is learned from and what is measured on; no content is in both."""

    train: tuple[LabelledImage, ...]
    val: tuple[LabelledImage, ...]


@dataclass(frozen=True, slots=True)
class _Checked:
    image: LabelledImage
    digest: str = ""
    problem: str = ""


def load_data(
    data: str | Path,
    label_column: str = "label",
    root: str | Path | None = None,
    reporter: Reporter | None = None,
    validation: str | Path | None = None,
    read: Callable[[Path], Image] = read_image,
    separator: str | None = None,
) -> DataSet:
    """List and check the photos of a data set.

    Every photo is decoded once, so that training never meets a bad file; `read` may keep what it decodes.

    Args:
        data: A folder of class folders, a CSV file, or `torchvision:NAME`.
        label_column: The CSV column that holds the label.
        root: Where torchvision data sets lie or are downloaded to.
        reporter: Where progress and warnings go.
        validation: Photos set apart for evaluation, in the same forms.
        read: Decodes one file to a BGR frame or raises InputError.
        separator: Between the labels of a photo that may have several; None for one label a photo.

    Raises:
        InputError: There is nothing to learn from: no photo, one class only, more than half unreadable.
    """
    reporter = reporter or QuietReporter()
    if str(data).startswith(PREFIX):
        data, own_validation = write_torchvision(str(data), root, reporter)
        validation = validation or own_validation

    def listed(place: str | Path) -> list[_Checked]:
        return _readable(read_dataset(place, label_column, separator=separator), str(place), read, reporter)

    checked, apart = listed(data), listed(validation) if validation else []
    images = _without_duplicates(checked, {entry.digest for entry in apart}, reporter)
    labels = all_labels(images)
    if len(labels) < (2 if separator is None else 1):
        only = f"only '{labels[0]}'" if labels else "none"
        raise InputError(f"data '{data}' has {only} as class: at least two classes are needed to tell apart")
    return DataSet(images, labels, _known(apart, labels, reporter))


def split_data(
    data: DataSet,
    fraction: float = 0.1,
    seed: int = 0,
    reporter: Reporter | None = None,
    features: NDArray[np.float32] | None = None,
) -> Split:
    """Set photos apart for evaluation, the same part of every class, or take the user's own.

    Args:
        data: The photos.
        fraction: Part of each class to set apart, in (0, 1); at least one photo of every class of two or more.
        seed: Which photos: the same seed gives the same split.
        reporter: Where warnings go.
        features: float32 [photos, dim], by which look-alikes are kept on one side; None splits at random.

    Raises:
        InputError: The fraction lies outside (0, 1) or no class has two photos.
    """
    if data.validation:
        return Split(data.images, data.validation)
    if not 0 < fraction < 1:
        raise InputError(f"the part set apart for evaluation must lie between 0 and 1, not {fraction}")
    counts = Counter(name for image in data.images for name in image.names)
    strata = [_stratum(image, counts) for image in data.images]
    if features is None:
        chosen = _choose(strata, fraction, seed)
    else:
        chosen = set_apart(features, strata, fraction, seed)
    single = [label for label, count in counts.items() if count < 2]
    if not chosen:
        raise InputError("every class has one photo only: give at least two a class, or --val DATA")
    if single and reporter:
        reporter.warn(
            f"{_some(single)}: only one photo each, so {'they are' if len(single) > 1 else 'it is'} "
            "learned but not evaluated; add photos"
        )
    train = tuple(image for row, image in enumerate(data.images) if row not in chosen)
    return Split(train, tuple(data.images[row] for row in sorted(chosen)))


def all_labels(images: Iterable[LabelledImage]) -> tuple[str, ...]:
    """Give the labels that occur, in the order of the model's outputs."""
    return tuple(sorted({name for image in images for name in image.names}, key=natural_key))


def natural_key(label: str) -> tuple[tuple[int, int, str], ...]:
    """Give the sort key under which numbers inside a label count as numbers."""
    parts = re.findall(r"\d+|\D+", label)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def class_indices(images: Iterable[LabelledImage], labels: Sequence[str]) -> list[int]:
    """Give each photo's index into `labels`."""
    index = {label: row for row, label in enumerate(labels)}
    return [index[image.label] for image in images]


def label_targets(images: Sequence[LabelledImage], labels: Sequence[str]) -> NDArray[np.float32]:
    """Give which labels each photo has: float32 [photos, labels] of zeros and ones."""
    index = {label: row for row, label in enumerate(labels)}
    targets = np.zeros((len(images), len(labels)), np.float32)
    for row, image in enumerate(images):
        targets[row, [index[name] for name in image.names]] = 1
    return targets


def _stratum(image: LabelledImage, counts: Counter[str]) -> str:
    """Give the label by which a photo is split: of several its rarest, so that no rare one is on one side only."""
    return min(image.names, key=lambda name: (counts[name], name), default="")


def _choose(strata: Sequence[str], fraction: float, seed: int) -> set[int]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(strata):
        rows[label].append(row)
    chosen: set[int] = set()
    for label in rows:
        # A generator a class: a photo more in one class leaves the split of the others as it is.
        order = random.Random(f"{seed}/{label}").sample(rows[label], len(rows[label]))
        if len(order) > 1:
            chosen.update(order[: min(len(order) - 1, max(1, round(fraction * len(order))))])
    return chosen


def _readable(
    images: list[LabelledImage], data: str, read: Callable[[Path], Image], reporter: Reporter
) -> list[_Checked]:
    checked: list[_Checked] = []
    # OpenCV and hashlib release the interpreter lock, so threads share the cores.
    with reporter.task("checking photos", len(images)) as task, ThreadPoolExecutor() as pool:
        for entry in pool.map(lambda image: _check(image, read), images):
            checked.append(entry)
            task.advance()
    good = [entry for entry in checked if not entry.problem]
    bad = [entry for entry in checked if entry.problem]
    if len(bad) > len(good):
        raise InputError(f"{len(bad)} of the {len(images)} photos of '{data}' cannot be used: {bad[0].problem}")
    for entry in bad[:_NAMED]:
        reporter.warn(f"left out: {entry.problem}")
    if len(bad) > _NAMED:
        reporter.warn(f"left out: {len(bad) - _NAMED} more photos that cannot be read")
    return good


def _check(image: LabelledImage, read: Callable[[Path], Image]) -> _Checked:
    try:
        read(image.path)
        return _Checked(image, hashlib.sha256(image.path.read_bytes()).hexdigest())
    except (InputError, OSError) as error:
        return _Checked(image, problem=str(error))


def _without_duplicates(checked: list[_Checked], apart: set[str], reporter: Reporter) -> tuple[LabelledImage, ...]:
    labels: dict[str, set[str]] = defaultdict(set)
    for entry in checked:
        labels[entry.digest].add(entry.image.label)
    contradictory = {digest for digest, names in labels.items() if len(names) > 1}
    first: dict[str, LabelledImage] = {}
    for entry in checked:
        if entry.digest not in contradictory and entry.digest not in apart:
            first.setdefault(entry.digest, entry.image)
    _warn_left_out(checked, contradictory, apart, len(first), reporter)
    return tuple(first.values())


def _warn_left_out(
    checked: list[_Checked], contradictory: set[str], apart: set[str], kept: int, reporter: Reporter
) -> None:
    unclear = [entry.image.path for entry in checked if entry.digest in contradictory]
    seen = sum(entry.digest in apart and entry.digest not in contradictory for entry in checked)
    repeated = len(checked) - kept - len(unclear) - seen
    if unclear:
        reporter.warn(
            f"left out: {len(unclear)} photos that stand under two labels at once ({_some(map(str, unclear))})"
        )
    if seen:
        reporter.warn(f"left out of training: {seen} photos that are also in the evaluation data")
    if repeated:
        reporter.warn(f"left out: {repeated} photos that repeat another one byte for byte")


def _known(apart: list[_Checked], labels: tuple[str, ...], reporter: Reporter) -> tuple[LabelledImage, ...]:
    known = tuple(entry.image for entry in apart if set(entry.image.names) <= set(labels))
    unknown = [label for label in all_labels(entry.image for entry in apart) if label not in labels]
    if unknown:
        reporter.warn(f"left out of the evaluation: {_some(unknown)}, not among the classes to learn")
    if apart and not known:
        raise InputError("no photo of the evaluation data has a label of the training data")
    return known


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_NAMED]) + (f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else "")
