"""A tiny single-shot detector that learns drawn shapes in seconds, and the drawings."""

from collections import OrderedDict
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import nn

from sightline.models.detection import DetectionModel
from sightline.runtime.preprocess import Image

from torchvision.models.detection.anchor_utils import DefaultBoxGenerator  # isort: skip
from torchvision.models.detection.ssd import SSD  # isort: skip

LABELS = ("disc", "square")
_COLOURS = {"disc": (40, 40, 210), "square": (210, 60, 40)}
_SIZE = 64


class _Backbone(nn.Module):
    out_channels = (48, 64)

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 48)
        self.first = nn.Sequential(*(_stage(*pair) for pair in pairwise(widths)))
        self.second = _stage(48, 64)

    def forward(self, image):
        fine = self.first(image)
        return OrderedDict([("0", fine), ("1", self.second(fine))])


def _stage(inside: int, outside: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, 2, 1), nn.BatchNorm2d(outside), nn.ReLU())


def scene(
    seed: int, objects: int = 2, size_wh: tuple[int, int] = (_SIZE, _SIZE)
) -> tuple[Image, list[tuple[str, tuple]]]:
    """A grey frame, uint8 BGR, with shapes apart from each other; and each one's label, left, top, right, bottom."""
    random = np.random.default_rng(seed)
    width, height = size_wh
    frame = np.full((height, width, 3), 120, np.uint8)
    drawn: list[tuple[str, tuple]] = []
    for _ in range(objects):
        label = LABELS[int(random.integers(2))]
        for _attempt in range(50):
            side = int(min(size_wh) * random.uniform(0.25, 0.42))
            left, top = int(random.integers(0, width - side)), int(random.integers(0, height - side))
            box = (left, top, left + side, top + side)
            if all(_apart(box, other) for _, other in drawn):
                _draw(frame, label, box)
                drawn.append((label, box))
                break
    noise = random.normal(0, 6, frame.shape)
    return np.clip(frame + noise, 0, 255).astype(np.uint8), drawn


def _apart(one: tuple, other: tuple) -> bool:
    return one[2] + 2 < other[0] or other[2] + 2 < one[0] or one[3] + 2 < other[1] or other[3] + 2 < one[1]


def _draw(frame: Image, label: str, box: tuple) -> None:
    left, top, right, bottom = box
    if label == "square":
        cv2.rectangle(frame, (left, top), (right - 1, bottom - 1), _COLOURS[label], -1)
    else:
        centre = (left + right) // 2, (top + bottom) // 2
        cv2.circle(frame, centre, (right - left) // 2, _COLOURS[label], -1, cv2.LINE_AA)


def learnt_detector(steps: int = 60) -> DetectionModel:
    """Train on drawn scenes; about three seconds."""
    torch.manual_seed(0)
    anchors = DefaultBoxGenerator([[], []], scales=[0.28, 0.42, 0.6], steps=[8, 16], clip=False)
    net = SSD(_Backbone(), anchors, (_SIZE, _SIZE), len(LABELS) + 1, [0.5] * 3, [0.25] * 3, nms_thresh=0.45)
    best = torch.optim.Adam(net.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(best, 1e-2, total_steps=steps)
    for step in range(steps):
        scenes = [scene(8 * step + one) for one in range(8)]
        images = [
            torch.from_numpy(np.ascontiguousarray(frame[..., ::-1])).permute(2, 0, 1) / 255 for frame, _ in scenes
        ]
        targets = [
            {
                "boxes": torch.tensor([box for _, box in drawn], dtype=torch.float32),
                "labels": torch.tensor([1 + LABELS.index(label) for label, _ in drawn]),
            }
            for _, drawn in scenes
        ]
        loss = sum(net(images, targets).values())
        best.zero_grad()
        loss.backward()
        best.step()
        schedule.step()
    return DetectionModel(net.eval(), (1, 2), _SIZE).eval()
