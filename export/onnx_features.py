"""Pooled features through ONNX Runtime: what frozen layers say of photos, sooner than torch says it.

The trunk is exported once and held against torch on a few photos; then every worker prepares and runs whole photos in
a session of one thread, as `runtime.bulk` does for devices.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sightline.models import RecognitionModel
from sightline.runtime.bulk import in_order
from sightline.runtime.cores import usable_cores
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.preprocess import Image, InputSpec, prepare, read_image
from sightline.runtime.reporter import Reporter
from sightline.runtime.session import Interface, Session, open_session

from .onnx_graph import INPUT_NAME, trace_onnx

# Largest difference from torch, in parts of the largest feature, on the photos that both are asked. Measured 1e-6.
TOLERANCE = 1e-4
_ASKED = 4
_FEATURES = Interface((INPUT_NAME,), ("features",))


class _Trunk(nn.Module):
    def __init__(self, model: RecognitionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.features(image)


def features_by_onnx(
    model: RecognitionModel, images: Sequence[LabelledImage], spec: InputSpec, reporter: Reporter
) -> NDArray[np.float32] | None:
    """Run photos through the trunk.

    Args:
        model: On the CPU, in evaluation mode.
        images: The photos, readable.
        spec: Size and crop.
        reporter: Where progress goes.

    Returns:
        float32 [photos, feature_dim], within `TOLERANCE` of torch's; None where the trunk cannot be exported or answers
        otherwise.
    """
    session = _agreeing(model, np.concatenate([_prepared(image, spec) for image in images[:_ASKED]]), spec)
    if session is None:
        return None

    def features(image: LabelledImage) -> NDArray[np.float32]:
        return _run(session, _prepared(image, spec))[0]  # type: ignore[no-any-return]

    found = []
    with reporter.task("features", len(images)) as task:
        for row in in_order(features, images, usable_cores(most=None)):
            found.append(row)
            task.advance()
    return np.stack(found)


def _agreeing(model: RecognitionModel, batch: Image, spec: InputSpec) -> Session | None:
    """Export the trunk; None where that fails, or where it says otherwise than torch of a batch."""
    with torch.inference_mode():
        expected = model.features(torch.from_numpy(batch)).numpy()
    try:
        session = open_session(trace_onnx(_Trunk(model).eval(), spec, _FEATURES.outputs), "cpu", 1, _FEATURES)
        found = _run(session, batch)
    except Exception:  # the exporter and ONNX Runtime fail in ways no list foresees; torch does it all then
        return None
    return session if np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max() else None


def _prepared(image: LabelledImage, spec: InputSpec) -> Image:
    return prepare(read_image(image.path), spec)[None]


def _run(session: Session, images: Image) -> NDArray[np.float32]:
    (features,) = session.fetch({INPUT_NAME: images})
    return features
