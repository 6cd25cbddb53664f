"""How a model is trained: every value in one place, with its reason beside it."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """The values of the training recipe."""

    batch_size: int = 32
    lr: float = 0.02
    head_lr_factor: float = 3.0
    momentum: float = 0.9
    weight_decay: float = 2e-4
    label_smoothing: float = 0.1
    clip: float = 5.0
    average_share: float = 0.05
    frozen_share: float = 0.2
    sizes: tuple[float, ...] = (0.57, 0.72, 0.86)
    warmup: float = 0.1
    crop_area: float = 0.25
    aspect: float = 4 / 3
    flip: float = 0.5
    colour: float = 0.3
    mixup: float = 0.0
    drop: float = 0.2

    def size_at(self, progress: float, image_size: int) -> int:
        """Give the height and width of training pictures, a multiple of 32, at `progress` in [0, 1]."""
        share = self.sizes[min(int(progress * len(self.sizes)), len(self.sizes) - 1)]
        return min(image_size, max(32, round(share * image_size / 32) * 32))

    def lr_at(self, progress: float) -> float:
        """Give the learning rate factor in [0, 1] at `progress` in [0, 1]: linear warm-up, then a cosine."""
        if progress < self.warmup:
            return progress / self.warmup
        return 0.5 + 0.5 * math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))
