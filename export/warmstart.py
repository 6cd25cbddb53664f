"""A linear head on frozen features: seconds of work that most of the accuracy comes from."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sightline.models import RecognitionModel

from .losses import Targets, count_hits, make_loss
from .recipe import Recipe


def last_linear(model: RecognitionModel) -> nn.Linear:
    """Give the layer that makes the logits."""
    layer = model.classifier[-1] if isinstance(model.classifier, nn.Sequential) else model.classifier
    assert isinstance(layer, nn.Linear)
    return layer


def fit_head(
    model: RecognitionModel,
    features: NDArray[np.float32],
    targets: Targets,
    label_smoothing: float,
    decay: float = 3e-6,
    steps: int = 60,
) -> tuple[float, float]:
    """Set the last layer to the logistic regression of pooled features.

    Args:
        model: Its last layer is changed in place; what lies before stays.
        features: float32 [photos, feature_dim].
        targets: int64 [photos], indices of the logits, or float32 [photos, classes] where a photo has several labels.
        label_smoothing: Of the cross entropy, as in fine-tuning.
        decay: L2 penalty on the weights for features of unit mean square length.
        steps: Most iterations of L-BFGS.

    Returns:
        Loss and top-1 on these photos; of several labels any is right.
    """
    inputs = _hidden(model, torch.from_numpy(features))
    scale = float(inputs.square().sum(1).mean().sqrt()) or 1.0
    inputs, wanted = inputs / scale, torch.from_numpy(targets)
    layer = last_linear(model)
    weight = torch.zeros(layer.weight.shape, requires_grad=True)
    bias = torch.zeros(layer.bias.shape, requires_grad=True)
    recipe = Recipe(loss="bce" if targets.ndim == 2 else "cross-entropy", label_smoothing=label_smoothing)
    measure = make_loss(recipe, targets, model.classes, inputs.device)
    solver = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = measure(inputs @ weight.T + bias, wanted) + decay / 2 * weight.square().sum()
        value.backward()
        return value

    solver.step(loss)
    with torch.no_grad():
        layer.weight.copy_(weight / scale)
        layer.bias.copy_(bias)
        hits = count_hits(inputs @ weight.T + bias, wanted)
    return float(loss().detach()), hits / len(wanted)


def _hidden(model: RecognitionModel, features: Tensor) -> Tensor:
    if not isinstance(model.classifier, nn.Sequential):
        return features
    device = next(model.parameters()).device
    mode = model.classifier.training
    model.classifier.eval()
    with torch.no_grad():
        hidden: Tensor = model.classifier[:-1](features.to(device)).cpu()
    model.classifier.train(mode)
    return hidden
