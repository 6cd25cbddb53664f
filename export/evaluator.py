"""Evaluation during training: the same photos, prepared once as the device prepares them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sightline.models import RecognitionModel
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.preprocess import Image, InputSpec

from .photos import prepared

_BATCH = 64
# Inputs above this size are prepared anew for each evaluation.
_KEEP_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Score:
    """Cross entropy and share of right first answers."""

    loss: float
    top1: float


class Evaluator:
    """Measures a model on photos set apart."""

    def __init__(self, images: Sequence[LabelledImage], targets: Sequence[int], spec: InputSpec) -> None:
        self._paths = [image.path for image in images]
        self._spec = spec
        self.targets: NDArray[np.int64] = np.asarray(targets, np.int64)
        size = len(images) * spec.height * spec.width * 3
        self._kept = list(prepared(self._paths, spec, _BATCH)) if size <= _KEEP_BYTES else None

    def score(self, model: RecognitionModel, precision: torch.dtype) -> Score:
        """Give loss and top-1 of a model in evaluation mode."""
        logits = torch.from_numpy(self.logits(model, precision))
        targets = torch.from_numpy(self.targets)
        loss = nn.functional.cross_entropy(logits, targets)
        return Score(float(loss), float((logits.argmax(1) == targets).float().mean()))

    def logits(self, model: RecognitionModel, precision: torch.dtype) -> NDArray[np.float32]:
        """Give float32 [photos, classes]."""
        found: list[NDArray[np.float32]] = []
        device = next(model.parameters()).device
        model.eval()
        with torch.inference_mode(), autocast(device, precision):
            for batch in self._batches():
                images = torch.from_numpy(batch).to(device)
                found.append(model.classifier(model.features(images)).float().cpu().numpy())
        return np.concatenate(found)

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
