"""A detector as the front end of recognition: each object that it finds is cropped, recognised and looked up."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from .box import Box
from .bundle import Bundle
from .detector import Detection, Detections
from .errors import InputError
from .preprocess import Image, InputSpec
from .recognition import Candidate, Decision, Latency, Recognition
from .recognizer import Lookup


class Finder(Protocol):
    """What finds objects, a `Detector`."""

    def detect(self, frame_bgr: Image) -> Detections:
        """Find the objects of a frame."""


class BatchAnswerer(Protocol):
    """What answers several crops in one pass, a `Recognizer`."""

    @property
    def bundle(self) -> Bundle:
        """What it was made from: its input gives crops their shape."""

    def recognize_batch(
        self, frames_bgr: Sequence[Image], gallery: Lookup | None = None, k: int = 5
    ) -> list[Recognition]:
        """Answer several crops."""


@dataclass(frozen=True, slots=True)
class CropRules:
    """Which objects are recognised, and what of the frame is shown to the model.

    Attributes:
        padding: What is added to a box on all sides together, a part of its width and height.
        least: The longer side that an object has at least, a part of the frame's shorter side.
        most: Objects of a frame at most; the most prominent are taken.
    """

    padding: float = 0.1
    least: float = 0.05
    most: int = 8

    def __post_init__(self) -> None:
        if not (0 <= self.padding <= 2 and 0 <= self.least <= 1 and 1 <= self.most <= 100):
            raise InputError(
                f"padding must lie in 0 to 2, the least size in 0 to 1 and the objects in 1 to 100, not "
                f"{self.padding:g}, {self.least:g} and {self.most}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class FoundObject:
    """An object with its answer.

    Attributes:
        detection: What the detector says of it; its box in pixels of the frame.
        view: The part of the frame that was recognised, box and padding.
        recognition: The answer to that part; without a recognizer what the detector says.
    """

    detection: Detection
    view: Box
    recognition: Recognition

    def moved(self, right: int, down: int) -> "FoundObject":
        """The same object where the frame it was found in is a part of a larger one."""
        detection = replace(self.detection, box=self.detection.box.moved(right, down))
        return FoundObject(detection, self.view.moved(right, down), self.recognition)

    def to_dict(self) -> dict[str, Any]:
        """The fields of one of `objects` in a JSON line."""
        box, found = self.detection.box, self.detection
        return {
            "box": [box.left, box.top, box.right, box.bottom],
            "detected": {"label": found.label, "score": round(found.score, 4)},
            **self.recognition.to_dict(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class FoundObjects:
    """The objects of a frame, the most prominent first, and what all of it cost."""

    objects: tuple[FoundObject, ...]
    latency: Latency


class ObjectRecognizer:
    """Finds the objects of frames and answers each.

    Args:
        detector: What finds them.
        recognizer: What answers; None lets the detector's own labels be the answers.
        rules: Which objects count.
    """

    def __init__(self, detector: Finder, recognizer: BatchAnswerer | None, rules: CropRules | None = None) -> None:
        self._detector, self._recognizer, self._rules = detector, recognizer, rules or CropRules()

    def recognize(self, frame_bgr: Image, gallery: Lookup | None = None, k: int = 5) -> FoundObjects:
        """Find and answer the objects of a frame, all in one pass of the recognizer.

        Args:
            frame_bgr: uint8, shape (height, width, 3), BGR as OpenCV gives it.
            gallery: Where each is looked up; None asks the classifier alone.
            k: How many matches to give of each.

        Raises:
            InputError: The array is no frame.
            GalleryError: The gallery holds embeddings of another model.
        """
        rows, columns = frame_bgr.shape[:2]
        detected = self._detector.detect(frame_bgr)
        found = choose(detected.objects, rows, columns, self._rules)
        # Asked for at each frame: a reload may have put another model in the recognizer's place.
        spec = self._recognizer.bundle.input_spec if self._recognizer is not None else None
        views = [view_of(one.box, rows, columns, spec, self._rules.padding) for one in found]
        if self._recognizer is None:
            answers = [_own_word(one) for one in found]
        else:
            answers = self._recognizer.recognize_batch([view.of(frame_bgr) for view in views], gallery, k)
        objects = tuple(map(FoundObject, found, views, answers))
        return FoundObjects(objects, _total([detected.latency, *(one.latency for one in answers)]))


def choose(found: Sequence[Detection], rows: int, columns: int, rules: CropRules) -> list[Detection]:
    """Order objects by their prominence, large and central first, and leave out what is too small or too many."""
    least = rules.least * min(rows, columns)
    large = [one for one in found if max(one.box.width, one.box.height) >= least]
    return sorted(large, key=lambda one: -_prominence(one.box, rows, columns))[: rules.most]


def view_of(box: Box, rows: int, columns: int, spec: InputSpec | None, padding: float) -> Box:
    """Give the part of a frame that shows an object to a model: nothing of it falls to the model's centred crop.

    Args:
        box: The object.
        rows: Of the frame.
        columns: Of the frame.
        spec: The model's input; None gives the padded box.
        padding: See `CropRules`.
    """
    height, width = box.height * (1 + padding), box.width * (1 + padding)
    if spec is not None:
        scale = max(height / spec.height, width / spec.width) / spec.crop
        height, width = spec.height * scale, spec.width * scale
    # Where the frame ends the view is moved inwards, and cut only where it is larger than the frame.
    tall, wide = min(rows, round(height)), min(columns, round(width))
    top = min(max(0, round((box.top + box.bottom - tall) / 2)), rows - tall)
    left = min(max(0, round((box.left + box.right - wide) / 2)), columns - wide)
    return Box(left, top, left + max(1, wide), top + max(1, tall))


def nothing_found(latency: Latency) -> Recognition:
    """The answer to a frame without an object: unknown, with no embedding."""
    return Recognition(Decision(None, False, 0.0, None), (), (), _NO_VALUES, _NO_VALUES, latency)


_NO_VALUES = np.zeros(0, np.float32)


def _own_word(found: Detection) -> Recognition:
    decision, top = Decision(found.label, True, found.score, "detector"), (Candidate(found.label, found.score),)
    return replace(nothing_found(Latency(0.0, 0.0, 0.0)), decision=decision, top=top)


def _prominence(box: Box, rows: int, columns: int) -> float:
    across = (box.left + box.right - columns) / columns
    down = (box.top + box.bottom - rows) / rows
    return box.area * (1 - min(1.0, (across**2 + down**2) / 2))


def _total(latencies: Sequence[Latency]) -> Latency:
    return Latency(
        sum(one.preprocess_ms for one in latencies),
        sum(one.inference_ms for one in latencies),
        sum(one.lookup_ms for one in latencies),
    )
