"""Losses that draw embeddings of one class together and push classes apart, from pytorch-metric-learning."""

from pytorch_metric_learning import losses, miners
from torch import Tensor, nn

# Photos of one class that stand together in a batch.
PER_CLASS = 4


class MetricLoss(nn.Module):
    """A loss of embeddings float32 [batch, dim] and their classes int64 [batch]."""

    def __init__(self, name: str, classes: int, dim: int) -> None:
        """Choose a loss.

        Args:
            name: "triplet" (Schroff et al. 2015, semi-hard triplets), "supcon" (Khosla et al. 2020, supervised
                contrastive) or "arcface" (Deng et al. 2019; learns a direction for each class beside the model).
            classes: How many classes there are.
            dim: Width of the embedding.
        """
        super().__init__()
        self.miner: nn.Module | None = None
        if name == "triplet":
            self.loss: nn.Module = losses.TripletMarginLoss(margin=0.2)
            self.miner = miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")
        elif name == "arcface":
            self.loss = losses.ArcFaceLoss(classes, dim)
        else:
            self.loss = losses.SupConLoss()

    def forward(self, embeddings: Tensor, wanted: Tensor) -> Tensor:
        """Give the loss of a batch; see the class."""
        chosen = self.miner(embeddings, wanted) if self.miner is not None else None
        loss: Tensor = self.loss(embeddings, wanted, chosen)
        return loss
