"""The demo's shop: drawings that repeat and vary, a clip whose truth holds, frames counted rightly."""

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from sightline.edge_app.demo.brush import Canvas, hsv, ring, spline
from sightline.edge_app.demo.clip import FPS, FRAME_WH, Clip, Segment, Stop, film_shop, shop_tour
from sightline.edge_app.demo.own import divide, film_photos
from sightline.edge_app.demo.poster import write_poster
from sightline.edge_app.demo.scene import photograph
from sightline.edge_app.demo.score import Count, score_clip
from sightline.edge_app.demo.shop import ITEMS, KNOWN, NOVEL, STRANGER, draw_photos
from sightline.runtime import InputError, read_image


def photo(item, number, size=64):
    return photograph(item, np.random.default_rng([9, number]), size)


def frames_of(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        read, frame = capture.read()
        if not read:
            capture.release()
            return frames
        frames.append(frame)


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory) -> Clip:
    mug, novel = Stop(KNOWN[0], 0.6), Stop(NOVEL, 1.0, lesson=True)
    bays = [[mug, novel], [Stop(None, 0.6), Stop(NOVEL, 0.6, mirrored=True)]]
    return film_shop(tmp_path_factory.mktemp("clip") / "clip.mp4", 5, bays)


@pytest.mark.parametrize("hue, bgr", [(0, (0, 0, 1)), (120, (0, 1, 0)), (240, (1, 0, 0)), (60, (0, 1, 1))])
def test_hue_becomes_the_usual_colour(hue, bgr):
    assert hsv(hue, 1, 1) == pytest.approx(bgr)


def test_a_curve_runs_through_its_points():
    corners = np.array([(0.1, 0.1), (0.9, 0.2), (0.5, 0.8)])
    for closed in (True, False):
        curve = spline(corners, closed)
        assert np.abs(curve[:, None] - corners).sum(2).min(0) == pytest.approx(0, abs=1e-9)


def test_a_disc_covers_its_area():
    canvas = Canvas(200)
    assert canvas.disc(0.5, 0.5, 0.3, 0.2).mean() == pytest.approx(np.pi * 0.3 * 0.2, rel=0.04)
    assert canvas.polygon(ring(0.5, 0.5, 0.3, 0.2)).mean() == pytest.approx(np.pi * 0.3 * 0.2, rel=0.04)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_every_item_is_drawn_whole_and_never_twice_alike(item):
    drawings = []
    for seed in range(3):
        canvas = Canvas(96)
        item.draw(canvas, np.random.default_rng(seed))
        assert canvas.alpha.min() >= -1e-4 and canvas.alpha.max() <= 1 + 1e-4
        assert 0.08 < canvas.alpha.mean() < 0.8
        # It stands on the ground line and nothing of it is cut off there.
        assert canvas.alpha[:, 48 - 30 : 48 + 30][88:92].max() > 0.5 and canvas.alpha[93:].max() < 0.1
        drawings.append(canvas.colour)
    assert all(np.abs(a - b).mean() > 0.004 for a, b in combinations(drawings, 2))


@pytest.mark.parametrize("item", [KNOWN[0], NOVEL, None], ids=["known", "novel", "empty"])
def test_photos_are_pictures_not_noise_and_not_one_colour(item):
    for number in range(3):
        picture = photo(item, number, 96)
        assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
        assert picture.std() > 12
        smooth = cv2.GaussianBlur(picture, (0, 0), 2).astype(float)
        assert np.abs(picture - smooth).mean() < 0.5 * smooth.std()
    assert np.abs(photo(item, 1).astype(int) - photo(item, 2)).mean() > 10


def test_the_same_seed_draws_the_same_files(tmp_path):
    items = (KNOWN[3], KNOWN[7])
    first = draw_photos(tmp_path / "a", items, 2, seed=4, size=64)
    again = draw_photos(tmp_path / "b", items[::-1], 3, seed=4, size=64)
    other = draw_photos(tmp_path / "c", items, 2, seed=5, size=64)
    assert [file.relative_to(tmp_path / "a") for file in first] == [file.relative_to(tmp_path / "c") for file in other]
    for file in first:
        twin = tmp_path / "b" / file.relative_to(tmp_path / "a")
        assert twin in again and twin.read_bytes() == file.read_bytes()
    assert all(a.read_bytes() != c.read_bytes() for a, c in zip(first, other, strict=True))


def test_held_back_items_are_not_among_the_known():
    assert not {NOVEL.name, STRANGER.name} & {item.name for item in KNOWN}
    assert len(KNOWN) >= 8


def test_the_clip_holds_the_frames_it_says(short_clip):
    frames = frames_of(short_clip.path)
    assert len(frames) == short_clip.frames
    assert all(frame.shape == (FRAME_WH[1], FRAME_WH[0], 3) for frame in frames)
    assert [segment.label for segment in short_clip.segments] == [KNOWN[0].name, NOVEL.name, None, NOVEL.name]
    ends = [(segment.first, segment.last) for segment in short_clip.segments]
    assert all(first <= last for first, last in ends)
    assert all(before[1] < after[0] for before, after in pairwise(ends))
    lesson = short_clip.segments[1]
    assert len(short_clip.teach_at) == 1 and lesson.first < short_clip.teach_at[0] < lesson.last


def test_the_tour_teaches_from_two_sides_and_looks_again_later():
    stops = [stop for bay in shop_tour() for stop in bay]
    novel = [stop for stop in stops if stop.item is NOVEL]
    assert [stop.lesson for stop in novel] == [True, True, False, False]
    assert {stop.mirrored for stop in novel[:2]} == {stop.mirrored for stop in novel[2:]} == {True, False}
    assert not any(stop.lesson for stop in stops if stop.item is not NOVEL)
    shown = {stop.item for stop in stops}
    assert {NOVEL, STRANGER, None} < shown < {*ITEMS, None}
    assert len(shown & set(KNOWN)) >= 8


def test_the_clip_shows_what_its_truth_says(short_clip):
    """The cactus's green fills the middle of its frames and of no other."""
    frames = frames_of(short_clip.path)
    for segment in short_clip.segments:
        for number in (segment.first, segment.last):
            hue, saturation, value = np.moveaxis(cv2.cvtColor(frames[number], cv2.COLOR_BGR2HSV), 2, 0)
            green = (abs(hue.astype(int) - 60) < 14) & (saturation > 90) & (value > 40)
            share = green[60:420, 140:500].mean()
            assert (share > 0.06) == (segment.label == NOVEL.name), (segment, share)


def test_the_clip_repeats_with_its_seed(tmp_path, short_clip):
    bays = [[Stop(KNOWN[0], 0.4), Stop(NOVEL, 0.6, lesson=True)]]
    one, two, other = (film_shop(tmp_path / f"{n}.mp4", seed, bays) for n, seed in enumerate((1, 1, 2)))
    assert one.segments == two.segments and one.teach_at == two.teach_at
    assert all((a == b).all() for a, b in zip(frames_of(one.path), frames_of(two.path), strict=True))
    assert (frames_of(one.path)[0] != frames_of(other.path)[0]).any()


def write_answers(path: Path, said: dict[int, str | None]) -> Path:
    lines = [
        {"frame": frame, "label": label, "latency_ms": {"total": 1.0 + frame}, "time": "t"}
        for frame, label in said.items()
    ]
    lines.insert(1, {"event": "taught", "label": "duck", "ids": [4, 5]})
    path.write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    return path


def test_frames_are_counted_where_the_truth_is_clear(tmp_path):
    segments = (
        Segment("mug", 0, 3),
        Segment("duck", 6, 11),
        Segment("cactus", 14, 15),
        Segment(None, 18, 19),
        Segment("duck", 22, 25),
    )
    clip = Clip(tmp_path / "c.mp4", FPS, 26, segments, "duck", (8,))
    said: dict[int, str | None] = dict.fromkeys(range(26))
    said |= {0: "mug", 1: "mug", 2: "bottle", 7: "mug", 9: "duck", 15: "mug", 23: "duck", 24: "duck", 25: "duck"}
    score = score_clip(clip, write_answers(tmp_path / "a.jsonl", said), ("mug", "bottle"))
    assert score.known == Count(2, 4)
    assert score.new_before == Count(1, 2)
    assert score.new_after == Count(3, 4) and score.new_after.mostly
    assert score.stranger == Count(1, 2) and not score.stranger.mostly
    assert score.empty == Count(2, 2)
    assert score.views == 2 and not score.convinces
    assert replace(score, new_before=Count(2, 2), known=Count(3, 4), stranger=Count(0, 0)).convinces
    assert score.p50_ms == pytest.approx(13.5)


def own_photos(folder: Path, counts: dict[str, int]) -> Path:
    for index, (label, count) in enumerate(counts.items()):
        draw_photos(folder, (KNOWN[index],), count, seed=1, size=48)
        (folder / KNOWN[index].name).rename(folder / f"_{label}")
    for label in counts:
        (folder / f"_{label}").rename(folder / label)
    return folder


def test_own_photos_are_divided_without_overlap(tmp_path):
    data = own_photos(tmp_path / "data", {"a": 8, "b": 7, "few": 2, "c": 6})
    own = divide(data, None, 0)
    assert own.new == "c" and len(own.lesson) == 3 and len(own.later) == 2
    assert {image.label for image in own.training} == {"a", "b"}
    assert sorted(image.label for image in own.shown) == ["a", "b"]
    groups = [{image.path for image in part} for part in (own.training, own.shown, own.lesson, own.later)]
    assert all(not a & b for a, b in combinations(groups, 2))
    assert divide(data, "a", 0).new == "a"


def test_too_few_own_photos_are_told_in_one_sentence(tmp_path):
    own = divide(own_photos(tmp_path / "data", {"a": 8, "b": 7, "few": 2, "c": 6}), None, 0)
    said = own.shortage(enough=44)
    assert "'b' has 6 photos to learn from" in said and "44 of each class" in said
    assert "classes of fewer than 6 photos are left out: " in said and "--weights imagenet" in said
    said = own.shortage(enough=6)
    assert said.startswith("classes of fewer than 6 photos are left out: ")
    assert replace(own, left_out=()).shortage(enough=6) is None


@pytest.mark.parametrize(
    "counts, new, said",
    [
        ({"a": 8, "b": 8}, None, "two to train on and one to teach"),
        ({"a": 3, "b": 3, "c": 3}, None, "no class of"),
        ({"a": 8, "b": 8, "c": 4}, "c", "'c' has 4"),
        ({"a": 8, "b": 8, "c": 8}, "d", "has no class 'd', only a, b, c"),
    ],
)
def test_own_photos_that_cannot_do_are_refused(tmp_path, counts, new, said):
    with pytest.raises(InputError, match=said):
        divide(own_photos(tmp_path, counts), new, 0)


def test_own_photos_become_a_clip_and_a_poster(tmp_path):
    own = divide(own_photos(tmp_path / "data", {"a": 7, "b": 7, "c": 6}), "c", 0)
    clip = film_photos(tmp_path / "clip.mp4", own, 0)
    labels = [segment.label for segment in clip.segments]
    assert labels.count("c") == 5 and len(clip.teach_at) == 3
    assert {"a", "b"} <= set(labels)
    assert len(frames_of(clip.path)) == clip.frames
    write_poster(tmp_path / "poster.png", [image.path for image in own.training], clip.path, clip)
    poster = read_image(tmp_path / "poster.png")
    assert poster.shape[1] == 1280 and poster.std() > 30
