"""A segmenter's bundle: torchvision's FCN or LR-ASPP with its weights, proven against torch."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from sightline.models.segmentation import STEP, SegmentationModel, build_segmenter
from sightline.runtime.errors import BundleError
from sightline.runtime.golden import input_digest
from sightline.runtime.golden_pixels import MAP_STEP, GoldenMap
from sightline.runtime.manifest import SEGMENTATION
from sightline.runtime.preprocess import Image, InputSpec, prepare
from sightline.runtime.reporter import QuietReporter, Reporter
from sightline.runtime.segmenter import LABEL_MAP
from sightline.runtime.session import Session

from .published import Proof, PublishedModel, PublishedResult, ReadyNet, export_published, open_ready

# Where two labels are equally likely the last bit decides; another layout or mean changes far more pixels.
_LEAST_AGREEMENT = 0.998


def export_segmenter(ready: ReadyNet, out: str | Path, reporter: Reporter | None = None) -> PublishedResult:
    """Export ready weights of a segmentation net.

    Raises:
        InputError: The weights, labels or photos cannot be used.
        BundleError: The exported file differs from torch, or nothing can be written.
    """
    model, names, photos = open_ready(ready, build_segmenter)
    return export_segmentation_model(model, ready.arch, names, photos, out, ready.weights, reporter)


def export_segmentation_model(
    model: SegmentationModel,
    arch: str,
    labels: Sequence[str],
    photos: Sequence[Path],
    out: str | Path,
    weights: str = "",
    reporter: Reporter | None = None,
) -> PublishedResult:
    """Export a segmentation net of torch.

    Args:
        model: The net.
        arch: What its bundle calls it.
        labels: Of its map's numbers, in order.
        photos: That prove it.
        out: See `check_place`.
        weights: Where they came from.
        reporter: Where progress goes.

    Raises:
        InputError: A photo cannot be read.
        BundleError: The exported file differs from torch, or nothing can be written.
    """
    spec = InputSpec(model.size, model.size, 1.0, stretch=True)
    published = PublishedModel(arch, SEGMENTATION, tuple(labels), spec, model.eval(), LABEL_MAP, weights)
    proof = Proof(
        compare=lambda session, images: _compare(model, session, images),
        golden=_golden,
        draw=lambda frame, session: _draw(frame, session, spec),
    )
    return export_published(published, proof, photos, out, reporter or QuietReporter())


def _compare(model: SegmentationModel, session: Session, images: Image) -> dict[str, float]:
    same, own = [], []
    for image in images:
        (came,) = session.fetch({"image": image[None]})
        tensor = torch.from_numpy(image[None])
        with torch.no_grad():
            same.append(float((model(tensor).numpy() == came).mean()))
        full = model.reference(tensor)[0].numpy()
        # Each pixel of the map against the middle of the square of the full answer that it stands for.
        own.append(float((full[STEP // 2 :: STEP, STEP // 2 :: STEP] == came[0]).mean()))
    if not min(same) >= _LEAST_AGREEMENT:
        raise BundleError(
            f"the exported file does not answer as torch does: on a photo {1 - min(same):.2%} of the pixels got "
            f"another label (limit {1 - _LEAST_AGREEMENT:.1%})"
        )
    return {
        "least_share_of_pixels_labelled_as_by_torch": min(same),
        "mean_share_labelled_as_by_torchvision_at_full_size": float(np.mean(own)),
    }


def _golden(name: str, prepared: Image, session: Session) -> GoldenMap:
    (classes,) = session.fetch({"image": prepared[None]})
    return GoldenMap(name, input_digest(prepared), {"fp32": classes[0, ::MAP_STEP, ::MAP_STEP].ravel().tolist()})


def _draw(frame: Image, session: Session, spec: InputSpec) -> Image:
    (classes,) = session.fetch({"image": prepare(frame, spec)[None]})
    rows, columns = frame.shape[:2]
    large = cv2.resize(classes[0], (columns, rows), interpolation=cv2.INTER_NEAREST)
    shades = cv2.applyColorMap((large.astype(np.int64) * 37 % 256).astype(np.uint8), cv2.COLORMAP_TURBO)
    return np.asarray(cv2.addWeighted(frame, 0.5, np.where(large[..., None] > 0, shades, frame), 0.5, 0), np.uint8)
