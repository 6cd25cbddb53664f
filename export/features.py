"""Pooled features of photos, and the embedding's projection fitted to them."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.models import RecognitionModel
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.reporter import QuietReporter, Reporter

from .photos import prepared

_BATCH = 64


def extract_features(
    model: RecognitionModel,
    images: Sequence[LabelledImage],
    spec: InputSpec,
    reporter: Reporter | None = None,
    precision: torch.dtype = torch.float32,
) -> NDArray[np.float32]:
    """Run photos through the trunk exactly as the device prepares them.

    Args:
        model: Its mode is evaluation during the call.
        images: The photos, readable.
        spec: Size and crop.
        reporter: Where progress goes.
        precision: torch.bfloat16 for speed where the processor has it.

    Returns:
        float32 [photos, feature_dim].
    """
    reporter = reporter or QuietReporter()
    device = next(model.parameters()).device
    found: list[Tensor] = []
    mode = model.training
    model.eval()
    with reporter.task("features", len(images)) as task, torch.inference_mode():
        for batch in prepared([image.path for image in images], spec, _BATCH):
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                pooled = model.features(torch.from_numpy(batch).to(device))
            found.append(pooled.float().cpu())
            task.advance(len(batch))
    model.train(mode)
    return torch.cat(found).numpy()
