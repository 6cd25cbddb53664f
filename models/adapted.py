"""torchvision's networks in other forms: for pictures of 32 px, and without what int8 pays for.

A network for 224 px halves its picture five times; at 32 px one cell is left. The forms for 32 px leave the first
halvings out and keep everything else, as is usual for CIFAR (He et al. 2015, 4.2).
"""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from . import operators  # noqa: F401  (must come before torchvision)

import torchvision.models as tv  # isort: skip
from torchvision.models.vision_transformer import interpolate_embeddings  # isort: skip
from torchvision.ops.misc import SqueezeExcitation  # isort: skip


def resnet18_32() -> nn.Module:
    """ResNet-18 whose stem keeps the resolution: a 3x3 convolution and no pooling."""
    net: nn.Module = tv.resnet18()
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.maxpool = nn.Identity()
    return net


def mobilenet_v2_32() -> nn.Module:
    """MobileNetV2 without its first two halvings."""
    net: nn.Module = tv.mobilenet_v2()
    net.get_submodule("features.0.0").stride = (1, 1)  # type: ignore[assignment]
    net.get_submodule("features.2.conv.1.0").stride = (1, 1)  # type: ignore[assignment]
    return net


def vgg11_32() -> nn.Module:
    """VGG-11's convolutions with batch norm, and one linear layer where 4096 units thrice would see one cell."""
    net: nn.Module = tv.vgg11_bn()
    net.avgpool = nn.AdaptiveAvgPool2d(1)
    net.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(512, 1000))
    return net


def googlenet() -> nn.Module:
    """GoogLeNet without its auxiliary heads: batch norm does what they were there for."""
    net: nn.Module = tv.googlenet(aux_logits=False, init_weights=True)
    return net


def googlenet_32() -> nn.Module:
    """GoogLeNet whose stem halves the picture once where it halves thrice."""
    net = googlenet()
    net.set_submodule("conv1.conv", nn.Conv2d(3, 64, 3, padding=1, bias=False))
    net.maxpool1 = nn.Identity()
    return net


def vit_resize(state: Mapping[str, Tensor], image_size: int) -> Mapping[str, Tensor]:
    """Bring the position embeddings of published ViT-B/16 weights to another input size."""
    resized: Mapping[str, Tensor] = interpolate_embeddings(image_size, 16, OrderedDict(state))
    return resized


def without_gates(net: nn.Module) -> nn.Module:
    """Replace hard-swish by ReLU and leave squeeze-excite out, in place.

    What is left are convolutions that int8 runs from the first to the last without a float step between, as
    Google's "minimalistic" MobileNetV3 does.
    """
    for name, child in net.named_children():
        if isinstance(child, nn.Hardswish):
            setattr(net, name, nn.ReLU(inplace=True))
        elif isinstance(child, SqueezeExcitation):
            setattr(net, name, nn.Identity())
        elif isinstance(child, nn.Dropout):
            # In place it would overwrite what the ReLU before it keeps for its gradient.
            setattr(net, name, nn.Dropout(child.p))
        else:
            without_gates(child)
    return net
