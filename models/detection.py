"""Detectors: torchvision's single-shot nets as one graph from pixels to boxes and scores, without suppression.

    uint8 [batch, height, width, 3] RGB -> normalize -> backbone -> head
        -> boxes  [batch, anchors, 4], left, top, right, bottom in parts of the picture
        -> scores [batch, anchors, labels], 0 to 1

Of boxes that overlap the device keeps the best (`sightline.runtime.detector`): it costs microseconds there, and the
same arithmetic runs on every CPU.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from . import operators  # noqa: F401  (must come before torchvision)
from .published import PublishedNet
from .recognition import Normalize

from torchvision.models import detection as tv  # isort: skip
from torchvision.models.detection.image_list import ImageList  # isort: skip
from torchvision.models.detection.ssd import SSD  # isort: skip

# torchvision's own bound: what a box may grow to from its anchor.
_MAX_LOG_SCALE = math.log(1000 / 16)

DETECTORS = {
    "ssdlite320_mobilenet_v3_large": PublishedNet(
        "ssdlite320_mobilenet_v3_large",
        lambda outputs: tv.ssdlite320_mobilenet_v3_large(num_classes=outputs, weights_backbone=None),
        tv.SSDLite320_MobileNet_V3_Large_Weights.COCO_V1,
        320,
        "head.classification_head.module_list.0.1.bias",
        anchors=6,
    )
}


class DetectionModel(nn.Module):
    """A single-shot detector with its anchors; see the module.

    Attributes:
        net: torchvision's.
        size: Height and width of its input, pixels.
    """

    def __init__(self, net: SSD, outputs: Sequence[int], size: int) -> None:
        """Take a net.

        Args:
            net: torchvision's, in evaluation mode.
            outputs: Which of its outputs are given, in order; 0 is the background.
            size: Height and width of its input, pixels.
        """
        super().__init__()
        self.net, self.size = net, size
        self.normalize = Normalize(tuple(net.transform.image_mean), tuple(net.transform.image_std))
        blank = torch.zeros(1, 3, size, size)
        with torch.no_grad():
            features = list(net.backbone(blank).values())
            anchors = net.anchor_generator(ImageList(blank, [(size, size)]), features)[0]
        sides = anchors[:, 2:] - anchors[:, :2]
        self.register_buffer("sides", sides, persistent=False)
        self.register_buffer("centres", anchors[:, :2] + sides / 2, persistent=False)
        self.register_buffer("outputs", torch.tensor(list(outputs)), persistent=False)
        self.sides: Tensor
        self.centres: Tensor
        self.outputs: Tensor

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Give boxes and scores; see the module."""
        head = self.net.head(list(self.net.backbone(self.normalize(image)).values()))
        x, y, width, height = self.net.box_coder.weights
        shift, growth = head["bbox_regression"][..., :2], head["bbox_regression"][..., 2:]
        centres = shift / torch.tensor([x, y]) * self.sides + self.centres
        sides = torch.exp((growth / torch.tensor([width, height])).clamp(max=_MAX_LOG_SCALE)) * self.sides
        boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=-1)
        scores = head["cls_logits"].softmax(-1).index_select(-1, self.outputs)
        return boxes.clamp(0, self.size) / self.size, scores

    @torch.no_grad()
    def reference(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Give the same by torchvision's own transform, anchors and decoding, picture by picture."""
        pictures = list(image.permute(0, 3, 1, 2).float() / 255)
        images, _ = self.net.transform(pictures)
        features = list(self.net.backbone(images.tensors).values())
        head, anchors = self.net.head(features), self.net.anchor_generator(images, features)
        decode = self.net.box_coder.decode_single
        boxes = [decode(*pair) for pair in zip(head["bbox_regression"], anchors, strict=True)]
        scores = head["cls_logits"].softmax(-1)[..., self.outputs]
        return torch.stack(boxes).clamp(0, self.size) / self.size, scores


def build_detector(name: str, weights: str, labels: Sequence[str] | None) -> tuple[DetectionModel, tuple[str, ...]]:
    """Make a detector with weights.

    Args:
        name: A key of `DETECTORS`.
        weights: A state dict's file, or "coco".
        labels: Names of its outputs without the background; None takes COCO's.

    Returns:
        The model, and the names of its scores.

    Raises:
        WeightsError: See `PublishedNet.load`.
    """
    published = DETECTORS[name]
    names = None if labels is None else ("background", *labels)
    net, names = published.load(weights, names)
    assert isinstance(net, SSD)
    outputs = [place for place, label in enumerate(names) if place and label != "N/A"]
    return DetectionModel(net, outputs, published.image_size), tuple(names[place] for place in outputs)
