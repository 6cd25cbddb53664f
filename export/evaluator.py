"""Evaluation during training: the same photos, prepared once as the device prepares them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sightline.models import RecognitionModel
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.evaluation import leave_one_out
from sightline.runtime.manifest import EMBEDDING, SINGLE_LABEL
from sightline.runtime.preprocess import Image, InputSpec
from sightline.runtime.ranking import mean_label_precision

from .devices import autocast
from .losses import Targets, make_loss
from .photos import batches, prepared
from .processes import Processes
from .recipe import Recipe

_BATCH = 64
# Inputs above this size are prepared anew for each evaluation.
_KEEP_BYTES = 1_000_000_000
# Photos that are looked up among each other after an epoch: their similarities are a square.
_LOOKED_UP = 4000
_PLAIN = Recipe(loss="bce", label_smoothing=0.0)


@dataclass(frozen=True, slots=True)
class Score:
    """Log loss and what the task is judged by.

    Attributes:
        loss: Cross entropy; binary and summed over the labels where a photo has several.
        top1: Share of right first answers; recall@1 among the same photos for look-up; mean average precision where
            a photo has several labels.
    """

    loss: float
    top1: float


class Evaluator:
    """Measures a model on photos set apart."""

    def __init__(
        self,
        images: Sequence[LabelledImage],
        targets: Targets,
        spec: InputSpec,
        task: str = SINGLE_LABEL,
        processes: Processes | None = None,
    ) -> None:
        """Prepare photos, of several processes each its part."""
        self._task, self._spec, self.targets = task, spec, targets
        self._processes = processes or Processes()
        parts = self._processes.part(batches([image.path for image in images], _BATCH))
        self._paths = [path for part in parts for path in part]
        size = len(images) * spec.height * spec.width * 3
        self._kept = list(prepared(self._paths, spec, _BATCH)) if size <= _KEEP_BYTES else None

    def score(self, model: RecognitionModel, precision: torch.dtype) -> Score:
        """Give loss and figure of a model in evaluation mode."""
        logits, embeddings = map(torch.from_numpy, self._outputs(model, precision))
        targets = torch.from_numpy(self.targets)
        if targets.ndim == 2:
            loss = float(make_loss(_PLAIN, self.targets, logits.shape[1], logits.device)(logits, targets))
            return Score(loss, float(np.nan_to_num(mean_label_precision(logits.numpy(), self.targets > 0.5))))
        loss = float(nn.functional.cross_entropy(logits, targets))
        if self._task == EMBEDDING:
            rows = slice(None, None, -(-len(targets) // _LOOKED_UP))
            found = leave_one_out(embeddings[rows].numpy(), [str(target) for target in self.targets[rows]])
            if found is not None:
                return Score(loss, found.recall_at_1)
        return Score(loss, float((logits.argmax(1) == targets).float().mean()))

    def logits(self, model: RecognitionModel, precision: torch.dtype) -> NDArray[np.float32]:
        """Give float32 [photos, classes]."""
        return self._outputs(model, precision)[0]

    def _outputs(
        self, model: RecognitionModel, precision: torch.dtype
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        found: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        device = next(model.parameters()).device
        model.eval()
        with torch.inference_mode(), autocast(device, precision):
            for batch in self._batches():
                features = model.features(torch.from_numpy(batch).to(device))
                logits = model.classifier(features).float().cpu().numpy()
                found.append((logits, model.projection(features.float()).float().cpu().numpy()))
        found = self._processes.join(found)
        return np.concatenate([row[0] for row in found]), np.concatenate([row[1] for row in found])

    def _batches(self) -> Iterable[Image]:
        return self._kept if self._kept is not None else prepared(self._paths, self._spec, _BATCH)
