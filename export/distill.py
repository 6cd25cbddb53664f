"""Learning from a larger net: the student is drawn to the teacher's whole answer, not to the label alone."""

import torch
from torch import Tensor, nn

from sightline.models import RecognitionModel
from sightline.runtime.errors import InputError
from sightline.runtime.manifest import MULTI_LABEL

from .devices import autocast
from .run import load_run


class Teacher:
    """A finished run that answers the student's training pictures."""

    def __init__(self, model: RecognitionModel, size: int | None, device: torch.device, precision: torch.dtype) -> None:
        """Take a model; `size` is the only input size it takes, pixels, where there is only one."""
        self._model = model.eval().requires_grad_(False).to(device)
        self._size, self._device, self._precision = size, device, precision

    @torch.no_grad()
    def answer(self, images: Tensor) -> Tensor:
        """Give logits float32 [batch, classes] of uint8 pictures [batch, height, width, 3]."""
        if self._size is not None and images.shape[1] != self._size:
            planes = images.permute(0, 3, 1, 2).float()
            resized = nn.functional.interpolate(planes, size=(self._size, self._size), mode="bilinear")
            images = resized.permute(0, 2, 3, 1).round().to(torch.uint8)
        with autocast(self._device, self._precision):
            logits: Tensor = self._model.classifier(self._model.features(images))
        return logits.float()


def load_teacher(
    path: str,
    labels: tuple[str, ...],
    device: torch.device,
    precision: torch.dtype = torch.float32,
    several: bool = False,
) -> Teacher:
    """Load a finished run as teacher; `several` says whether a photo may have more than one label.

    Raises:
        InputError: It is no finished run, or knows other labels than the student learns.
    """
    run = load_run(path)
    if (run.details.task == MULTI_LABEL) != several:
        raise InputError(f"teacher '{path}' was trained for the task '{run.details.task}': train it for the same task")
    if run.labels != labels:
        strange = sorted(set(run.labels) ^ set(labels))
        raise InputError(
            f"teacher '{path}' knows {len(run.labels)} labels and the photos have {len(labels)} ('{strange[0]}' is in "
            f"one of them only): train the teacher on the same data"
        )
    size = run.spec.height if run.model.architecture.fixed else None
    return Teacher(run.model, size, device, precision)


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence between softened answers, scaled so that its gradient keeps its size (Hinton et al. 2015).

    Args:
        student: Logits [batch, classes].
        teacher: Logits of the same pictures.
        temperature: Divides both; above 1 the small probabilities count.
    """
    wanted = nn.functional.log_softmax(teacher / temperature, dim=1)
    came = nn.functional.log_softmax(student / temperature, dim=1)
    return nn.functional.kl_div(came, wanted, reduction="batchmean", log_target=True) * temperature**2


def label_distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The same where a photo has several labels: divergence of each label's yes or no, summed over the labels."""
    wanted, came = (teacher / temperature).sigmoid(), student / temperature
    binary = nn.functional.binary_cross_entropy_with_logits
    # The teacher's own doubt is no error of the student.
    excess = binary(came, wanted, reduction="none") - binary(teacher / temperature, wanted, reduction="none")
    return excess.sum(1).mean() * temperature**2
