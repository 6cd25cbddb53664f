"""Pooled features of photos, and the embedding's projection fitted to them."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.models import RecognitionModel
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.reporter import QuietReporter, Reporter

from .devices import autocast
from .photos import batches, prepared
from .processes import Processes

_BATCH = 64
# Photos that the linear head and the projection are fitted to; more cost time and change neither.
FEATURE_PHOTOS = 5000
# From this number on photos go through ONNX Runtime: 400 take a third of the time there, the export
# counted in (MobileNetV2 at 224 px; docs/training.md has the figures).
WORTH_AN_EXPORT = 400


def extract_features(
    model: RecognitionModel,
    images: Sequence[LabelledImage],
    spec: InputSpec,
    reporter: Reporter | None = None,
    precision: torch.dtype = torch.float32,
    processes: Processes | None = None,
) -> NDArray[np.float32]:
    """Run photos through the trunk exactly as the device prepares them.

    Many photos on the CPU go through ONNX Runtime, see `features_by_onnx`; what does not goes through torch.

    Args:
        model: Its mode is evaluation during the call.
        images: The photos, readable.
        spec: Size and crop.
        reporter: Where progress goes.
        precision: Of torch: torch.bfloat16 for speed where the processor has it.
        processes: Each does a part, and all get the whole.

    Returns:
        float32 [photos, feature_dim].
    """
    reporter, processes = reporter or QuietReporter(), processes or Processes()
    assert images, "features of no photo were asked for"
    mode = model.training
    model.eval()
    found = None
    if len(images) >= WORTH_AN_EXPORT and processes.count == 1 and next(model.parameters()).device.type == "cpu":
        # Importing the exporter takes a second that few photos would not give back.
        from .onnx_features import features_by_onnx

        found = features_by_onnx(model, images, spec, reporter)
    if found is None:
        found = features_by_torch(model, images, spec, reporter, precision, processes)
    model.train(mode)
    return found


def features_by_torch(
    model: RecognitionModel,
    images: Sequence[LabelledImage],
    spec: InputSpec,
    reporter: Reporter,
    precision: torch.dtype,
    processes: Processes,
) -> NDArray[np.float32]:
    """As `extract_features`, of a model in evaluation mode and through torch."""
    mine = [image for part in processes.part(batches(images, _BATCH)) for image in part]
    device = next(model.parameters()).device
    found: list[Tensor] = []
    with reporter.task("features", len(mine)) as task, torch.inference_mode():
        for batch in prepared([image.path for image in mine], spec, _BATCH):
            with autocast(device, precision):
                pooled = model.features(torch.from_numpy(batch).to(device))
            found.append(pooled.float().cpu())
            task.advance(len(batch))
    return torch.cat(processes.join(found)).numpy()


def fit_projection(
    model: RecognitionModel, features: NDArray[np.float32], whitening: float = 0.25, shrinkage: float = 0.1
) -> None:
    """Set the embedding's projection to a partly whitened PCA of features; see `whitened_projection`."""
    mean, matrix = whitened_projection(features, model.dim, whitening, shrinkage)
    with torch.no_grad():
        model.projection.mean.copy_(torch.from_numpy(mean))
        model.projection.matrix.copy_(torch.from_numpy(matrix))


def whitened_projection(
    features: NDArray[np.float32], dim: int, whitening: float = 0.25, shrinkage: float = 0.1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find a partly whitened PCA of features.

    Centred, so that what all photos share does not count; each direction is divided by its variance to the
    power `whitening` (1/2 would be full whitening). The variances are shrunk towards their mean (Ledoit and
    Wolf 2004), so that directions which few photos leave empty are not blown up; where there are fewer photos
    than dimensions the basis is completed by directions of the null space and stays orthogonal.

    Args:
        features: float32 [photos, feature_dim] of training photos, at least one.
        dim: Directions to keep.
        whitening: Power of the variance, 0 for a plain PCA.
        shrinkage: Weight of the mean variance, in [0, 1].

    Returns:
        The mean [feature_dim] and the matrix [feature_dim, dim].
    """
    mean = features.mean(0, dtype=np.float64)
    centred = features - mean
    variance, basis = np.linalg.eigh(centred.T @ centred / len(features))
    variance, basis = variance[::-1], basis[:, ::-1]
    shrunk = (1 - shrinkage) * np.maximum(variance, 0) + shrinkage * max(float(variance.mean()), 1e-12)
    scale = (shrunk / shrunk[0]) ** -whitening
    return mean, np.ascontiguousarray((basis * scale)[:, :dim])


def nearest_recall(
    model: RecognitionModel,
    queries: Sequence[LabelledImage],
    gallery: Sequence[LabelledImage],
    gallery_features: NDArray[np.float32],
    spec: InputSpec,
    processes: Processes | None = None,
) -> float:
    """Give recall@1 by embedding: how often the nearest gallery photo has one of the query's labels.

    Args:
        model: With its projection set.
        queries: The photos asked for.
        gallery: The photos searched.
        gallery_features: float32 [gallery, feature_dim].
        spec: Size and crop.
        processes: As of `extract_features`.
    """
    features = extract_features(model, queries, spec, processes=processes)
    with torch.inference_mode():
        known = model.projection(torch.from_numpy(gallery_features))
        asked = model.projection(torch.from_numpy(features))
    nearest = (asked @ known.T).argmax(1).tolist()
    hits = [_alike(gallery[row], query) for row, query in zip(nearest, queries, strict=True)]
    return float(np.mean(hits))


def _alike(found: LabelledImage, query: LabelledImage) -> bool:
    return found.names == query.names or not set(found.names).isdisjoint(query.names)


def some_of(images: Sequence[LabelledImage], most: int, seed: int) -> list[LabelledImage]:
    """Give all photos, or `most` of them at random, in order."""
    if len(images) <= most:
        return list(images)
    return [images[row] for row in sorted(random.Random(seed).sample(range(len(images)), most))]
