"""Which photos quantization looks at, and proof that none of them is judged on."""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sightline.runtime.dataset import LabelledImage
from sightline.runtime.errors import InputError

# NNCF and Ultralytics use 300; below some dozens a range misses what photos differ in.
CALIBRATION_IMAGES = 300
LEAST_IMAGES = 16
# A loss of top-1 is expected to within 0.2 points by so many photos of MobileNetV2, see `rescue.expected_drop`.
_CHOOSING_IMAGES = 300


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """The photos that ranges are measured on.

    Attributes:
        images: The photos, classes in turn.
        classes: How many classes they cover.
        sha256: Of the photos' contents, in order: the same hash means the same photos.
    """

    images: tuple[LabelledImage, ...]
    classes: int
    sha256: str


def choose_calibration(
    pool: Sequence[LabelledImage], evaluation: Sequence[LabelledImage], count: int = CALIBRATION_IMAGES, seed: int = 0
) -> CalibrationSet:
    """Choose photos evenly over the classes.

    Args:
        pool: Photos to choose from; none may be an evaluation photo.
        evaluation: The photos that the gate judges on.
        count: How many at most.
        seed: Which ones.

    Raises:
        InputError: The pool is empty or shares a photo with the evaluation.
    """
    chosen = in_turn(pool, seed)[:count]
    if not chosen:
        raise InputError("there is no photo to calibrate on: give more labelled photos")
    digests = content_hashes(image.path for image in chosen)
    check_disjoint(chosen, digests, evaluation)
    joined = hashlib.sha256("".join(digests).encode()).hexdigest()
    return CalibrationSet(tuple(chosen), len({image.label for image in chosen}), joined)


def split_for_calibration(
    images: Sequence[LabelledImage], count: int = CALIBRATION_IMAGES, seed: int = 0
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Part labelled photos into those to calibrate on and those to judge on.

    Half at most is for calibration, the classes in turn; photos must differ in content, see `load_data`.

    Returns:
        Calibration photos and evaluation photos.
    """
    order = in_turn(images, seed)
    cut = min(count, len(order) // 2)
    taken = {id(image) for image in order[:cut]}
    return order[:cut], [image for image in images if id(image) not in taken]


def split_for_choosing(
    images: Sequence[LabelledImage], seed: int = 0
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Part photos that no one trained on into those to choose int8 layers by and those to judge on.

    A third is for choosing, the classes in turn, 300 at most; none where that would be fewer than 16.

    Returns:
        Choosing photos and evaluation photos.
    """
    cut = min(_CHOOSING_IMAGES, len(images) // 3)
    taken = in_turn(images, seed)[: cut if cut >= LEAST_IMAGES else 0]
    known = {id(image) for image in taken}
    return taken, [image for image in images if id(image) not in known]


def in_turn(images: Iterable[LabelledImage], seed: int = 0) -> list[LabelledImage]:
    """Order photos so that the classes take turns; the same seed gives the same order."""
    by_label: dict[str, list[LabelledImage]] = defaultdict(list)
    for image in images:
        by_label[image.label].append(image)
    labels = random.Random(seed).sample(sorted(by_label), len(by_label))
    shuffled = {
        label: random.Random(f"{seed}/{label}").sample(by_label[label], len(by_label[label])) for label in labels
    }
    longest = max((len(some) for some in shuffled.values()), default=0)
    return [shuffled[label][turn] for turn in range(longest) for label in labels if turn < len(shuffled[label])]


def check_disjoint(
    chosen: Sequence[LabelledImage], digests: Sequence[str], evaluation: Sequence[LabelledImage]
) -> None:
    """Raise InputError where a calibration photo is also judged on, by its file or by its content."""
    files = {image.path.resolve() for image in evaluation}
    contents = set(content_hashes(image.path for image in evaluation))
    for image, digest in zip(chosen, digests, strict=True):
        if image.path.resolve() in files or digest in contents:
            raise InputError(
                f"'{image.path}' is both a calibration and an evaluation photo, so the gate would judge on what "
                f"quantization has seen: remove it from one of them"
            )


def content_hashes(paths: Iterable[Path]) -> list[str]:
    """Give the SHA-256 of each file, in order.

    Raises:
        InputError: A file cannot be read.
    """
    # hashlib releases the interpreter lock, so threads share the cores.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_content_hash, paths))


def _content_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"image '{path}' cannot be read: {error.strerror}") from error
