"""Finds objects in frames: one pass of a detector, then of boxes that overlap the best.

The graph gives every box with its scores; which of them count is decided here, so that it is the same on every CPU
and costs microseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from .box import Box
from .bundle import Bundle
from .errors import InputError
from .manifest import DETECTION, DetectionPolicy
from .opened import OpenedModel
from .preprocess import Image, crop_box
from .recognition import Latency
from .session import Interface

Floats = NDArray[np.float32]

BOXES = Interface(("image",), ("boxes", "scores"))


@dataclass(frozen=True, slots=True)
class Detection:
    """An object that was found: where, what the detector takes it for, and its score from 0 to 1."""

    box: Box
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in a frame, the best score first, and what it cost."""

    objects: tuple[Detection, ...]
    latency: Latency


class Detector(OpenedModel):
    """A detector's bundle made ready to look. Safe to use from several threads."""

    tasks = (DETECTION,)
    interface = BOXES

    def __init__(
        self,
        bundle: Bundle,
        provider: str = "auto",
        variant: str = "auto",
        threads: int | None = None,
        min_score: float | None = None,
        only: Sequence[str] = (),
    ) -> None:
        """Open the model; see `Recognizer`.

        Args:
            bundle: A detector's.
            provider: What runs it.
            variant: Which variant.
            threads: Threads within an operator.
            min_score: Boxes of at most this score are left out; None takes the bundle's.
            only: Labels that are looked for; none means all.

        Raises:
            BundleError: It is no detector's, or cannot be opened.
            ProviderError: The provider is not to be had.
            InputError: The detector has no such label.
        """
        super().__init__(bundle, provider, variant, threads)
        policy = bundle.manifest.detection or DetectionPolicy()
        self.policy = policy if min_score is None else replace(policy, min_score=min_score)
        strange = next((label for label in only if label not in bundle.labels), None)
        if strange is not None:
            raise InputError(f"the detector has no label '{strange}': 'sightline inspect {bundle.path}' lists them")
        self._columns = [place for place, label in enumerate(bundle.labels) if label in only or not only]

    def detect(self, frame_bgr: Image) -> Detections:
        """Find the objects of a frame.

        Args:
            frame_bgr: uint8, shape (height, width, 3), BGR as OpenCV gives it.

        Raises:
            InputError: The array is no frame.
        """
        start = perf_counter()
        image = self._prepare(frame_bgr)
        prepared = perf_counter()
        boxes, scores = self.run(image)
        found = self.select(boxes[0], scores[0], frame_bgr.shape[0], frame_bgr.shape[1])
        done = perf_counter()
        return Detections(found, Latency((prepared - start) * 1e3, (done - prepared) * 1e3, 0.0))

    def run(self, images: Image) -> tuple[Floats, Floats]:
        """Run prepared images, uint8 (batch, height, width, 3) RGB.

        Returns:
            Boxes float32 (batch, anchors, 4): left, top, right, bottom in parts of the input; and scores float32
            (batch, anchors, labels), 0 to 1.
        """
        boxes, scores = self._session.fetch({"image": images})
        return boxes, scores

    def select(self, boxes: Floats, scores: Floats, rows: int, columns: int) -> tuple[Detection, ...]:
        """Choose the boxes that count and bring them to a frame's pixels.

        Args:
            boxes: Of one input, float32 (anchors, 4), see `run`.
            scores: float32 (anchors, labels).
            rows: Of the frame.
            columns: Of the frame.
        """
        top, left, bottom, right = crop_box(rows, columns, self.bundle.input_spec)
        scale, shift = (right - left, bottom - top) * 2, (left, top) * 2
        chosen = select_boxes(boxes, scores[:, self._columns], self.policy)
        found = []
        for anchor, place in chosen:
            x0, y0, x1, y1 = boxes[anchor].astype(np.float64) * scale + shift
            box = _within(x0, y0, x1, y1, rows, columns)
            label = self._columns[place]
            found.append(Detection(box, self.labels[label], float(scores[anchor, label])))
        return tuple(found)


def select_boxes(boxes: Floats, scores: Floats, policy: DetectionPolicy) -> list[tuple[int, int]]:
    """Choose the boxes that count: non-maximum suppression, label by label.

    Args:
        boxes: float32 (anchors, 4): left, top, right, bottom.
        scores: float32 (anchors, labels).
        policy: The least score, and how far two boxes of a label may overlap.

    Returns:
        Anchor and label of each, the best score first.
    """
    anchors, labels = np.nonzero(scores > policy.min_score)
    if not len(anchors):
        return []
    order = np.argsort(-scores[anchors, labels], kind="stable")[:_CANDIDATES]
    anchors, labels = anchors[order], labels[order]
    corners = boxes[anchors].astype(np.float64)
    sizes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    weights, kinds = scores[anchors, labels].tolist(), labels.tolist()
    kept = cv2.dnn.NMSBoxesBatched(sizes.tolist(), weights, kinds, policy.min_score, policy.max_overlap)
    best = sorted(np.asarray(kept, np.int64).tolist())[: policy.most]
    return [(int(anchors[one]), int(labels[one])) for one in best]


# What a frame full of objects needs; it bounds the time of a detector that is sure of everything.
_CANDIDATES = 2000


def _within(left: float, top: float, right: float, bottom: float, rows: int, columns: int) -> Box:
    x0, y0 = min(max(0, round(left)), columns - 1), min(max(0, round(top)), rows - 1)
    return Box(x0, y0, min(columns, max(x0 + 1, round(right))), min(rows, max(y0 + 1, round(bottom))))
