"""Golden photos of bundles that find objects or name pixels: what the exporting machine's graph gave, sampled."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np

from .bundle import Bundle
from .detector import Detector
from .errors import BundleError
from .golden import GOLDEN_NAME, GoldenResult, input_digest
from .preprocess import decode_image, prepare
from .segmenter import Segmenter

# float32 sums differ between CPUs in their last bits; another kernel or a lost channel differs by far more.
_NEAR = 0.01
_LEAST_PIXELS = 0.98
# Every so many pixels of a map is kept.
MAP_STEP = 4


@dataclass(frozen=True, slots=True)
class GoldenBox:
    """One of the strongest boxes: its anchor and label by number, its score, and its corners in parts of the input."""

    anchor: int
    label: int
    score: float
    box: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GoldenBoxes:
    """A photo with its expected boxes, by the variant's name; see `GoldenCase`."""

    image: str
    input_sha256: str
    outputs: dict[str, list[GoldenBox]]


@dataclass(frozen=True, slots=True)
class GoldenMap:
    """A photo with the labels of some of its pixels, row by row, by the variant's name; see `GoldenCase`."""

    image: str
    input_sha256: str
    outputs: dict[str, list[int]]


Case = TypeVar("Case", GoldenBoxes, GoldenMap)


def check_detector(detector: Detector) -> GoldenResult:
    """Run a detector's golden photos and compare with what export measured; see `check_golden`."""

    def differs(case: GoldenBoxes) -> str | None:
        boxes, scores = detector.run(_prepared(case, detector.bundle)[None])
        for one in case.outputs[detector.variant.name]:
            here = np.append(boxes[0, one.anchor], scores[0, one.anchor, one.label])
            apart = float(np.abs(here - np.append(one.box, one.score)).max())
            if not apart <= _NEAR:
                return f"{case.image}: a box or its score differs from export's by {apart:.3f} (at most {_NEAR})"
        return None

    return _check(detector.bundle, GoldenBoxes, differs)


def check_segmenter(segmenter: Segmenter) -> GoldenResult:
    """Run a segmenter's golden photos and compare with what export measured; see `check_golden`."""

    def differs(case: GoldenMap) -> str | None:
        here = segmenter.run(_prepared(case, segmenter.bundle)[None])[0, ::MAP_STEP, ::MAP_STEP].ravel()
        same = float((here == np.asarray(case.outputs[segmenter.variant.name])).mean())
        return None if same >= _LEAST_PIXELS else f"{case.image}: {1 - same:.1%} of the pixels got another label"

    return _check(segmenter.bundle, GoldenMap, differs)


def _check(bundle: Bundle, kind: type[Case], differs: Callable[[Case], str | None]) -> GoldenResult:
    try:
        cases: list[Case] = msgspec.json.decode(bundle.read(GOLDEN_NAME), type=list[kind])  # type: ignore[valid-type]
    except msgspec.DecodeError as error:
        raise BundleError(f"bundle '{bundle.path}': {GOLDEN_NAME} cannot be read ({error})") from error
    failures = []
    for case in cases:
        same = input_digest(_prepared(case, bundle)) == case.input_sha256
        failure = differs(case) if same else f"{case.image}: preprocessing gives other bytes on this machine"
        failures += [failure] if failure else []
    return GoldenResult(len(cases), tuple(failures))


def _prepared(case: GoldenBoxes | GoldenMap, bundle: Bundle) -> np.ndarray:
    return prepare(decode_image(bundle.read(case.image), case.image), bundle.input_spec)
