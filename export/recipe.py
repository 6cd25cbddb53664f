"""How a model is trained: every value in one place, with its reason beside it.

Figures come from a split of real shop photos that keeps look-alike photos together (train and held-out share
no scene), 81 classes, MobileNetV2; differences below two points are within its noise.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from msgspec import Meta

from .augment import Augmentation

Share = Annotated[float, Meta(ge=0, le=1)]
Least0 = Annotated[float, Meta(ge=0)]
Above0 = Annotated[float, Meta(gt=0)]
# Where the step schedule divides the learning rate, and where one-cycle has its peak.
_STEPS, _STEP, _CYCLE_PEAK = (0.5, 0.75), 0.1, 0.3
_CYCLE_START, _CYCLE_END = 1 / 25, 1e-4


@dataclass(frozen=True, slots=True)
class Recipe:
    """The values of the training recipe; a file may put others in their place, see `recipe_file`.

    Attributes:
        batch_size: Photos a step.
        lr: Peak learning rate of the trunk, SGD with Nesterov momentum.
        lr_factor: Multiplies `lr`, whoever chose it: what a search moves.
        head_lr_factor: Learning rate of the classifier over that of the trunk, which is pretrained.
        momentum: Of SGD.
        weight_decay: On matrices; biases and batch norm have none. Ten times the usual: the photos are few.
        label_smoothing: Of the cross entropy.
        clip: Largest gradient norm: one odd batch of a small data set does not undo the start.
        average_share: Horizon of the weight average, as a part of the schedule. Averages over a stretch in which
            the learning rate still moves the weights hold better on photos from elsewhere (Cha et al. 2021, SWAD);
            0.3 lags behind.
        lr_floor: Learning rate at the end of the schedule, as a part of its peak.
        frozen_share: Front part of the trunk that stays as it is. The first 4 of MobileNetV2's 19 blocks hold 1 %
            of the weights and 44 % of the time: a step takes 0.56 of it without them (192 px, two cores).
        sizes: Size of training pictures as a part of the input size, in equal parts of the schedule. Small ones
            first cost less (160 px runs twice as fast as 224 px). Evaluation sees the input size, at which
            objects then look as large as in random crops (Touvron et al. 2019, FixRes): at 1.14 times the last
            training size the log loss of held-out photos is 0.624, at the same size 0.698.
        warmup: Part of the schedule in which the learning rate rises.
        crop_area: Least part of a photo's area that a random crop keeps.
        aspect: Most that a crop is stretched.
        flip: How often a picture is mirrored.
        colour: Most that brightness, contrast and saturation change.
        tint: Most that a channel grows or shrinks on its own; 0.15 gained nothing.
        rotation: Most that a picture is turned, degrees; 15 gained nothing.
        erase: How often a rectangle is hidden; needs longer training than these data sets get.
        cut_mix: Part of the steps in which pairs of pictures are mixed (Yun et al. 2019).
        negatives: Destroyed pictures a step as a part of the batch, see `negatives`. With them a network from nothing
            on ten drawn products called an article it never saw unknown on 25 of 25 frames of a clip, without them
            on 17 (16 epochs, one seed).
        patience: Part of the epochs so far without one as good as the best, after which the second half of the
            schedule is cut short.
        eval_crop: Part of the shorter side that evaluation and device see. The whole picture is better for frozen
            features (65.0 % against 62.5 %), the usual 0.875 after training on random crops (79.9 % against 77.1 %).
        loss: What is made small, see `losses`.
        focal_gamma: How much less an easy photo counts with the focal loss.
        class_weights: "balanced" weighs each class in the loss by the inverse of its photos.
        metric_loss: What the embedding learns by where the task is "embedding", see `metric_learning`.
        metric_weight: Its weight beside the loss.
        optimizer: What moves the weights; all but SGD begin from a peak of 0.001 where no `lr` is given.
        nesterov: Whether SGD's momentum looks ahead.
        l1: Weight of the sum of the weights' magnitudes in the loss.
        schedule: How the learning rate goes: "cosine" to the floor, "constant", "step" (a tenth at half and at three
            quarters), each after `warmup`; or "one-cycle" (Smith and Topin 2018), which warms up for 0.3 of the time.
        augment: A policy of torchvision on top of crop, flip and colour, see `mixing`.
        mix_up: Part of the steps in which pairs of pictures are blended (Zhang et al. 2018).
        dropout: How often a feature is hidden from the classifier; None leaves the architecture's own.
        stochastic_depth: How often the last block is skipped, those before it less; None leaves the architecture's.
        sampling: "balanced" shows every class as often as every other.
        distill_weight: Weight of the teacher's answer against the labels', where there is a teacher.
        distill_temperature: Softens both answers; above 1 the small probabilities count.
    """

    batch_size: Annotated[int, Meta(ge=2)] = 32
    lr: Above0 = 0.02
    lr_factor: Above0 = 1.0
    head_lr_factor: Above0 = 3.0
    momentum: Share = 0.9
    weight_decay: Least0 = 2e-3
    label_smoothing: Share = 0.1
    clip: Above0 = 5.0
    average_share: Above0 = 0.15
    lr_floor: Share = 0.1
    frozen_share: Share = 0.2
    sizes: Annotated[tuple[Share, ...], Meta(min_length=1)] = (0.57, 0.72, 0.86)
    warmup: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    crop_area: Annotated[float, Meta(gt=0, le=1)] = 0.25
    aspect: Annotated[float, Meta(ge=1)] = 4 / 3
    flip: Share = 0.5
    colour: Share = 0.3
    tint: Share = 0.0
    rotation: Annotated[float, Meta(ge=0, le=180)] = 0.0
    erase: Share = 0.0
    cut_mix: Share = 0.0
    negatives: Share = 0.0
    patience: Share = 0.3
    eval_crop: Annotated[float, Meta(gt=0, le=1)] = 0.875
    loss: Literal["cross-entropy", "bce", "focal", "mse"] = "cross-entropy"
    focal_gamma: Least0 = 2.0
    class_weights: Literal["none", "balanced"] = "none"
    metric_loss: Literal["triplet", "supcon", "arcface"] = "supcon"
    metric_weight: Least0 = 1.0
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    nesterov: bool = True
    l1: Least0 = 0.0
    schedule: Literal["cosine", "constant", "step", "one-cycle"] = "cosine"
    augment: Literal["none", "randaugment", "trivialaugment"] = "none"
    mix_up: Share = 0.0
    dropout: Annotated[float, Meta(ge=0, lt=1)] | None = None
    stochastic_depth: Annotated[float, Meta(ge=0, lt=1)] | None = None
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    distill_weight: Share = 0.7
    distill_temperature: Above0 = 4.0

    @classmethod
    def for_data(cls, photos: int, pretrained: bool) -> "Recipe":
        """Choose by the number of training photos and whether the trunk knows anything yet."""
        recipe = cls()
        # At least eight steps an epoch, but no batch so small that batch norm's statistics are noise.
        batch = max(8, min(recipe.batch_size, photos // 8))
        recipe = replace(recipe, batch_size=batch, lr=recipe.lr * batch / recipe.batch_size)
        if pretrained:
            return recipe
        # From nothing a network goes on learning what is none of its classes when it tells them apart already.
        recipe = replace(recipe, negatives=0.25, patience=1.0)
        return replace(
            recipe,
            frozen_share=0.0,
            lr=3 * recipe.lr,
            head_lr_factor=1.0,
            crop_area=0.4,
            weight_decay=2e-4,
            average_share=0.05,
            lr_floor=0.0,
        )

    def augmentation(self) -> Augmentation:
        """Give how far training pictures may differ from their photos."""
        return Augmentation(self.crop_area, self.aspect, self.flip, self.colour, self.tint, self.rotation, self.erase)

    def size_at(self, progress: float, image_size: int) -> int:
        """Give the height and width of training pictures at `progress` in [0, 1].

        A multiple of 32, or of 8 where the input has less than 64 px, or the input's.
        """
        return _size(self.sizes[min(int(progress * len(self.sizes)), len(self.sizes) - 1)], image_size)

    def smallest(self, image_size: int) -> int:
        """Give the smallest height and width of training pictures."""
        return min(_size(share, image_size) for share in self.sizes)

    def lr_at(self, progress: float) -> float:
        """Give the learning rate factor in [0, 1] at `progress` in [0, 1], by `schedule`."""
        if self.schedule == "one-cycle":
            return _one_cycle(progress)
        if progress < self.warmup:
            return progress / self.warmup
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "step":
            return math.prod(_STEP for place in _STEPS if progress >= place)
        fall = 0.5 + 0.5 * math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))
        return self.lr_floor + (1 - self.lr_floor) * fall


def _size(share: float, image_size: int) -> int:
    if share == 1.0:
        return image_size
    # Below 64 px five halvings leave the last layers a single cell: only nets for small pictures halve less often.
    least, step = (64, 32) if image_size >= 64 else (16, 8)
    return max(min(least, image_size), min(image_size, round(share * image_size / step) * step))


def _one_cycle(progress: float) -> float:
    if progress < _CYCLE_PEAK:
        start, end, done = _CYCLE_START, 1.0, progress / _CYCLE_PEAK
    else:
        start, end, done = 1.0, _CYCLE_END, (progress - _CYCLE_PEAK) / (1 - _CYCLE_PEAK)
    return end + (start - end) * (0.5 + 0.5 * math.cos(math.pi * done))


def choose_epochs(photos: int) -> int:
    """Choose the number of epochs where the user names none and no budget: about 100,000 pictures in all."""
    return min(60, max(10, round(100_000 / photos)))


def choose_image_size(usual: int, shorter_side: int) -> int:
    """Choose the model's input size: the usual one, or less where the photos have no more pixels to show.

    Args:
        usual: The architecture's, pixels.
        shorter_side: Median of the photos, pixels.
    """
    return min(usual, max(96, math.ceil(shorter_side / 32) * 32))
