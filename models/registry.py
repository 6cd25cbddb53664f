"""The architectures Sightline trains and exports, one entry each.

An architecture joins by one `Architecture` in `ARCHITECTURES`: how it is built, which module is its head, which
modules are its blocks from input to output. timm's are found by name, see `timm_models`.
"""

from collections.abc import Sequence
from functools import partial

from torch import nn

from . import operators  # noqa: F401  (must come before torchvision)
from .adapted import googlenet, googlenet_32, mobilenet_v2_32, resnet18_32, vgg11_32, vit_resize, without_gates
from .architecture import Architecture, UnknownArchitectureError, child_blocks, features_blocks
from .textbook import LeNet5, MobileNetV1, SimpleCnn
from .timm_models import PREFIX, find_timm

import torchvision.models as tv  # isort: skip

_HALF = (0.5, 0.5, 0.5)


def find_architecture(name: str) -> Architecture:
    """Give the entry of a name.

    Args:
        name: A key of `ARCHITECTURES`, or "timm:" and the name of a timm network.

    Raises:
        UnknownArchitectureError: There is no such architecture, or timm is not installed.
    """
    if name.startswith(PREFIX):
        return find_timm(name)
    if name not in ARCHITECTURES:
        raise UnknownArchitectureError(
            f"unknown architecture '{name}': choose one of {', '.join(ARCHITECTURES)}, or timm:NAME"
        )
    return ARCHITECTURES[name]


def _resnet_blocks(net: nn.Module) -> Sequence[nn.Module]:
    stem = nn.ModuleList([net.conv1, net.bn1])  # type: ignore[list-item]
    stages = (net.layer1, net.layer2, net.layer3, net.layer4)
    return [stem, *(block for stage in stages for block in stage)]  # type: ignore[union-attr]


def _hidden_blocks(net: nn.Module) -> Sequence[nn.Module]:
    return [*features_blocks(net), net.hidden]  # type: ignore[list-item]


def _vgg_blocks(net: nn.Module) -> Sequence[nn.Module]:
    return [*features_blocks(net), *net.classifier]  # type: ignore[misc]


def _swin_blocks(net: nn.Module) -> Sequence[nn.Module]:
    return [*features_blocks(net), net.norm]  # type: ignore[list-item,unused-ignore]


def _convnext_blocks(net: nn.Module) -> Sequence[nn.Module]:
    return [*features_blocks(net), net.classifier[0]]  # type: ignore[index,list-item]


def _vit_blocks(net: nn.Module) -> Sequence[nn.Module]:
    encoder = net.encoder
    stem = [nn.ParameterList([net.class_token]), net.conv_proj, nn.ParameterList([encoder.pos_embedding])]  # type: ignore[union-attr]
    return [nn.ModuleList(stem), *encoder.layers, encoder.ln]  # type: ignore[arg-type,list-item,misc,union-attr]


_TEXTBOOK = (
    Architecture("cnn_32", SimpleCnn, None, "classifier", _hidden_blocks, 32, fixed=True),
    Architecture("cnn_224", SimpleCnn, None, "classifier", _hidden_blocks, 224, fixed=True),
    Architecture("lenet5", LeNet5, None, "classifier", _hidden_blocks, 32, fixed=True),
    Architecture("vgg11", tv.vgg11, tv.VGG11_Weights.IMAGENET1K_V1, "classifier.6", _vgg_blocks),
    Architecture("vgg11_bn", tv.vgg11_bn, tv.VGG11_BN_Weights.IMAGENET1K_V1, "classifier.6", _vgg_blocks),
    # The published weights were trained elsewhere and see pixels from -1 to 1.
    Architecture(
        "googlenet",
        googlenet,
        tv.GoogLeNet_Weights.IMAGENET1K_V1,
        "fc",
        child_blocks,
        mean=_HALF,
        std=_HALF,
        auxiliary=("aux1", "aux2"),
    ),
)

_MOBILE = (
    Architecture("mobilenet_v2", tv.mobilenet_v2, tv.MobileNet_V2_Weights.IMAGENET1K_V2, "classifier", features_blocks),
    Architecture(
        "mobilenet_v3_small",
        tv.mobilenet_v3_small,
        tv.MobileNet_V3_Small_Weights.IMAGENET1K_V1,
        "classifier",
        features_blocks,
    ),
    Architecture(
        "mobilenet_v3_large",
        tv.mobilenet_v3_large,
        tv.MobileNet_V3_Large_Weights.IMAGENET1K_V2,
        "classifier",
        features_blocks,
    ),
    *(
        Architecture(name, partial(MobileNetV1, width), None, "classifier", features_blocks)
        for name, width in (
            ("mobilenet_v1", 1.0),
            ("mobilenet_v1_x0_75", 0.75),
            ("mobilenet_v1_x0_5", 0.5),
            ("mobilenet_v1_x0_25", 0.25),
        )
    ),
    Architecture(
        "mobilenet_v3_small_relu",
        lambda: without_gates(tv.mobilenet_v3_small()),
        None,
        "classifier",
        features_blocks,
    ),
    Architecture(
        "mobilenet_v3_large_relu",
        lambda: without_gates(tv.mobilenet_v3_large()),
        None,
        "classifier",
        features_blocks,
    ),
    Architecture(
        "efficientnet_b0",
        tv.efficientnet_b0,
        tv.EfficientNet_B0_Weights.IMAGENET1K_V1,
        "classifier",
        features_blocks,
    ),
)

_RESIDUAL = (
    Architecture("resnet18", tv.resnet18, tv.ResNet18_Weights.IMAGENET1K_V1, "fc", _resnet_blocks),
    Architecture("resnet34", tv.resnet34, tv.ResNet34_Weights.IMAGENET1K_V1, "fc", _resnet_blocks),
    Architecture("resnet50", tv.resnet50, tv.ResNet50_Weights.IMAGENET1K_V2, "fc", _resnet_blocks),
    Architecture("resnet101", tv.resnet101, tv.ResNet101_Weights.IMAGENET1K_V2, "fc", _resnet_blocks),
)

_MODERN = (
    Architecture(
        "convnext_tiny",
        tv.convnext_tiny,
        tv.ConvNeXt_Tiny_Weights.IMAGENET1K_V1,
        "classifier.2",
        _convnext_blocks,
    ),
    Architecture("swin_t", tv.swin_t, tv.Swin_T_Weights.IMAGENET1K_V1, "head", _swin_blocks),
    Architecture(
        "vit_b_16", tv.vit_b_16, tv.ViT_B_16_Weights.IMAGENET1K_V1, "heads", _vit_blocks, fixed=True, resize=vit_resize
    ),
)

_FOR_32_PX = (
    Architecture("resnet18_32", resnet18_32, None, "fc", _resnet_blocks, 32),
    Architecture(
        "mobilenet_v1_32", partial(MobileNetV1, 1.0, small_pictures=True), None, "classifier", features_blocks, 32
    ),
    Architecture("mobilenet_v2_32", mobilenet_v2_32, None, "classifier", features_blocks, 32),
    Architecture("vgg11_32", vgg11_32, None, "classifier", features_blocks, 32),
    Architecture("googlenet_32", googlenet_32, None, "fc", child_blocks, 32),
)

ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry for group in (_MOBILE, _RESIDUAL, _TEXTBOOK, _MODERN, _FOR_32_PX) for entry in group
}
