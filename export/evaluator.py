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
from sightline.runtime.preprocess import Image, InputSpec

from .photos import prepared

_BATCH = 64
# Inputs above this size are prepared anew for each evaluation.
_KEEP_BYTES = 1_000_000_000
# Photos that are looked up among each other after an epoch: their similarities are a square.
_LOOKED_UP = 4000


@dataclass(frozen=True, slots=True)
class Score:
    """Cross entropy and share of right first answers, or recall@1 among the same photos for look-up."""

    loss: float
    top1: float


class Evaluator:
    """Measures a model on photos set apart."""

    def __init__(
        self, images: Sequence[LabelledImage], targets: Sequence[int], spec: InputSpec, look_up: bool = False
    ) -> None:
        self._look_up = look_up
        self._paths = [image.path for image in images]
        self._spec = spec
        self.targets: NDArray[np.int64] = np.asarray(targets, np.int64)
        size = len(images) * spec.height * spec.width * 3
        self._kept = list(prepared(self._paths, spec, _BATCH)) if size <= _KEEP_BYTES else None

    def score(self, model: RecognitionModel, precision: torch.dtype) -> Score:
        """Give loss and top-1 of a model in evaluation mode, or its recall@1 where look-up is what it is for."""
        logits, embeddings = map(torch.from_numpy, self._outputs(model, precision))
        targets = torch.from_numpy(self.targets)
        loss = float(nn.functional.cross_entropy(logits, targets))
        if self._look_up:
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
        return np.concatenate([row[0] for row in found]), np.concatenate([row[1] for row in found])

    def _batches(self) -> Iterable[Image]:
        return self._kept if self._kept is not None else prepared(self._paths, self._spec, _BATCH)


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Give the context in which matrix work runs at `precision`."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def choose_device() -> tuple[torch.device, torch.dtype]:
    """Choose where training runs, and bfloat16 where the processor multiplies it in hardware.

    Asked of the processor and not timed, so that a repeated run takes the same path. On a two-core machine
    with AMX a MobileNetV2 step at 192 px took 0.6 of the float32 time.
    """
    if torch.cuda.is_available():
        return torch.device("cuda"), torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    able = torch.cpu.get_capabilities()
    fast = bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    return torch.device("cpu"), torch.bfloat16 if fast else torch.float32
