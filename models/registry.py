"""The architectures Sightline trains and exports, one entry each.

An architecture joins by one `Architecture` in `ARCHITECTURES`: how torchvision builds it, which attribute is
its head, which modules are its blocks from input to output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from . import operators  # noqa: F401  (must come before torchvision)

import torchvision.models as tv  # isort: skip

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Architecture:
    """One network that can be trained and exported.

    Attributes:
        name: What the command line calls it.
        build: Makes the torchvision model with random weights and 1000 outputs.
        weights: torchvision's ImageNet weights (`WeightsEnum` member), with their download address and hash.
        head: The attribute that holds the classifier.
        blocks: The modules between input and pooled features, in order; what is frozen is frozen from the
            front of this list.
        image_size: Height and width of the usual model input, pixels.
        crop: The usual part of the shorter side that is kept, see `InputSpec.crop`.
        mean: Mean of each RGB channel on a 0 to 1 scale.
        std: Standard deviation of each RGB channel on a 0 to 1 scale.
    """

    name: str
    build: Callable[[], nn.Module]
    weights: Any
    head: str
    blocks: Callable[[nn.Module], Sequence[nn.Module]]
    image_size: int = 224
    crop: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def _feature_blocks(net: nn.Module) -> Sequence[nn.Module]:
    return list(net.features)  # type: ignore[arg-type]


def _resnet_blocks(net: nn.Module) -> Sequence[nn.Module]:
    stem = nn.ModuleList([net.conv1, net.bn1])  # type: ignore[list-item]
    stages = (net.layer1, net.layer2, net.layer3, net.layer4)
    return [stem, *(block for stage in stages for block in stage)]  # type: ignore[union-attr]


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        Architecture(
            "mobilenet_v2",
            tv.mobilenet_v2,
            tv.MobileNet_V2_Weights.IMAGENET1K_V2,
            "classifier",
            _feature_blocks,
        ),
        Architecture(
            "mobilenet_v3_small",
            tv.mobilenet_v3_small,
            tv.MobileNet_V3_Small_Weights.IMAGENET1K_V1,
            "classifier",
            _feature_blocks,
        ),
        Architecture(
            "mobilenet_v3_large",
            tv.mobilenet_v3_large,
            tv.MobileNet_V3_Large_Weights.IMAGENET1K_V2,
            "classifier",
            _feature_blocks,
        ),
        Architecture("resnet18", tv.resnet18, tv.ResNet18_Weights.IMAGENET1K_V1, "fc", _resnet_blocks),
        Architecture("resnet34", tv.resnet34, tv.ResNet34_Weights.IMAGENET1K_V1, "fc", _resnet_blocks),
        Architecture("resnet50", tv.resnet50, tv.ResNet50_Weights.IMAGENET1K_V2, "fc", _resnet_blocks),
    )
}
