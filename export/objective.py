"""What one training step makes small, as one module: the model and everything that its answers are held against."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sightline.models import RecognitionModel

from .devices import autocast
from .distill import Teacher, distillation_loss, label_distillation_loss
from .losses import make_loss, sum_of_magnitudes
from .metric_learning import MetricLoss
from .negatives import absence_loss, evenness_loss
from .recipe import Recipe
from .regularize import regularize


class Objective(nn.Module):
    """The loss of a batch.

    A module, so that torch's DistributedDataParallel can wrap it: its parameters are all that learns.

    Attributes:
        model: What is trained.
        metric: The loss of the embeddings, where there is one; it may learn directions of its own.
    """

    def __init__(
        self,
        model: RecognitionModel,
        recipe: Recipe,
        targets: NDArray[np.int64] | NDArray[np.float32],
        precision: torch.dtype,
        teacher: Teacher | None = None,
        metric: bool = False,
    ) -> None:
        """Prepare the losses of a recipe.

        Args:
            model: On the device where it is trained; dropout and stochastic depth are set in it.
            recipe: What is made small, and how strongly.
            targets: Of all training photos, see `make_loss`.
            precision: Of the matrix work.
            teacher: A larger net to learn from.
            metric: Whether the embedding is learned beside the classes.
        """
        super().__init__()
        self.model = model
        device = next(model.parameters()).device
        self.metric = MetricLoss(recipe.metric_loss, model.classes, model.dim).to(device) if metric else None
        self._recipe, self._precision, self._teacher, self._device = recipe, precision, teacher, device
        self._dropout = regularize(model, recipe)
        self._loss = make_loss(recipe, targets, model.classes, device)
        several = targets.ndim == 2
        self._taught = label_distillation_loss if several else distillation_loss
        self._none = absence_loss if several else evenness_loss

    def forward(self, shown: Tensor, wanted: Tensor, partner: Tensor, kept: float) -> tuple[Tensor, Tensor]:
        """Give the loss of a batch and its logits.

        Args:
            shown: uint8 [batch + negatives, height, width, 3]; the negatives show no class.
            wanted: Targets of the batch.
            partner: int64 [batch], the row that each picture is mixed with.
            kept: Part of each picture that is its own, in (0, 1].
        """
        recipe, count = self._recipe, len(wanted)
        with autocast(self._device, self._precision):
            features = self.model.features(shown)
            hidden = nn.functional.dropout(features, self._dropout) if self._dropout else features
            every = self.model.classifier(hidden).float()
        logits = every[:count]
        loss = kept * self._loss(logits, wanted)
        if kept < 1.0:
            loss = loss + (1 - kept) * self._loss(logits, wanted[partner])
        if self._teacher:
            taught = self._taught(logits, self._teacher.answer(shown[:count]), recipe.distill_temperature)
            loss = (1 - recipe.distill_weight) * loss + recipe.distill_weight * taught
        # Of a picture that is half another's no class is right.
        if self.metric is not None and kept == 1.0:
            embeddings = self.model.projection(features[:count].float())
            loss = loss + recipe.metric_weight * self.metric(embeddings, wanted)
        if recipe.l1:
            loss = loss + recipe.l1 * sum_of_magnitudes(self.model.parameters())
        if len(every) > count:
            loss = loss + recipe.negatives * self._none(every[count:])
        return loss, logits.detach()
