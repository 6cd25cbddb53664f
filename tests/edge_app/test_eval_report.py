"""What `sightline eval` says of where a model is weak, and its page."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.edge_app.browsers import Visit, chromium
from tests.factories import photo_folder, picture, tiny_bundle

SIGHTLINE = Path(sys.executable).parent / "sightline"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve photos by day, all right, and six by night, of which five are blue ones that stand as red."""
    photos = photo_folder(tmp_path / "photos")
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name},day" for path in sorted(photos.rglob("*.png"))]
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"night{number}.png"), picture("red" if number == 0 else "blue", 70 + number))
        rows.append(f"night{number}.png,red,night")
    (tmp_path / "data.csv").write_text("file,label,light\n" + "\n".join(rows) + "\n")
    tiny_bundle(tmp_path / "kiosk.bundle")
    return tmp_path


def evaluate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [SIGHTLINE, "eval", "kiosk.bundle", "data.csv", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=180)


def test_groups_and_averages(data: Path) -> None:
    done = evaluate(data, "--group", "light", "--json", "--report", "page.html")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    night, day = found["groups"]["light"]["night"], found["groups"]["light"]["day"]
    assert night["top1"]["value"] == pytest.approx(1 / 6) and night["weak"] and night["images"] == 6
    assert day["top1"]["value"] == 1 and not day["weak"] and 0.7 < day["top1"]["low"] < 1
    assert found["averages"]["micro_f1"] == pytest.approx(found["top1"]) == pytest.approx(13 / 18)
    pair = found["confusions"][0]
    assert (pair["truth"], pair["answer"], pair["count"], len(pair["files"])) == ("red", "blue", 5, 3)
    assert 0 < found["calibration"]["error"] < 0.6 and sum(found["calibration"]["count"]) == 18
    assert 0 < found["embeddings"]["nmi"] <= 1 and 0 < found["embeddings"]["mean_average_precision"] <= 1
    text = (data / "page.html").read_text()
    assert "weak" in text and "what it rests on" in text and not re.search(r'(src|href)="(?!data:)', text)
    with chromium() as browser:
        for scheme in ("light", "dark"):
            visit = Visit(browser, (data / "page.html").as_uri(), (360, 740), color_scheme=scheme)
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
            assert visit.complaints == [] and visit.page.evaluate("[...document.images].every(one => one.naturalWidth)")
            visit.close()


def test_the_table_names_the_weak_group_and_the_pair(data: Path) -> None:
    done = evaluate(data, "--group", "light")
    assert done.returncode == 0 and re.search(r"night +6 .* weak", done.stdout), done.stdout + done.stderr
    assert re.search(r"red +blue +5 +night\d.png", done.stdout) and "macro F1, micro F1" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(("--group", "site"), "no column 'site' to group by, only light"), (("--report", "x.pdf"), "end in .html")],
)
def test_wrong_input_is_one_sentence(data: Path, words: tuple[str, ...], sentence: str) -> None:
    done = evaluate(data, *words)
    assert done.returncode == 1 and sentence in done.stderr and done.stderr.count("\n") == 1
