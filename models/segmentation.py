"""Segmentation nets of torchvision as one graph from pixels to a map of labels.

    uint8 [batch, height, width, 3] RGB -> normalize -> backbone -> head -> enlarge -> most likely label
        -> classes [batch, height / 4, width / 4], uint8

torchvision enlarges its scores to the picture's size first: at a quarter of the side the device compares a sixteenth of
them, and the net itself is no finer than an eighth.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from . import operators  # noqa: F401  (must come before torchvision)
from .architecture import IMAGENET_MEAN, IMAGENET_STD
from .published import PublishedNet
from .recognition import Normalize

from torchvision.models import segmentation as tv  # isort: skip

STEP = 4
_SIZE = 520

SEGMENTERS = {
    "fcn_resnet50": PublishedNet(
        "fcn_resnet50",
        lambda outputs: tv.fcn_resnet50(weights=None, weights_backbone=None, num_classes=outputs, aux_loss=False),
        tv.FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1,
        _SIZE,
        "classifier.4.bias",
        left_out=("aux_classifier.",),
    ),
    "lraspp_mobilenet_v3_large": PublishedNet(
        "lraspp_mobilenet_v3_large",
        lambda outputs: tv.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=outputs),
        tv.LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1,
        _SIZE,
        "classifier.low_classifier.bias",
    ),
}


class SegmentationModel(nn.Module):
    """A segmentation net with its map; see the module.

    Attributes:
        net: torchvision's.
        size: Height and width of its input, pixels.
    """

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net, self.size = net, size
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, image: Tensor) -> Tensor:
        """Give the map of labels; see the module."""
        features = self.net.backbone(self.normalize(image))  # type: ignore[operator,union-attr,unused-ignore]
        taken = features if isinstance(self.net, tv.LRASPP) else features["out"]
        scores = self.net.classifier(taken)  # type: ignore[operator,union-attr,unused-ignore]
        side = self.size // STEP
        large = nn.functional.interpolate(scores, size=(side, side), mode="bilinear", align_corners=False)
        return large.argmax(1).to(torch.uint8)

    @torch.no_grad()
    def reference(self, image: Tensor) -> Tensor:
        """Give torchvision's own answer: the most likely label of each pixel of the input, uint8."""
        scores: Tensor = self.net(self.normalize(image))["out"]
        return scores.argmax(1).to(torch.uint8)


def build_segmenter(name: str, weights: str, labels: Sequence[str] | None) -> tuple[SegmentationModel, tuple[str, ...]]:
    """Make a segmentation net with weights.

    Args:
        name: A key of `SEGMENTERS`.
        weights: A state dict's file, or "coco".
        labels: Names of all its outputs, the background among them; None takes those of the published weights.

    Returns:
        The model, and the names of its labels.

    Raises:
        WeightsError: See `PublishedNet.load`.
    """
    published = SEGMENTERS[name]
    net, names = published.load(weights, labels)
    return SegmentationModel(net, published.image_size).eval(), names
