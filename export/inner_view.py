"""What a trained net makes of a photo: Grad-CAM, the first layer's filters, feature maps. Needs torch.

Grad-CAM: Selvaraju et al. (2017), "Visual explanations from deep networks via gradient-based localization". Three lines
here and not a library's, since trunks give their maps channels first (convolutional nets) or last (Swin).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sightline.models import RecognitionModel
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import Image


@dataclass(frozen=True, slots=True, eq=False)
class ClassMap:
    """Where a class is seen.

    Attributes:
        layer: The layer looked at.
        heat: float32, shape (rows, columns) of that layer, 0 to 1.
        column: The class.
        probabilities: float32, shape (classes,), of the photo.
    """

    layer: str
    heat: NDArray[np.float32]
    column: int
    probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LayerMaps:
    """What a layer makes of a photo: float32, shape (channels, rows, columns)."""

    layer: str
    maps: NDArray[np.float32]


def class_map(model: RecognitionModel, image: Image, column: int | None = None) -> ClassMap:
    """Map what speaks for a class, by Grad-CAM at the last layer with a place.

    Args:
        model: In evaluation mode.
        image: A prepared input, uint8, shape (height, width, 3), RGB.
        column: The class; None takes the answer.

    Raises:
        InputError: The net has no layer with a place (a plain vision transformer).
    """
    with _recorded(model) as outputs:
        logits = model(_batch(image))[0]
    layer, activation = _last(outputs)
    chosen = int(logits[0].argmax()) if column is None else column
    (gradient,) = torch.autograd.grad(logits[0, chosen], activation)
    maps, slopes = _channels_first(activation)[0], _channels_first(gradient)[0]
    heat = (slopes.mean(dim=(1, 2), keepdim=True) * maps).sum(dim=0).clamp_min(0).detach()
    heat = heat / heat.max().clamp_min(1e-12)
    return ClassMap(layer, heat.numpy(), chosen, logits[0].detach().softmax(0).numpy())


def feature_maps(model: RecognitionModel, image: Image) -> list[LayerMaps]:
    """Give what the first, a middle and the last layer with a place make of a photo.

    Raises:
        InputError: The net has no layer with a place.
    """
    with _recorded(model) as outputs, torch.no_grad():
        model(_batch(image))
    _last(outputs)
    # One layer for each size on the way down: what was last made at it.
    sizes = {_channels_first(output).shape[2]: (name, output) for name, output in outputs}
    found = list(sizes.values())
    chosen = dict.fromkeys((0, len(found) // 2, len(found) - 1))
    return [LayerMaps(found[one][0], _channels_first(found[one][1])[0].detach().numpy()) for one in chosen]


def first_filters(model: RecognitionModel) -> LayerMaps:
    """Give the first convolution's weights as colour pictures: float32 (filters, rows, columns, 3), RGB.

    Raises:
        InputError: The net does not begin with a convolution of colours.
    """
    for name, module in model.trunk.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != 3:
                break
            return LayerMaps(name, module.weight.detach().permute(0, 2, 3, 1).float().numpy())
    raise InputError("the net does not begin with a convolution of red, green and blue: it has no filters to draw")


@contextmanager
def _recorded(model: RecognitionModel) -> Iterator[list[tuple[str, Tensor]]]:
    """Note the output of every module of the trunk that has a place, in the order they are made."""
    outputs: list[tuple[str, Tensor]] = []

    def note(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and min(_channels_first(output).shape[2:]) > 1:
            outputs.append((name, output))

    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: note(name, output))
        for name, module in model.trunk.named_modules()
        if name
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _last(outputs: list[tuple[str, Tensor]]) -> tuple[str, Tensor]:
    if not outputs:
        raise InputError("the net keeps no map of the photo (a vision transformer): --method occlusion asks its bundle")
    return outputs[-1]


def _channels_first(output: Tensor) -> Tensor:
    # Square inputs give square maps, so the odd one out of the three sizes is the channels'.
    last = output.shape[1] == output.shape[2] != output.shape[3]
    return output.permute(0, 3, 1, 2) if last else output


def _batch(image: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image[None]))
