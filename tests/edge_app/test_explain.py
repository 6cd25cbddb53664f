"""`sightline explain`: pictures of bundles and of training runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sightline.export.inner_view import class_map, feature_maps, first_filters
from sightline.export.train import TrainOptions, train
from sightline.runtime.occlusion import overlay
from sightline.runtime.preprocess import InputSpec
from tests.export.nets import draw_folder, images, small_net
from tests.factories import photo_folder, tiny_bundle

SIGHTLINE = Path(sys.executable).parent / "sightline"


def explain(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SIGHTLINE, "explain", *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=120
    )


def test_a_bundle_and_its_gallery(tmp_path: Path) -> None:
    bundle, photos = tiny_bundle(tmp_path / "kiosk.bundle"), photo_folder(tmp_path / "photos")
    gallery, photo = tmp_path / "shop.gallery", photos / "red" / "00.png"
    built = [SIGHTLINE, "gallery", "build", str(gallery), str(photos), "--bundle", str(bundle)]
    assert subprocess.run(built, capture_output=True, timeout=120).returncode == 0
    done = explain(bundle, photo, "--gallery", gallery, "--out", tmp_path / "why.png", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    answer, match = told["maps"]
    assert (told["answer"]["label"], answer["label"], answer["of"]) == ("red", "red", "probability")
    assert answer["after"] < answer["before"] and match["of"] == "similarity" and match["after"] < match["before"]
    assert "Covering the brightest fifth takes 'red'" in told["words"][1] and "entry #" in told["words"][2]
    picture = cv2.imread(str(tmp_path / "why.png"))
    assert picture.shape[1] > 4 * 420 and picture.std() > 10
    other = json.loads(explain(bundle, photo, "--label", "blue", "--out", tmp_path / "b.jpg", "--json").stdout)
    assert other["maps"][0]["label"] == "blue" and len(other["maps"]) == 1


def test_a_run(tmp_path: Path) -> None:
    photos = draw_folder(tmp_path / "photos", 4)
    options = TrainOptions(str(tmp_path / "photos"), str(tmp_path / "run"), "resnet18", "none", 0, image_size=64)
    train(options)
    for method, words in (("gradcam", "Grad-CAM"), ("filters", "conv1"), ("features", "Feature maps of resnet18")):
        place = tmp_path / f"{method}.png"
        done = explain(tmp_path / "run", photos[0].path, "--method", method, "--out", place)
        assert done.returncode == 0 and words in done.stdout, done.stderr
        assert cv2.imread(str(place)).std() > 5


def test_grad_cam_is_the_weighted_sum_of_the_maps() -> None:
    model, image = small_net(), images(1)[0].repeat(2, axis=0).repeat(2, axis=1)
    found = class_map(model, image, 2)
    assert found.layer == "layer4" and found.heat.shape == (2, 2) and found.heat.max() == pytest.approx(1)
    # The logits are linear in the last layer's mean map, so the gradient is the classifier's row.
    maps = feature_maps(model, image)[-1].maps
    row = model.classifier.weight[2].detach().numpy() / 4
    expected = np.maximum((row[:, None, None] * maps).sum(axis=0), 0)
    assert found.heat == pytest.approx(expected / expected.max(), abs=1e-4)


def test_filters_are_the_first_convolutions_weights() -> None:
    model = small_net()
    found = first_filters(model)
    assert found.layer == "conv1" and found.maps.shape == (64, 7, 7, 3)
    assert torch.equal(torch.from_numpy(found.maps[5]).permute(2, 0, 1), model.trunk.conv1.weight[5].detach())


def test_the_overlay_lights_the_place_and_greys_what_is_not_seen() -> None:
    frame, heat = np.full((100, 200, 3), (30, 60, 200), np.uint8), np.zeros((8, 8), np.float32)
    heat[1, 1] = 1
    drawn = overlay(frame, heat, InputSpec(32, 32, 1.0)).astype(int)
    outside, inside = drawn[:, :50], drawn[:, 50:150]
    assert (np.ptp(outside, axis=2) == 0).all()
    row, column = np.unravel_index(inside.sum(axis=2).argmax(), (100, 100))
    assert 8 <= row <= 28 and 8 <= column <= 28
    assert inside[80, 80].sum() < frame[0, 0].sum() / 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["kiosk.bundle", "photo.png", "--method", "gradcam", "--out", "x.png"], "looks into a folder that"),
        (["kiosk.bundle", "photo.png", "--label", "violet", "--out", "x.png"], "no label 'violet'"),
        (["kiosk.bundle", "none.png", "--out", "x.png"], "none.png"),
        (["kiosk.bundle", "photo.png", "--out", "x.txt"], "no picture's name"),
    ],
)
def test_wrong_input_is_one_sentence(words: list[str], sentence: str, tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "kiosk.bundle")
    photos = photo_folder(tmp_path / "photos", 1)
    shutil.copy(photos / "red" / "00.png", tmp_path / "photo.png")
    done = explain(*words, cwd=tmp_path)
    assert done.returncode == 1 and sentence in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "x.png").exists()
