"""`sightline gallery calibrate` and what `sightline eval` says of known and unknown, as a person meets them."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from sightline.edge_app.curves import draw_curves
from tests.factories import photo_folder, tiny_bundle

SIGHTLINE = Path(sys.executable).parent / "sightline"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    tiny_bundle(folder / "kiosk.bundle")
    photo_folder(folder / "photos", 8)
    photo_folder(folder / "more", 3, ("red", "grey"))
    random = np.random.default_rng(0)
    (folder / "nothing").mkdir()
    for number in range(30):
        scene = np.clip(random.normal(90, 8, (48, 64, 3)) + random.integers(0, 30), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "nothing" / f"{number}.png"), scene)
    run(folder, "gallery", "build", "shop.gallery", "photos", "--bundle", "kiosk.bundle")
    return folder


def run(place: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [str(SIGHTLINE), *map(str, words)]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120)


def test_negatives_set_the_threshold_and_forget_takes_it_back(place: Path) -> None:
    words = ["--bundle", "kiosk.bundle", "--false-accepts", 0.1, "--json"]
    done = run(place, "gallery", "calibrate", "shop.gallery", "--negatives", "nothing", *words)
    figures = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (figures["negatives"], figures["entries"], figures["reached"]) == (30, 24, True)
    assert figures["false_accept_rate"] <= 0.1 < figures["false_accept_bound"] + 0.1 and figures["auc"] > 0.9
    stats = json.loads(run(place, "gallery", "stats", "shop.gallery", "--json").stdout)
    assert (stats["threshold"], stats["negatives"]) == (figures["similarity"], 30)

    again = run(place, "gallery", "calibrate", "shop.gallery", "--bundle", "kiosk.bundle")
    assert again.returncode == 0 and "area under the curve" in again.stdout
    assert "30 negatives cannot show a rate of 0.01" in again.stderr
    assert "are deleted" in run(place, "gallery", "calibrate", "shop.gallery", "--forget").stdout
    assert json.loads(run(place, "gallery", "stats", "shop.gallery", "--json").stdout)["threshold"] is None


def test_a_source_is_looked_at_for_its_seconds(place: Path) -> None:
    words = ["--bundle", "kiosk.bundle", "--negatives", "test://?frames=40&fps=20", "--seconds", "1", "--json"]
    done = run(place, "gallery", "calibrate", "shop.gallery", *words, "--roi", "0,0,0.5,0.5")
    assert done.returncode in (0, 1), done.stderr
    assert 5 <= json.loads(done.stdout)["negatives"] <= 40


def test_photos_of_the_gallerys_own_items_are_no_negatives(place: Path) -> None:
    words = ["gallery", "calibrate", "shop.gallery", "--bundle", "kiosk.bundle", "--negatives"]
    some = run(place, *words, "more", "--json")
    assert json.loads(some.stdout)["negatives"] == 3 and "3 photos bear a label of the gallery" in some.stderr
    none = run(place, *words, "photos")
    assert none.returncode == 1 and "negatives show no item" in none.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["shop.gallery"], 2, "--bundle"),
        (["shop.gallery", "--bundle", "kiosk.bundle", "--false-accepts", "2"], 2, "false-accepts"),
        (["none.gallery", "--bundle", "kiosk.bundle"], 1, "does not exist"),
        (["shop.gallery", "--bundle", "kiosk.bundle", "--negatives", "nowhere.mp4"], 1, "nowhere.mp4"),
        (["shop.gallery", "--bundle", "kiosk.bundle", "--negatives", "0", "--roi", "1,2"], 1, "--roi"),
    ],
)
def test_wrong_input_is_one_sentence(place: Path, words: list[str], code: int, said: str) -> None:
    done = run(place, "gallery", "calibrate", *words)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr


def test_eval_reports_both_rates_the_area_and_a_plot(place: Path) -> None:
    words = ["eval", "kiosk.bundle", "more", "--gallery", "shop.gallery"]
    done = run(place, *words, "--plot", "curve.png", "--json")
    unknown = json.loads(done.stdout)["unknown"]
    assert (unknown["known_images"], unknown["unknown_images"]) == (3, 3)
    assert unknown["false_reject_rate"] is not None and unknown["false_accept_rate"] is not None
    assert 0 <= unknown["auc"] <= 1
    drawn = cv2.imread(str(place / "curve.png"))
    assert drawn is not None and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 20
    assert "area under the curve" in run(place, *words).stdout
    wrong = run(place, *words, "--plot", "curve.xyz")
    assert wrong.returncode == 1 and "is no picture's name" in wrong.stderr


def test_the_curve_is_drawn_without_unknown_items_too() -> None:
    known = np.linspace(0.5, 1.5, 20)
    alone, both = draw_curves(known, np.empty(0), None), draw_curves(known, known - 0.4, 0.8)
    assert alone.shape == both.shape and (alone != both).any()
