"""Learning from photos without labels: SimCLR (Chen et al. 2020, arXiv 2002.05709).

Two pictures are drawn of each photo, and the trunk learns to find the other one among all of the batch. What is
written is the trunk's weights, from which `sightline train --weights FILE` goes on with the labels there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss
from torch import Tensor, nn

from sightline.models import (
    RecognitionModel,
    UnknownArchitectureError,
    WeightsError,
    build_model,
    find_architecture,
    load_weights,
)
from sightline.runtime.dataset import list_images
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import Image
from sightline.runtime.reporter import QuietReporter, Reporter

from .augment import Augmentation, augment
from .devices import autocast, choose_device
from .finetune import Pace
from .optimizers import make_optimizer
from .photos import PhotoCache, ahead
from .recipe import Recipe
from .run import write_tensors

# Crops and light as strong as in the paper; without them the answer is in the colours alone.
_VIEWS = Augmentation(crop_area=0.2, aspect=4 / 3, flip=0.5, colour=0.5, tint=0.2)
_RECIPE = Recipe(optimizer="adamw", lr=1e-3, weight_decay=1e-4, head_lr_factor=1.0, lr_floor=0.0)
_TEMPERATURE = 0.2
_HIDDEN, _DIM = 512, 128
_LEAST_PHOTOS = 4


@dataclass(frozen=True, slots=True)
class PretrainOptions:
    """What the user asked for.

    Attributes:
        photos: A folder, searched to its depths, or one picture.
        out: The file of weights to write.
        arch: A name that `find_architecture` knows.
        weights: What to start from: a file, "imagenet" or "none".
        epochs: Passes over the photos.
        budget_s: Seconds that learning may take; None for no limit.
        image_size: Height and width of the pictures; None for the architecture's.
        batch_size: Photos a step, two pictures of each: the more, the harder the question.
        seed: Of start, order and pictures.
    """

    photos: str
    out: str
    arch: str = "mobilenet_v2"
    weights: str = "none"
    epochs: int = 100
    budget_s: float | None = None
    image_size: int | None = None
    batch_size: int = 128
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What was learned.

    Attributes:
        photos: How many photos.
        steps: Optimizer steps.
        loss: Mean of the last epoch.
        found: Share of pictures of the last epoch whose nearest other one in the batch was of the same photo.
        interrupted: Whether Ctrl-C ended it early.
    """

    photos: int
    steps: int
    loss: float
    found: float
    interrupted: bool


def pretrain(options: PretrainOptions, reporter: Reporter | None = None) -> Pretrained:
    """Learn and write the trunk's weights; after Ctrl-C those that it has then.

    Raises:
        InputError: Photos, architecture or weights cannot be used.
    """
    reporter = reporter or QuietReporter()
    cv2.setNumThreads(1)
    torch.manual_seed(options.seed)
    model, size = _model(options)
    cache = PhotoCache(size)
    photos = _readable(options.photos, cache, reporter)
    learner = _Learner(model, photos, cache, size, options)
    interrupted = False
    try:
        learner.run(options.epochs, options.budget_s, reporter)
    except KeyboardInterrupt:
        reporter.say("stopped: writing the weights so far (Ctrl-C again to leave at once)")
        interrupted = True
    state = {name: value.detach().cpu().contiguous() for name, value in model.trunk.state_dict().items()}
    write_tensors(Path(options.out), state)
    return Pretrained(len(photos), learner.step, learner.loss, learner.found, interrupted)


class _Learner:
    def __init__(
        self, model: RecognitionModel, photos: Sequence[Path], cache: PhotoCache, size: int, options: PretrainOptions
    ) -> None:
        self.step, self.loss, self.found = 0, float("nan"), float("nan")
        self._device, self._precision = choose_device()
        self._model = model.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._projector = nn.Sequential(
            nn.Linear(model.feature_dim, _HIDDEN), nn.ReLU(inplace=True), nn.Linear(_HIDDEN, _DIM)
        ).to(self._device)
        self._optimizer = make_optimizer(model, _RECIPE, list(self._projector.parameters()))
        self._loss = SelfSupervisedLoss(NTXentLoss(_TEMPERATURE))
        self._photos, self._cache, self._size, self._seed = photos, cache, size, options.seed
        self._batch_size = min(options.batch_size, len(photos))

    def run(self, epochs: int, budget_s: float | None, reporter: Reporter) -> None:
        # A last batch that is not full would ask an easier question: it is left out, other photos each time.
        pace = Pace(epochs * (len(self._photos) // self._batch_size), budget_s)
        self._model.train()
        epoch = 0
        with reporter.task("learning without labels", 100) as task:
            while pace.progress(self.step) < 1.0:
                epoch += 1
                before, sums = pace.progress(self.step), np.zeros(3)
                for views in ahead(self._views, self._jobs(epoch)):
                    progress = pace.progress(self.step)
                    if progress >= 1.0:
                        break
                    sums += (*self._learn(torch.from_numpy(views), progress), 1)
                    self.step += 1
                    task.advance(100 * (progress - before), f"loss {sums[0] / sums[2]:.2f}")
                    before = progress
                if sums[2]:
                    self.loss, self.found = float(sums[0] / sums[2]), float(sums[1] / sums[2])
                    reporter.say(f"epoch {epoch:3d}  {before:4.0%}  loss {self.loss:.3f}  found {self.found:.1%}")

    def _jobs(self, epoch: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._photos))
        for start in range(0, len(order) - self._batch_size + 1, self._batch_size):
            yield epoch, order[start : start + self._batch_size]

    def _views(self, job: tuple[int, NDArray[np.int64]]) -> Image:
        epoch, rows = job
        views = np.empty((2, len(rows), self._size, self._size, 3), np.uint8)
        for place, row in enumerate(rows):
            rng, frame = np.random.default_rng((self._seed, epoch, int(row))), self._cache.read(self._photos[row])
            for view in views:
                view[place] = augment(frame, self._size, _VIEWS, rng)
        return views.reshape(-1, *views.shape[2:])

    def _learn(self, views: Tensor, progress: float) -> tuple[float, float]:
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * _RECIPE.lr_at(progress)
        with autocast(self._device, self._precision):
            projected = self._projector(self._model.features(views.to(self._device)))
        first, second = nn.functional.normalize(projected.float(), dim=1).chunk(2)
        loss: Tensor = self._loss(first, second)
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), _RECIPE.clip)
        self._optimizer.step()
        return float(loss.detach()), _found(torch.cat([first, second]).detach())


def _found(embeddings: Tensor) -> float:
    """Give the share of rows whose nearest other row is their pair, half the rows away."""
    cosine = embeddings @ embeddings.T
    cosine.fill_diagonal_(-2.0)
    pair = torch.arange(len(embeddings), device=embeddings.device).roll(len(embeddings) // 2)
    return float((cosine.argmax(1) == pair).float().mean())


def _model(options: PretrainOptions) -> tuple[RecognitionModel, int]:
    if options.epochs < 1 or options.batch_size < 2:
        raise InputError("at least one epoch and two photos a step are needed")
    try:
        size = options.image_size or find_architecture(options.arch).image_size
        model = build_model(options.arch, 2, image_size=size)
        load_weights(model, options.weights)
    except (UnknownArchitectureError, WeightsError) as error:
        raise InputError(str(error)) from error
    return model, size


def _readable(folder: str, cache: PhotoCache, reporter: Reporter) -> list[Path]:
    if not Path(folder).exists():
        raise InputError(f"photos '{folder}' do not exist: expected a folder of pictures")
    good: list[Path] = []
    for path in list_images([folder]):
        try:
            cache.read(path)
            good.append(path)
        except InputError as error:
            reporter.warn(f"left out: {error}")
    if len(good) < _LEAST_PHOTOS:
        raise InputError(f"photos '{folder}': {len(good)} can be read, at least {_LEAST_PHOTOS} are needed")
    return good
