"""Areas: a net that names drawn shapes by their colour, exported with its proof, then asked by every command."""

import json
from collections import OrderedDict

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from sightline.edge_app.cli import run
from sightline.edge_app.marks import area_colours, draw_areas
from sightline.export.segmentation import export_segmentation_model
from sightline.models.segmentation import SegmentationModel
from sightline.runtime.box import Box
from sightline.runtime.recognition import Latency
from sightline.runtime.segmenter import Segmentation
from tests.edge_app.cameras import read_video, write_video
from tests.export.small_detector import scene

LABELS = ("__background__", "disc", "square")
SIZE = 64


class _Cells(nn.Module):
    def forward(self, image):
        return OrderedDict([("out", nn.functional.avg_pool2d(image, 4))])


class _Colours(nn.Module):
    """A net as torchvision's: a backbone, a classifier, and scores enlarged to the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.classifier = _Cells(), nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            # RGB after ImageNet's normalization: grey, red, blue.
            colours = torch.tensor([[120.0, 120, 120], [210, 40, 40], [40, 60, 210]]) / 255
            means = (colours - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
            self.classifier.weight.copy_(2 * means[..., None, None])
            self.classifier.bias.copy_(-(means**2).sum(dim=1))

    def forward(self, image):
        scores = self.classifier(self.backbone(image)["out"])
        return {"out": nn.functional.interpolate(scores, size=image.shape[-2:], mode="bilinear", align_corners=False)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("areas")
    (folder / "scenes").mkdir()
    for seed in range(4):
        cv2.imwrite(str(folder / "scenes" / f"{seed}.png"), scene(seed, 2, (160, 120))[0])
    model, files = SegmentationModel(_Colours(), SIZE), sorted((folder / "scenes").glob("*.png"))
    result = export_segmentation_model(model, "colours", LABELS, files, folder / "areas.bundle", "constructed")
    return folder, result.report


def shares(truth: list, size_wh: tuple[int, int]) -> dict[str, float]:
    found: dict[str, float] = {}
    for label, (left, top, right, bottom) in truth:
        area = (right - left) * (bottom - top) * (np.pi / 4 if label == "disc" else 1)
        found[label] = found.get(label, 0) + area / (size_wh[0] * size_wh[1])
    return found


def test_the_exported_map_is_torchs_and_its_shares_are_those_drawn(shop, capsys, tmp_path):
    folder, report = shop
    assert report.parity["least_share_of_pixels_labelled_as_by_torch"] == 1
    assert report.parity["mean_share_labelled_as_by_torchvision_at_full_size"] > 0.97
    assert run(["verify", str(folder / "areas.bundle")]) == 0
    assert "4 of 4 golden" in capsys.readouterr().out
    words = [str(folder / "scenes"), "--json", "--save-overlay", str(tmp_path / "found")]
    assert run(["predict", str(folder / "areas.bundle"), *words]) == 0
    for seed, line in enumerate(capsys.readouterr().out.splitlines()):
        areas = json.loads(line)["areas"]
        assert sum(areas.values()) == pytest.approx(1, abs=0.001)
        for label, share in shares(scene(seed, 2, (160, 120))[1], (160, 120)).items():
            assert areas[label] == pytest.approx(share, abs=0.04)
        picture, drawn = cv2.imread(str(folder / "scenes" / f"{seed}.png")), cv2.imread(f"{tmp_path}/found/{seed}.jpg")
        assert (np.abs(picture.astype(int) - drawn).max(axis=2) > 40).mean() > 0.03


def test_a_run_lays_the_areas_over_its_frames(shop, tmp_path, capsys):
    folder, _ = shop
    clip = write_video(tmp_path / "clip.avi", [scene(seed, 2, (320, 240))[0] for seed in range(4)], codec="MJPG")
    words = ["--source", str(clip), "--headless", "--json", "-", "--record", str(tmp_path / "shown.avi")]
    assert run(["run", str(folder / "areas.bundle"), *words]) == 0
    frames = [one for one in map(json.loads, capsys.readouterr().out.splitlines()) if "frame" in one]
    assert len(frames) == 4 and all(frame["label"] in ("disc", "square") for frame in frames)
    assert all(frame["decided_by"] == "segmenter" and "areas" in frame for frame in frames)
    assert len(read_video(tmp_path / "shown.avi")[0]) == 4


@pytest.mark.parametrize("words", [["--detector", "x"], ["--gallery", "x"]])
def test_what_areas_do_not_do_is_one_sentence(shop, capsys, words):
    folder, _ = shop
    assert run(["predict", str(folder / "areas.bundle"), str(folder / "scenes"), *words]) == 1
    assert "made for segmentation" in capsys.readouterr().err


def test_colours_lie_where_the_label_is_and_the_background_stays():
    classes = np.zeros((8, 8), np.uint8)
    classes[:, 4:] = 1
    canvas = np.full((400, 400, 3), 100, np.uint8)
    draw_areas(canvas, Segmentation(classes, LABELS, Latency(0, 0, 0)), Box(200, 0, 400, 400))
    assert (canvas[300, :200] == 100).all() and (canvas[300, 200:299] == 100).all()
    expected = (100 + area_colours(3)[1].astype(int)) / 2
    assert np.abs(canvas[300, 350] - expected).max() <= 1
