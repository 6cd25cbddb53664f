"""Small networks that introductions to image recognition begin with, written out: torchvision has none of them."""

import math

import torch
from torch import Tensor, nn


class SimpleCnn(nn.Module):
    """Two convolutions with pooling, two linear layers.

    Input float32 [batch, 3, image_size, image_size]; output [batch, classes].
    """

    def __init__(self, image_size: int, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(*_convolved(3, 32), *_convolved(32, 64), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(64 * (image_size // 4) ** 2, 128), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(128, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Classify a batch; see the class."""
        logits: Tensor = self.classifier(self.hidden(self.features(image)))
        return logits


def _convolved(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998, Gradient-based learning applied to document recognition), in colour.

    As it is taught today: rectified units and max pooling for the paper's sigmoids and trained averages.
    Input float32 [batch, 3, image_size, image_size]; output [batch, classes].
    """

    def __init__(self, image_size: int, classes: int = 1000) -> None:
        super().__init__()
        side = ((image_size - 4) // 2 - 4) // 2
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 6, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            nn.Flatten(),
        )
        self.hidden = nn.Sequential(
            *(nn.Linear(16 * side**2, 120), nn.ReLU(inplace=True)),
            *(nn.Linear(120, 84), nn.ReLU(inplace=True)),
        )
        self.classifier = nn.Linear(84, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Classify a batch; see the class."""
        logits: Tensor = self.classifier(self.hidden(self.features(image)))
        return logits


class MobileNetV1(nn.Module):
    """MobileNet (Howard et al. 2017, arXiv 1704.04861): depthwise and pointwise convolutions in turn.

    Input float32 [batch, 3, height, width]; output [batch, classes].
    """

    # Outputs at width 1 and stride of each depthwise separable block, table 1 of the paper.
    _BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))

    def __init__(self, width: float = 1.0, small_pictures: bool = False, classes: int = 1000) -> None:
        """Build it with random weights.

        Args:
            width: The paper's width multiplier, on every layer.
            small_pictures: Whether the first two halvings are left out, for 32 px.
            classes: Number of outputs.
        """
        super().__init__()
        channels = [round(width * outputs) for outputs, _ in self._BLOCKS]
        stem = round(32 * width)
        layers: list[nn.Module] = [_normed(3, stem, 3, stride=1 if small_pictures else 2)]
        for number, (inputs, outputs) in enumerate(zip([stem, *channels], channels, strict=False)):
            stride = 1 if small_pictures and number == 1 else self._BLOCKS[number][1]
            depthwise = _normed(inputs, inputs, 3, stride, groups=inputs)
            layers.append(nn.Sequential(depthwise, _normed(inputs, outputs, 1)))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.1), nn.Linear(channels[-1], classes))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                fan_out = math.prod(layer.kernel_size) * layer.out_channels // layer.groups
                nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))

    def forward(self, image: Tensor) -> Tensor:
        """Classify a batch; see the class."""
        logits: Tensor = self.classifier(torch.flatten(self.pool(self.features(image)), 1))
        return logits


def _normed(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )
