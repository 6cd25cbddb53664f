"""The recognition model: one trunk, two heads, one pass.

    uint8 [batch, height, width, 3] RGB -> normalize -> trunk -> pooled features
        -> classifier -> logits    [batch, classes]
        -> projection -> embedding [batch, dim], unit length

The projection is affine, `(features - mean) @ matrix`, set from the training features (a PCA) or learned.
"""

import torch
from torch import Tensor, nn

from .architecture import Architecture
from .registry import find_architecture


class Normalize(nn.Module):
    """Turns uint8 RGB frames into the trunk's input.

    Input uint8 [batch, height, width, 3]; output float32 [batch, 3, height, width], zero mean and unit
    variance by the architecture's figures.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("scale", 1.0 / (255.0 * torch.tensor(std).view(1, 3, 1, 1)), persistent=False)
        self.register_buffer("shift", (torch.tensor(mean) / torch.tensor(std)).view(1, 3, 1, 1), persistent=False)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Normalize a batch; see the class."""
        return image.permute(0, 3, 1, 2).to(torch.float32) * self.scale - self.shift


class Projection(nn.Module):
    """Maps pooled features [batch, features] to unit-length embeddings [batch, dim]."""

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.matrix = nn.Parameter(torch.empty(features, dim))
        nn.init.orthogonal_(self.matrix)
        self.mean: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Project a batch; see the class."""
        return nn.functional.normalize((features - self.mean) @ self.matrix, dim=1)


class RecognitionModel(nn.Module):
    """A trunk with a classifier and an embedding head; see the module.

    Attributes:
        architecture: The registry's entry.
        classes: Number of logits.
        image_size: Height and width of the input, pixels, that it was built for.
        dim: Width of the embedding.
        feature_dim: Width of the pooled features.
    """

    def __init__(self, architecture: Architecture, classes: int, dim: int = 256, image_size: int | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.classes = classes
        self.image_size = image_size or architecture.image_size
        self.normalize = Normalize(architecture.mean, architecture.std)
        self.trunk = architecture.build(image_size)
        self.classifier = _with_outputs(self.trunk.get_submodule(architecture.head), classes)
        self.trunk.set_submodule(architecture.head, nn.Identity())
        self.feature_dim = next(layer.in_features for layer in _linears(self.classifier))
        self.dim = min(dim, self.feature_dim)
        self.projection = Projection(self.feature_dim, self.dim)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Recognise a batch.

        Args:
            image: uint8 [batch, height, width, 3], RGB.

        Returns:
            Logits float32 [batch, classes] and embeddings float32 [batch, dim], unit length.
        """
        features = self.features(image)
        return self.classifier(features), self.projection(features)

    def features(self, image: Tensor) -> Tensor:
        """Give the pooled features float32 [batch, feature_dim] of a uint8 batch [batch, height, width, 3]."""
        pooled: Tensor = self.trunk(self.normalize(image))
        return pooled


def build_model(name: str, classes: int, dim: int = 256, image_size: int | None = None) -> RecognitionModel:
    """Build an architecture of the registry with random weights.

    Args:
        name: A key of `ARCHITECTURES`, or `timm:NAME`.
        classes: Number of logits, at least 1.
        dim: Width of the embedding; at most the width of the pooled features.
        image_size: Height and width of the input, pixels; None for the architecture's own. Only architectures
            whose weights fit one size heed it.

    Raises:
        UnknownArchitectureError: There is no such architecture.
    """
    return RecognitionModel(find_architecture(name), classes, dim, image_size)


def _linears(head: nn.Module) -> list[nn.Linear]:
    return [layer for layer in head.modules() if isinstance(layer, nn.Linear)]


def _with_outputs(head: nn.Module, classes: int) -> nn.Module:
    if isinstance(head, nn.Linear):
        return nn.Linear(head.in_features, classes)
    assert isinstance(head, nn.Sequential) and isinstance(head[-1], nn.Linear)
    head[-1] = nn.Linear(head[-1].in_features, classes)
    return head
