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
from .distill import Teacher
from .losses import Targets, count_hits
from .metric_learning import PER_CLASS
from .mixing import cut_mix, make_policy, mix_up
from .negatives import destroy
from .objective import Objective
from .optimizers import make_optimizer
from .photos import Brake, PhotoCache, ahead
from .processes import Processes
from .recipe import Recipe
from .sampling import epoch_order, grouped_order


class Pace:
    """How far training has come, by steps, by the clock, or by whichever is ahead."""

    def __init__(
        self, steps: int | None, seconds: float | None, spent: float = 0.0, processes: Processes | None = None
    ) -> None:
        self._steps = steps
        self._processes = processes or Processes()
        self._seconds = seconds
        self._start = time.monotonic() - spent
        self._by_time = spent / seconds if seconds else 0.0

    def spent(self) -> float:
        """Seconds of fine-tuning so far, earlier interrupted ones included."""
        return time.monotonic() - self._start

    def progress(self, step: int) -> float:
        """Give the part done in [0, 1] before the given step."""
        if self._seconds:
            # Clocks differ: the first process's counts.
            self._by_time = self._processes.agree(self.spent()) / self._seconds
        return self.planned(step)

    def planned(self, step: int) -> float:
        """As `progress`, by the clock as it was then: batches made ahead ask without waiting for other processes."""
        by_step = step / self._steps if self._steps else 0.0
        return min(1.0, max(by_step, self._by_time))

    def by_steps(self, step: int) -> bool:
        """Say whether all steps were done, so that the clock did not cut the schedule short."""
        return self._steps is not None and step >= self._steps


@dataclass(frozen=True, slots=True)
class _Job:
    """One step: this process's rows, how many all processes have, and the size of the pictures."""

    rows: NDArray[np.int64]
    whole: int
    size: int


class FineTuner:
    """Trains a model and a running average of it, epoch by epoch.

    Attributes:
        model: What the optimizer moves.
        average: The running average of its weights and statistics: what is evaluated and kept.
        step: Optimizer steps so far.
        progress: Part of the schedule done.
        speed: How fast the last epoch was, and what it waited for, in words.
    """

    def __init__(
        self,
        model: RecognitionModel,
        photos: Sequence[Path],
        targets: Targets,
        cache: PhotoCache,
        recipe: Recipe,
        image_size: int,
        precision: torch.dtype,
        seed: int,
        teacher: Teacher | None = None,
        metric: bool = False,
        processes: Processes | None = None,
    ) -> None:
        self.model = model
        self.step = 0
        self.progress = 0.0
        self.speed = ""
        self._processes = processes or Processes()
        self._photos, self._targets, self._cache = photos, targets, cache
        self._recipe, self._image_size, self._seed = recipe, image_size, seed
        self._device = next(model.parameters()).device
        self._augmentation = recipe.augmentation()
        self._mixing = np.random.default_rng(seed)
        self._frozen = freeze_front(model, recipe.frozen_share)
        self._policy = make_policy(recipe.augment)
        objective = Objective(model, recipe, targets, precision, teacher, metric)
        self._metric = objective.metric
        further = [model.projection.matrix, *self._metric.parameters()] if self._metric else []
        self._optimizer = make_optimizer(model, recipe, further)
        self._scaler = torch.GradScaler(self._device.type, enabled=precision == torch.float16)
        # Takes the first process's weights, so the average is made after it.
        self._objective = self._processes.wrap(objective)
        self.average = copy.deepcopy(model).eval()

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
        order = self._order(np.random.default_rng((self._seed, epoch)))
        sums = np.zeros(3)
        jobs = self._jobs(order, pace)
        brake = Brake()
        for job, batch in brake.watch(ahead(lambda job: (job, self._pictures(job, epoch)), jobs)):
            if self._processes.stopping():
                raise KeyboardInterrupt
            progress = pace.progress(self.step)
            if progress >= 1.0:
                break
            loss, hits = self._train_step(batch, job, progress)
            sums += (loss * len(batch), hits, len(batch))
            brake.pictures += job.whole
            note = f"epoch {epoch}, loss {sums[0] / sums[2]:.2f}, {brake}"
            task.advance(100 * (progress - self.progress), note)
            self._follow(progress - self.progress)
            self.progress, self.step = progress, self.step + 1
        self.progress, self.speed = pace.progress(self.step), str(brake)
        sums = self._processes.sum(sums)
        count = max(1.0, sums[2])
        return float(sums[0] / count), float(sums[1] / count)

    def state(self) -> dict[str, object]:
        """Give all that `load` needs to go on, as tensors and plain values."""
        metric = {"metric": self._metric.state_dict()} if self._metric else {}
        return {
            **metric,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "step": self.step,
            "progress": self.progress,
        }

    def load(self, state: Mapping[str, object]) -> None:
        """Go on from what `state` gave."""
        self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
        self.average.load_state_dict(state["average"])  # type: ignore[arg-type]
        self._optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
        self._scaler.load_state_dict(state["scaler"])  # type: ignore[arg-type]
        if self._metric:
            self._metric.load_state_dict(state["metric"])  # type: ignore[arg-type]
        self.step = int(state["step"])  # type: ignore[call-overload]
        self.progress = float(state["progress"])  # type: ignore[arg-type]

    def size(self, progress: float) -> int:
        """Give the height and width of training pictures at `progress`."""
        return self._recipe.size_at(progress, self._image_size)

    @property
    def lr(self) -> float:
        """The learning rate of the trunk now."""
        return self._recipe.lr * self._recipe.lr_at(self.progress)

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        if self._metric:
            return grouped_order(np.asarray(self._targets, np.int64), PER_CLASS, rng)
        return epoch_order(self._targets, self.model.classes, self._recipe.sampling, rng)

    def _jobs(self, order: NDArray[np.int64], pace: Pace) -> Iterator[_Job]:
        step = self.step
        for number, start in enumerate(range(0, len(order), self._recipe.batch_size)):
            rows = order[start : start + self._recipe.batch_size]
            if len(rows) >= least_photos(self._processes):
                yield _Job(self._processes.share(rows), len(rows), self.size(pace.planned(step + number)))

    def _pictures(self, job: _Job, epoch: int) -> Image:
        batch = np.empty((len(job.rows), job.size, job.size, 3), np.uint8)
        for place, row in enumerate(job.rows):
            # A generator a picture: the same picture whichever thread draws it, and after a resume.
            rng = np.random.default_rng((self._seed, epoch, int(row)))
            batch[place] = augment(self._cache.read(self._photos[row]), job.size, self._augmentation, rng)
        return batch

    def _train_step(self, batch: Image, job: _Job, progress: float) -> tuple[float, float]:
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * self._recipe.lr_at(progress)
        images = torch.from_numpy(batch).to(self._device)
        wanted = torch.as_tensor(self._targets[job.rows], device=self._device)
        if self._policy:
            images = self._policy(images)
        images, partner, kept = self._mixed(images)
        count = round(self._recipe.negatives * len(batch))
        shown = torch.cat([images, destroy(images, count, self._mixing)]) if count else images
        loss, logits = self._objective(shown, wanted, partner, kept)
        self._optimizer.zero_grad()
        # Gradients are averaged over the processes, whose parts of the last batch need not have one size.
        self._scaler.scale(loss * (len(batch) * self._processes.count / job.whole)).backward()
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self._recipe.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return float(loss.detach()), count_hits(logits, wanted)

    def _mixed(self, images: Tensor) -> tuple[Tensor, Tensor, float]:
        """Mix pictures in pairs in some of the steps; gives them, their partners and what is kept of each."""
        partner = torch.arange(len(images))
        for share, mix in ((self._recipe.cut_mix, cut_mix), (self._recipe.mix_up, mix_up)):
            if share > 0 and self._mixing.random() < share:
                partner = torch.as_tensor(self._mixing.permutation(len(images)))
                mixed, kept = mix(images, partner, self._mixing)
                return mixed, partner, kept
        return images, partner, 1.0

    @torch.no_grad()
    def _follow(self, progress_step: float) -> None:
        share = min(1.0, max(progress_step / self._recipe.average_share, 1e-4))
        own, other = self.average.state_dict(), self.model.state_dict()
        floats = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floats], [other[name] for name in floats], share)


def least_photos(processes: Processes) -> int:
    """Give the fewest photos that a step can be made of.

    Batch norm cannot learn from a single picture, and every process needs one.
    """
    return max(2, processes.count)


def steps_an_epoch(photos: int, batch_size: int, processes: Processes) -> int:
    """Count the steps of one epoch: a last batch of too few photos is left out."""
    return photos // batch_size + int(photos % batch_size >= least_photos(processes))


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
