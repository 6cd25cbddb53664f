"""`sightline gallery` as a person meets it: the installed command in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from sightline.runtime import Bundle, Gallery
from tests.factories import photo_folder, tiny_bundle

SIGHTLINE = Path(sys.executable).parent / "sightline"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    tiny_bundle(folder / "kiosk.bundle")
    photo_folder(folder / "photos")
    (folder / "photos" / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(40))
    lines = ["file,name,sku", "photos/red/00.png,crimson,R-1", "photos/blue/00.png,navy,B-1"]
    (folder / "products.csv").write_text("\n".join(lines))
    return folder


def gallery(place: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [str(SIGHTLINE), "gallery", *map(str, words)]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120)


def test_the_whole_life_of_a_gallery(place: Path) -> None:
    built = gallery(place, "build", "shop.gallery", "photos", "--bundle", "kiosk.bundle", "--json")
    figures = json.loads(built.stdout)
    assert built.returncode == 1 and "broken.jpg" in built.stderr
    assert (figures["added"], figures["entries"], figures["labels"]) == (12, 12, 3)
    assert [failure["image"] for failure in figures["failed"]] == ["photos/red/broken.jpg"]

    again = json.loads(gallery(place, "build", "shop.gallery", "photos", "--bundle", "kiosk.bundle", "--json").stdout)
    assert (again["added"], again["known"], again["entries"]) == (0, 12, 12)

    words = ["--label", "mug", "--meta", "sku=A-17", "--meta", "size=3 = big", "--bundle", "kiosk.bundle", "--json"]
    added = json.loads(gallery(place, "add", "shop.gallery", "photos/red/00.png", *words).stdout)["added"]
    assert added == [{"image": "photos/red/00.png", "id": 13}]

    found = gallery(
        place, "search", "shop.gallery", "photos/blue/02.png", "--bundle", "kiosk.bundle", "--json", "-k", 3
    )
    matches = json.loads(found.stdout)["matches"]
    assert [match["label"] for match in matches] == ["blue"] * 3 and matches[0]["similarity"] > 0.999
    assert "blue" in gallery(place, "search", "shop.gallery", "photos/blue/02.png", "--bundle", "kiosk.bundle").stdout

    listed = [json.loads(line) for line in gallery(place, "list", "shop.gallery", "--json").stdout.splitlines()]
    assert len(listed) == 13 and listed[-1]["metadata"] == {"sku": "A-17", "size": "3 = big"}
    assert "sku=A-17" in gallery(place, "list", "shop.gallery", "--label", "mug").stdout

    stats = json.loads(gallery(place, "stats", "shop.gallery", "--json").stdout)
    assert (stats["entries"], stats["crops"], stats["per_label"]["mug"]) == (13, 13, 1)
    assert "every entry is compared" in gallery(place, "stats", "shop.gallery").stdout

    removed = gallery(place, "remove", "shop.gallery", 13, 99)
    assert removed.returncode == 1 and "1 removed, 12 left" in removed.stdout and "no entry 99" in removed.stderr
    assert "4 removed, 8 left" in gallery(place, "remove", "shop.gallery", "--label", "red").stdout

    checked = gallery(place, "check", "shop.gallery", "--json")
    report = json.loads(checked.stdout)
    assert checked.returncode == 0 and (report["ok"], report["entries"], report["problems"]) == (True, 8, [])
    assert "every entry is compared" in gallery(place, "rebuild", "shop.gallery").stdout


def test_a_csv_gives_labels_and_metadata(place: Path) -> None:
    words = ["--bundle", "kiosk.bundle", "--label-column", "name"]
    built = gallery(place, "build", "csv.gallery", "products.csv", *words)
    assert built.returncode == 0 and "csv.gallery: 2 entries of 2 labels (2 added)" in built.stdout
    with Gallery.open(place / "csv.gallery") as opened:
        entry = opened.entry(1)
        assert (entry.label, entry.metadata, entry.source) == ("crimson", {"sku": "R-1"}, "photos/red/00.png")
        assert opened.model_id == Bundle.load(place / "kiosk.bundle").model_id


def test_check_names_damage_and_exits_with_1(place: Path) -> None:
    gallery(place, "build", "hurt.gallery", "products.csv", "--bundle", "kiosk.bundle", "--label-column", "name")
    file = place / "hurt.gallery" / "gallery.db"
    data = bytearray(file.read_bytes())
    data[bytes(data).index(b"crimson")] ^= 1
    file.write_bytes(data)
    checked = gallery(place, "check", "hurt.gallery")
    assert checked.returncode == 1 and "entry 1 fails its checksum" in checked.stdout
    saved = gallery(place, "salvage", "hurt.gallery", "--into", "saved.gallery", "--json")
    assert saved.returncode == 1 and json.loads(saved.stdout)["lost"] == [1]
    listed = gallery(place, "list", "hurt.gallery")
    assert listed.returncode == 1 and "is damaged" in listed.stderr and "Traceback" not in listed.stderr


def test_another_bundle_is_refused_until_the_gallery_is_reembedded(place: Path) -> None:
    tiny_bundle(place / "other.bundle", labels=("blue", "red"))
    build = ["build", "old.gallery", "products.csv", "--label-column", "name"]
    assert gallery(place, *build, "--bundle", "kiosk.bundle").returncode == 0
    refused = gallery(place, "search", "old.gallery", "photos/red/00.png", "--bundle", "other.bundle")
    assert refused.returncode == 1 and "sightline gallery reembed old.gallery --bundle" in refused.stderr
    done = gallery(place, "reembed", "old.gallery", "--bundle", "other.bundle")
    assert done.returncode == 0 and "2 entries of model" in done.stdout
    found = gallery(place, "search", "old.gallery", "photos/red/00.png", "--bundle", "other.bundle", "--json")
    assert json.loads(found.stdout)["matches"][0]["label"] == "crimson"
    merged = gallery(place, "merge", "old.gallery", "old.gallery", "--into", "twice.gallery", "--json")
    assert json.loads(merged.stdout) == {"gallery": "twice.gallery", "entries": 2, "same": 2, "removed": 0}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["list", "none.gallery"], 1, "does not exist"),
        (["check", "none.gallery"], 1, "does not exist"),
        (["search", "none.gallery", "photos/red/00.png", "--bundle", "kiosk.bundle"], 1, "does not exist"),
        (["build", "photos", "photos", "--bundle", "kiosk.bundle"], 1, "holds other files"),
        (["build", "new.gallery", "nowhere", "--bundle", "kiosk.bundle"], 1, "does not exist"),
        (["add", "new.gallery", "photos/red/00.png", "--label", "x", "--bundle", "nowhere"], 1, "nowhere"),
        (["add", "new.gallery", "x.png", "--label", "x", "--meta", "sku", "--bundle", "kiosk.bundle"], 2, "KEY=VALUE"),
        (["remove", "csv.gallery"], 2, "either IDS or --label"),
        (["search", "csv.gallery"], 2, "either IMAGE, --entry or --text"),
        (["search", "csv.gallery", "--entry", "99"], 1, "no entry 99"),
        (["sheet", "csv.gallery", "--out", "sheet.gif"], 1, "no picture's name"),
        (["sheet", "csv.gallery", "--out", "sheet.png", "--label", "x"], 1, "no such entry"),
        (["import", "new.gallery", "photos"], 1, "gallery's export"),
        (["export", "csv.gallery", "--out", "photos"], 1, "exists already"),
    ],
)
def test_wrong_input_is_one_sentence(place: Path, words: list[str], code: int, said: str) -> None:
    done = gallery(place, *words)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr
    assert not (place / "new.gallery").exists()


def test_views_of_a_collection(place: Path) -> None:
    gallery(place, "build", "view.gallery", "photos", "--bundle", "kiosk.bundle")
    gallery(
        place,
        "add",
        "view.gallery",
        "photos/red/00.png",
        "--label",
        "mug",
        "--meta",
        "sku=7",
        "--bundle",
        "kiosk.bundle",
    )

    by_entry = json.loads(gallery(place, "search", "view.gallery", "--entry", 13, "--json", "-k", 3).stdout)
    assert by_entry["matches"][0]["label"] == "red" and 13 not in [match["id"] for match in by_entry["matches"]]
    far = gallery(place, "search", "view.gallery", "--entry", 13, "--label", "blue", "--metric", "euclidean", "--json")
    matches = json.loads(far.stdout)["matches"]
    assert {match["label"] for match in matches} == {"blue"}
    assert [match["value"] for match in matches] == sorted(match["value"] for match in matches)
    words = ["photos/blue/00.png", "--bundle", "kiosk.bundle", "--where", "sku=7"]
    assert "mug" in gallery(place, "search", "view.gallery", *words).stdout

    assert gallery(place, "list", "view.gallery", "--where", "sku=7").stdout.startswith("13\tmug")

    twins = json.loads(gallery(place, "duplicates", "view.gallery", "--similarity", 0.9999, "--json").stdout)["groups"]
    assert {"mug", "red"} in [set(group["labels"]) for group in twins]
    assert "several labels" in gallery(place, "duplicates", "view.gallery", "--similarity", 0.9999).stdout
    made = json.loads(gallery(place, "clusters", "view.gallery", "--count", 3, "--json").stdout)["clusters"]
    assert sorted(len(one["ids"]) for one in made) == [4, 4, 5]
    assert "mean similarity" in gallery(place, "clusters", "view.gallery", "--similarity", 0.5).stdout

    for file in ("sheet.png", "sheet.html"):
        assert gallery(place, "sheet", "view.gallery", "--out", file, "--by", "cluster").returncode == 0
    assert cv2.imread(str(place / "sheet.png")).shape[1] > 1000
    page = (place / "sheet.html").read_text()
    assert page.count("data:image/jpeg") == 13 and "sku=7" in page

    assert gallery(place, "export", "view.gallery", "--out", "files").stdout == "files: 13 entries\n"
    back = json.loads(gallery(place, "import", "again.gallery", "files", "--json").stdout)
    assert (back["added"], back["known"]) == (13, 0)
    built = gallery(place, "build", "third.gallery", "files/entries.csv", "--bundle", "kiosk.bundle")
    assert built.returncode == 0 and "13 entries of 4 labels" in built.stdout
