"""Chance inside the net: how often features and blocks are left out while it learns."""

from torch import nn

from sightline.models import RecognitionModel, operators  # noqa: F401  (must come before torchvision)
from sightline.runtime.errors import InputError

from .recipe import Recipe

from torchvision.ops import StochasticDepth  # isort: skip


def regularize(model: RecognitionModel, recipe: Recipe) -> float:
    """Set dropout and stochastic depth as a recipe says, in place; what it leaves open stays as it is.

    Returns:
        How often each feature before a classifier that has no dropout of its own is to be hidden.

    Raises:
        InputError: The recipe asks for stochastic depth and the architecture has none.
    """
    if recipe.stochastic_depth is not None:
        blocks = [layer for layer in model.trunk.modules() if isinstance(layer, StochasticDepth)]
        if not blocks:
            raise InputError(
                f"{model.architecture.name} has no blocks to skip: leave stochastic_depth out of the recipe, or train "
                f"efficientnet_b0, convnext_tiny or swin_t"
            )
        for number, block in enumerate(blocks):
            block.p = recipe.stochastic_depth * number / max(1, len(blocks) - 1)
    own = [layer for layer in model.classifier.modules() if isinstance(layer, nn.Dropout)]
    if recipe.dropout is None:
        return 0.0
    for layer in own:
        layer.p = recipe.dropout
    return 0.0 if own else recipe.dropout
