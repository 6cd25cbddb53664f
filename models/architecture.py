"""What one network is to the rest of the program: how it is built, where its head is, what it wants to see."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Blocks = Callable[[nn.Module], Sequence[nn.Module]]


class UnknownArchitectureError(ValueError):
    """There is no such architecture; the message says which there are."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """One network that can be trained and exported.

    Attributes:
        name: What the command line calls it.
        make: Makes the network with random weights; takes `image_size` where `fixed`.
        weights: torchvision's ImageNet weights (`WeightsEnum` member), with their download address and hash; None
            where nobody publishes any.
        head: The module that becomes the classifier, a dotted name; its last layer is linear.
        blocks: The modules between input and pooled features, in order; what is frozen is frozen from the
            front of this list.
        image_size: Height and width of the usual model input, pixels.
        crop: The usual part of the shorter side that is kept, see `InputSpec.crop`.
        mean: Mean of each RGB channel on a 0 to 1 scale.
        std: Standard deviation of each RGB channel on a 0 to 1 scale.
        fixed: Whether its weights fit one input size only, so that it trains at that size from the first step.
        resize: Brings published weights to another input size (pixels); None where they fit as they are or not at all.
        auxiliary: Heads of the published weights that serve their training alone and are left out.
    """

    name: str
    make: Callable[..., nn.Module]
    weights: Any
    head: str
    blocks: Blocks
    image_size: int = 224
    crop: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    fixed: bool = False
    resize: Callable[[Mapping[str, Tensor], int], Mapping[str, Tensor]] | None = None
    auxiliary: tuple[str, ...] = ()

    def build(self, image_size: int | None = None) -> nn.Module:
        """Make the network with random weights.

        Args:
            image_size: Height and width of its input, pixels; None for the usual one.
        """
        return self.make(image_size=image_size or self.image_size) if self.fixed else self.make()


def features_blocks(net: nn.Module) -> Sequence[nn.Module]:
    """Give the parts of a network that keeps them in `features`, as torchvision's mobile ones do."""
    return list(net.features)  # type: ignore[arg-type]


def child_blocks(net: nn.Module) -> Sequence[nn.Module]:
    """Give the direct parts of a network."""
    return list(net.children())
