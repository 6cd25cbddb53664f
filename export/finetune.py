"""Fine-tuning: the steps, their pace, and the averaged model that is kept.

The schedule runs on `progress` from 0 to 1. With a fixed number of epochs progress counts steps, and the same
seed gives the same model; with a time budget it follows the clock, so that the learning rate reaches zero
when the time is up, whatever the machine does meanwhile.
"""

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sightline.models import RecognitionModel
from sightline.runtime.preprocess import Image
from sightline.runtime.reporter import Task

from .augment import augment
from .evaluator import autocast
from .negatives import destroy, evenness_loss
from .photos import PhotoCache, ahead
from .recipe import Recipe


class Pace:
    """How far training has come, by steps, by the clock, or by whichever is ahead."""

    def __init__(self, steps: int | None, seconds: float | None, spent: float = 0.0) -> None:
        self._steps = steps
        self._seconds = seconds
        self._start = time.monotonic() - spent

    def spent(self) -> float:
        """Seconds of fine-tuning so far, earlier interrupted ones included."""
        return time.monotonic() - self._start

    def progress(self, step: int) -> float:
        """Give the part done in [0, 1] before the given step."""
        by_step = step / self._steps if self._steps else 0.0
        by_time = self.spent() / self._seconds if self._seconds else 0.0
        return min(1.0, max(by_step, by_time))

    def by_steps(self, step: int) -> bool:
        """Say whether all steps were done, so that the clock did not cut the schedule short."""
        return self._steps is not None and step >= self._steps


@dataclass(frozen=True, slots=True)
class _Job:
    rows: NDArray[np.int64]
    size: int


class FineTuner:
    """Trains a model and a running average of it, epoch by epoch.

    Attributes:
        model: What the optimizer moves.
        average: The running average of its weights and statistics: what is evaluated and kept.
        step: Optimizer steps so far.
        progress: Part of the schedule done.
    """

    def __init__(
        self,
        model: RecognitionModel,
        photos: Sequence[Path],
        targets: Sequence[int],
        cache: PhotoCache,
        recipe: Recipe,
        image_size: int,
        precision: torch.dtype,
        seed: int,
    ) -> None:
        self.model = model
        self.average = copy.deepcopy(model).eval()
        self.step = 0
        self.progress = 0.0
        self._photos, self._targets, self._cache = photos, np.asarray(targets, np.int64), cache
        self._recipe, self._image_size, self._precision, self._seed = recipe, image_size, precision, seed
        self._device = next(model.parameters()).device
        self._augmentation = recipe.augmentation()
        self._mixing = np.random.default_rng(seed)
        self._frozen = freeze_front(model, recipe.frozen_share)
        self._optimizer = _optimizer(model, recipe)

    def run_epoch(self, epoch: int, pace: Pace, task: Task) -> tuple[float, float]:
        """Pass over the training photos once, or until progress is complete.

        Returns:
            Mean loss and top-1 on the augmented pictures.
        """
        torch.manual_seed(self._seed * 100_003 + epoch)  # what a resumed run draws is what it would have drawn
        self._mixing = np.random.default_rng((self._seed, epoch, len(self._photos)))
        self.model.train()
        for block in self._frozen:
            block.eval()
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._photos))
        sums = np.zeros(3)
        jobs = self._jobs(order, pace)
        for job, batch in ahead(lambda job: (job, self._pictures(job, epoch)), jobs):
            progress = pace.progress(self.step)
            if progress >= 1.0:
                break
            loss, hits = self._train_step(batch, self._targets[job.rows], progress)
            sums += (loss * len(batch), hits, len(batch))
            task.advance(100 * (progress - self.progress), f"epoch {epoch}, loss {sums[0] / sums[2]:.2f}")
            self._follow(progress - self.progress)
            self.progress, self.step = progress, self.step + 1
        self.progress = pace.progress(self.step)
        count = max(1.0, sums[2])
        return float(sums[0] / count), float(sums[1] / count)

    def state(self) -> dict[str, object]:
        """Give all that `load` needs to go on, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "progress": self.progress,
        }

    def load(self, state: Mapping[str, object]) -> None:
        """Go on from what `state` gave."""
        self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
        self.average.load_state_dict(state["average"])  # type: ignore[arg-type]
        self._optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
        self.step = int(state["step"])  # type: ignore[call-overload]
        self.progress = float(state["progress"])  # type: ignore[arg-type]

    def size(self, progress: float) -> int:
        """Give the height and width of training pictures at `progress`."""
        return self._recipe.size_at(progress, self._image_size)

    @property
    def lr(self) -> float:
        """The learning rate of the trunk now."""
        return self._recipe.lr * self._recipe.lr_at(self.progress)

    def _jobs(self, order: NDArray[np.int64], pace: Pace) -> Iterator[_Job]:
        step = self.step
        for number, start in enumerate(range(0, len(order), self._recipe.batch_size)):
            rows = order[start : start + self._recipe.batch_size]
            # Batch norm cannot learn from a single picture.
            if len(rows) > 1:
                yield _Job(rows, self.size(pace.progress(step + number)))

    def _pictures(self, job: _Job, epoch: int) -> Image:
        batch = np.empty((len(job.rows), job.size, job.size, 3), np.uint8)
        for place, row in enumerate(job.rows):
            # A generator a picture: the same picture whichever thread draws it, and after a resume.
            rng = np.random.default_rng((self._seed, epoch, int(row)))
            batch[place] = augment(self._cache.read(self._photos[row]), job.size, self._augmentation, rng)
        return batch

    def _train_step(self, batch: Image, targets: NDArray[np.int64], progress: float) -> tuple[float, float]:
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * self._recipe.lr_at(progress)
        images = torch.from_numpy(batch).to(self._device)
        wanted = torch.as_tensor(targets, device=self._device)
        kept, partner = 1.0, torch.arange(len(batch))
        if self._recipe.cut_mix > 0 and self._mixing.random() < self._recipe.cut_mix:
            partner = torch.as_tensor(self._mixing.permutation(len(batch)))
            images, kept = cut_mix(images, partner, self._mixing)
        count = round(self._recipe.negatives * len(batch))
        shown = torch.cat([images, destroy(images, count, self._mixing)]) if count else images
        with autocast(self._device, self._precision):
            every = self.model.classifier(self.model.features(shown)).float()
        logits = every[: len(batch)]
        smooth = self._recipe.label_smoothing
        loss = kept * nn.functional.cross_entropy(logits, wanted, label_smoothing=smooth)
        if kept < 1.0:
            other = nn.functional.cross_entropy(logits, wanted[partner], label_smoothing=smooth)
            loss = loss + (1 - kept) * other
        if count:
            loss = loss + self._recipe.negatives * evenness_loss(every[len(batch) :])
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self._recipe.clip)
        self._optimizer.step()
        return float(loss.detach()), float((logits.argmax(1) == wanted).sum())

    @torch.no_grad()
    def _follow(self, progress_step: float) -> None:
        share = min(1.0, max(progress_step / self._recipe.average_share, 1e-4))
        own, other = self.average.state_dict(), self.model.state_dict()
        floats = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floats], [other[name] for name in floats], share)


def steps_an_epoch(photos: int, batch_size: int) -> int:
    """Count the steps of one epoch: a last batch of one photo is left out."""
    return photos // batch_size + int(photos % batch_size > 1)


def cut_mix(images: Tensor, partner: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Replace a random rectangle of each picture by that of its partner (Yun et al. 2019, CutMix).

    Args:
        images: uint8 [batch, height, width, 3].
        partner: int64 [batch], the row each picture is mixed with.
        rng: Where chance comes from.

    Returns:
        The mixed pictures, and the part of each picture that is its own, in (0, 1].
    """
    height, width = images.shape[1:3]
    side = math.sqrt(rng.uniform(0.0, 0.5))
    rows, columns = round(side * height), round(side * width)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    mixed = images.clone()
    box = (slice(None), slice(top, top + rows), slice(left, left + columns))
    mixed[box] = images[partner][box]
    return mixed, 1.0 - rows * columns / (height * width)


def freeze_front(model: RecognitionModel, share: float) -> list[nn.Module]:
    """Keep the first blocks of the trunk as they are; what they compute then needs no gradient.

    Returns:
        The frozen blocks, to be kept in evaluation mode.
    """
    blocks = model.architecture.blocks(model.trunk)
    frozen = list(blocks[: math.floor(share * len(blocks) + 0.5)])
    for block in frozen:
        block.requires_grad_(False)
    return frozen


def _optimizer(model: RecognitionModel, recipe: Recipe) -> torch.optim.Optimizer:
    groups: list[dict[str, object]] = []
    for part, peak in ((model.trunk, recipe.lr), (model.classifier, recipe.lr * recipe.head_lr_factor)):
        learned = [value for value in part.parameters() if value.requires_grad]
        # Biases and batch norm have one dimension; decaying them only hurts (He et al. 2019, bag of tricks).
        for decay, flat in ((recipe.weight_decay, False), (0.0, True)):
            chosen = [value for value in learned if (value.ndim == 1) == flat]
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "peak": peak, "lr": 0.0})
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True, foreach=True)
