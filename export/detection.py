"""A detector's bundle: torchvision's SSDLite with its weights, proven against torch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from sightline.models.detection import DetectionModel, build_detector
from sightline.runtime.detector import BOXES, Floats, select_boxes
from sightline.runtime.errors import BundleError
from sightline.runtime.golden import input_digest
from sightline.runtime.golden_pixels import GoldenBox, GoldenBoxes
from sightline.runtime.manifest import DETECTION, DetectionPolicy
from sightline.runtime.preprocess import Image, InputSpec, prepare
from sightline.runtime.reporter import QuietReporter, Reporter
from sightline.runtime.session import Session

from .published import Proof, PublishedModel, PublishedResult, ReadyNet, export_published, open_ready

# Measured on photos: boxes differ by 1e-6 of the picture and scores by 1e-6. The limits leave room for another BLAS.
MAX_DIFFERENCE = 1e-3
_GOLDEN_BOXES = 20
_COLOUR = (88, 240, 88)


def export_detector(ready: ReadyNet, out: str | Path, reporter: Reporter | None = None) -> PublishedResult:
    """Export ready weights of a detector.

    Raises:
        InputError: The weights, labels or photos cannot be used.
        BundleError: The exported file differs from torch, or nothing can be written.
    """
    model, names, photos = open_ready(ready, build_detector)
    return export_detection_model(model, ready.arch, names, photos, out, ready.weights, reporter)


def export_detection_model(
    model: DetectionModel,
    arch: str,
    labels: Sequence[str],
    photos: Sequence[Path],
    out: str | Path,
    weights: str = "",
    reporter: Reporter | None = None,
    policy: DetectionPolicy | None = None,
) -> PublishedResult:
    """Export a detector of torch.

    Args:
        model: The detector.
        arch: What its bundle calls it.
        labels: Of its scores, in order.
        photos: That prove it.
        out: See `check_place`.
        weights: Where they came from.
        reporter: Where progress goes.
        policy: Which boxes count; None takes those above one half, and torchvision's overlap.

    Raises:
        InputError: A photo cannot be read.
        BundleError: The exported file differs from torch, or nothing can be written.
    """
    spec = InputSpec(model.size, model.size, 1.0, stretch=True)
    policy = policy or DetectionPolicy(max_overlap=model.net.nms_thresh)
    published = PublishedModel(arch, DETECTION, tuple(labels), spec, model, BOXES, weights, policy)
    proof = Proof(
        compare=lambda session, images: _compare(model, session, images, policy),
        golden=lambda name, prepared, session: _golden(name, prepared, session, policy),
        draw=lambda frame, session: _draw(frame, session, spec, policy, labels),
    )
    return export_published(published, proof, photos, out, reporter or QuietReporter())


def _compare(model: DetectionModel, session: Session, images: Image, policy: DetectionPolicy) -> dict[str, float]:
    expected = [value.numpy() for value in model.reference(torch.from_numpy(images))]
    alone = [session.fetch({"image": image[None]}) for image in images]
    came = [np.concatenate([one[place] for one in alone]) for place in (0, 1)]
    together = session.fetch({"image": images[:3]})
    box, score = (float(np.abs(one - other).max()) for one, other in zip(expected, came, strict=True))
    batch = max(float(np.abs(one - other[:3]).max()) for one, other in zip(together, came, strict=True))
    wanted = [_chosen(boxes, scores, policy) for boxes, scores in zip(*expected, strict=True)]
    found = [_chosen(boxes, scores, policy) for boxes, scores in zip(*came, strict=True)]
    if not max(box, score, batch) <= MAX_DIFFERENCE:
        raise BundleError(
            f"the exported file does not answer as torch does: on {len(images)} photos boxes differ by up to "
            f"{box:.1e} of the picture, scores by {score:.1e}, batches by {batch:.1e} (limit {MAX_DIFFERENCE:.0e})"
        )
    same = sum(len(one & other) for one, other in zip(wanted, found, strict=True))
    return {
        "largest_difference_of_a_box_in_parts_of_the_picture": box,
        "largest_difference_of_a_score": score,
        "largest_difference_in_a_batch": batch,
        "objects_found_by_torch": float(sum(map(len, wanted))),
        "objects_found_by_both": float(same),
    }


def _chosen(boxes: Floats, scores: Floats, policy: DetectionPolicy) -> set[tuple[int, int]]:
    return set(select_boxes(boxes, scores, policy))


def _golden(name: str, prepared: Image, session: Session, policy: DetectionPolicy) -> GoldenBoxes:
    boxes, scores = (value[0] for value in session.fetch({"image": prepared[None]}))
    # Also boxes that do not count are worth comparing: a photo may show no object at all.
    best = select_boxes(boxes, scores, replace(policy, min_score=0.0, most=_GOLDEN_BOXES))
    found = [GoldenBox(one, label, float(scores[one, label]), tuple(map(float, boxes[one]))) for one, label in best]
    return GoldenBoxes(name, input_digest(prepared), {"fp32": found})


def _draw(frame: Image, session: Session, spec: InputSpec, policy: DetectionPolicy, labels: Sequence[str]) -> Image:
    boxes, scores = (value[0] for value in session.fetch({"image": prepare(frame, spec)[None]}))
    rows, columns = frame.shape[:2]
    drawn, thick = frame.copy(), max(1, min(rows, columns) // 200)
    for anchor, label in select_boxes(boxes, scores, policy):
        left, top, right, bottom = (boxes[anchor] * [columns, rows, columns, rows]).astype(int).tolist()
        cv2.rectangle(drawn, (left, top), (right, bottom), _COLOUR, thick)
        said = f"{labels[label]} {scores[anchor, label]:.2f}"
        place = left, max(12 * thick, top - 4)
        cv2.putText(drawn, said, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * thick, _COLOUR, thick, cv2.LINE_AA)
    return drawn
