"""A data set with known faults: each is found, named and shown."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from sightline.export.data_html import render_data_page
from sightline.export.data_report import DataOptions, describe_data, to_json
from sightline.export.suspects import find_suspects
from sightline.runtime.errors import InputError
from tests.edge_app.browsers import Visit, chromium
from tests.export.nets import draw_folder
from tests.factories import tiny_bundle

SIGHTLINE = Path(sys.executable).parent / "sightline"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of six photos, with a copy, a brighter copy under another label, and a cut-off file."""
    folder = tmp_path / "photos"
    draw_folder(folder, 6)
    shutil.rmtree(folder / "stripe")  # stripes look alike by themselves
    original = folder / "circle" / "00.png"
    (folder / "circle" / "copy.png").write_bytes(original.read_bytes())
    brighter = np.clip(cv2.imread(str(folder / "cross" / "01.png")) * 1.2 + 8, 0, 255).astype(np.uint8)
    cv2.imwrite(str(folder / "square" / "brighter.jpg"), brighter)
    (folder / "cross" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(60))
    return folder


def names(report, group) -> set[str]:
    return {"/".join(report.census.images[row].path.parts[-2:]) for row in group.rows}


def test_faults_are_found(photos: Path) -> None:
    report = describe_data(DataOptions(str(photos)))
    assert [(one.label, one.images) for one in report.classes] == [
        ("circle", 7),
        ("cross", 6),
        ("square", 7),
    ]
    assert len(report.unreadable) == 1 and "cut.jpg" in report.unreadable[0].reason
    near, exact = report.duplicates
    assert exact.exact and names(report, exact) == {"circle/00.png", "circle/copy.png"}
    assert not near.exact and near.contradict and names(report, near) == {"cross/01.png", "square/brighter.jpg"}
    assert report.suspicion is None and "not looked for" in report.suspicion_note


def test_figures_of_pixels_agree_with_numpy(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (40, 50 + 10 * number, 3)).astype(np.uint8) for number in range(2)]
    for number, frame in enumerate(frames):
        (tmp_path / "data" / str(number)).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / str(number) / "one.png"), frame)
    pixels = describe_data(DataOptions(str(tmp_path / "data"))).pixels
    scaled = [frame[..., ::-1].reshape(-1, 3) / 255 for frame in frames]
    assert pixels.mean == pytest.approx(np.mean([one.mean(0) for one in scaled], axis=0))
    expected = np.mean([[np.histogram(one[:, 0] * 255, 32, (0, 256))[0] / len(one)] for one in scaled], axis=(0, 1))
    assert pixels.histograms[0] == pytest.approx(expected)
    assert pixels.sizes == {"50 x 40": 1, "60 x 40": 1} and pixels.shorter_side == (40, 40, 40)


def test_a_photo_in_two_splits_is_a_leak(photos: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart"
    draw_folder(apart, 2, first_seed=500)
    for alike in ("square", "stripe"):
        shutil.rmtree(apart / alike)
    assert not describe_data(DataOptions(str(photos), str(apart))).leaks
    (apart / "circle" / "leak.png").write_bytes((photos / "circle" / "03.png").read_bytes())
    leak = describe_data(DataOptions(str(photos), str(apart))).leaks
    assert [one.parts for one in leak] == [("train", "val")]
    rows = [f"photos/circle/{number:02}.png,circle,{'ab'[number == 3]}\n" for number in range(4)]
    (tmp_path / "data.csv").write_text("file,label,split\n" + "".join(rows) + "apart/circle/leak.png,circle,a\n")
    report = describe_data(DataOptions(str(tmp_path / "data.csv")))
    assert report.parts == {"a": 4, "b": 1} and len(report.leaks) == 1


def test_wrong_labels_are_suspected() -> None:
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(6), 40)
    features = (random.normal(size=(6, 32))[truth] + 0.5 * random.normal(size=(240, 32))).astype(np.float32)
    given = truth.copy()
    wrong = random.choice(240, 12, replace=False)
    given[wrong] = (given[wrong] + random.integers(1, 6, 12)) % 6
    found = find_suspects(features, [f"class {one}" for one in given])
    assert found is not None and found.images == 240
    suspected = {one.row: one.likely for one in found.suspects}
    assert set(wrong) <= set(suspected) and len(suspected) <= 14
    assert all(suspected[row] == f"class {truth[row]}" for row in wrong)


def test_labels_of_too_few_photos_are_not_judged() -> None:
    features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    assert find_suspects(features, ["a"] * 6 + ["b"] * 3) is None


def test_suspects_by_a_bundle(photos: Path, tmp_path: Path) -> None:
    report = describe_data(DataOptions(str(photos), bundle=str(tiny_bundle(tmp_path / "kiosk.bundle"))))
    assert report.suspicion is not None and report.suspicion.images == 20
    assert "kiosk.bundle" in report.suspicion_note and json.dumps(to_json(report)["suspects_note"])


def test_nothing_readable_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data" / "mug").mkdir(parents=True)
    (tmp_path / "data" / "mug" / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match="none of the 1 photos can be read"):
        describe_data(DataOptions(str(tmp_path / "data")))


def test_the_command_writes_page_and_json(photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = subprocess.run(
        [SIGHTLINE, "data", str(photos), "--out", str(page), "--json"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["images"] == 20 and len(found["duplicates"]) == 2 and found["suspects"] is None
    assert {image["label"] for image in found["duplicates"][0]["images"]} == {"cross", "square"}
    text = page.read_text()
    assert "cut.jpg" in text and "several labels" in text and not re.search(r'(src|href)="(?!data:)', text)
    refused = subprocess.run([SIGHTLINE, "data", str(photos), "--out", "x.pdf"], capture_output=True, text=True)
    assert refused.returncode == 1 and "expected it to end in .html" in refused.stderr


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_asks_for_nothing(photos: Path, tmp_path: Path, scheme: str) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_data_page(describe_data(DataOptions(str(photos)))))
    with chromium() as browser:
        visit = Visit(browser, page.as_uri(), (360, 740), color_scheme=scheme)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert visit.complaints == [] and all(url.startswith(("file:", "data:")) for url in visit.requests)
        assert visit.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        visit.close()
