"""Objects in front of recognition: a detector that learnt drawn shapes, exported, then asked by every command."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sightline.edge_app.cli import run
from sightline.edge_app.objects import Tracks
from sightline.export.detection import export_detection_model
from sightline.runtime import Bundle, Gallery
from sightline.runtime.box import Box
from sightline.runtime.detector import Detection, Detector, select_boxes
from sightline.runtime.errors import BundleError, InputError
from sightline.runtime.manifest import DetectionPolicy
from sightline.runtime.objects import CropRules, FoundObject, choose, nothing_found, view_of
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.recognition import Decision, Latency
from tests.edge_app.cameras import read_video, write_video
from tests.export.small_detector import LABELS, learnt_detector, scene
from tests.factories import photo_folder, tiny_bundle

# What the tiny recognizer calls the colours that the shapes are drawn in.
COLOUR_OF = {"disc": "red", "square": "blue"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    photos = folder / "scenes"
    photos.mkdir()
    for seed in range(6):
        cv2.imwrite(str(photos / f"{seed}.png"), scene(10_000 + seed, 2, (160, 160))[0])
    files = sorted(photos.glob("*.png"))
    result = export_detection_model(learnt_detector(), "small_ssd", LABELS, files, folder / "objects.bundle", "drawn")
    tiny_bundle(folder / "kiosk.bundle")
    return folder, result.report


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def near(objects: list[dict], truth: list, field) -> int:
    return sum(
        any(field(one) == label and Box(*one["box"]).overlap(Box(*box)) > 0.6 for one in objects)
        for label, box in truth
    )


def test_the_exported_file_finds_what_torch_finds(shop, capsys):
    folder, report = shop
    assert report.parity["largest_difference_of_a_score"] < 1e-4
    found = report.parity["objects_found_by_torch"]
    assert found >= 10 and report.parity["objects_found_by_both"] == found
    assert run(["verify", str(folder / "objects.bundle")]) == 0
    assert "6 of 6 golden" in capsys.readouterr().out
    assert run(["inspect", str(folder / "objects.bundle")]) == 0
    assert "detection" in capsys.readouterr().out


def test_predict_finds_the_shapes_and_the_recognizer_names_them(shop, capsys, tmp_path):
    folder, _ = shop
    words = [str(folder / "scenes"), "--json", "--padding", "0"]
    assert run(["predict", str(folder / "objects.bundle"), *words]) == 0
    alone = lines(capsys)
    more = ["--detector", str(folder / "objects.bundle"), "--save-overlay", str(tmp_path / "found")]
    assert run(["predict", str(folder / "kiosk.bundle"), *words, *more]) == 0
    named = lines(capsys)
    truths = [scene(10_000 + seed, 2, (160, 160))[1] for seed in range(6)]
    drawn = sum(map(len, truths))
    pairs = [(one["objects"], truth) for one, truth in zip(alone, truths, strict=True)]
    assert sum(near(objects, truth, lambda one: one["label"]) for objects, truth in pairs) >= drawn - 1
    pairs = [(one["objects"], truth) for one, truth in zip(named, truths, strict=True)]
    by_colour = [(objects, [(COLOUR_OF[label], box) for label, box in truth]) for objects, truth in pairs]
    assert sum(near(objects, truth, lambda one: one["label"]) for objects, truth in by_colour) >= drawn - 1
    assert {one["decided_by"] for line in named for one in line["objects"]} <= {"classifier", None}
    for seed in range(6):
        picture, marked = cv2.imread(str(folder / "scenes" / f"{seed}.png")), cv2.imread(f"{tmp_path}/found/{seed}.jpg")
        assert (np.abs(picture.astype(int) - marked).max(axis=2) > 60).sum() > 100


def test_a_gallery_is_asked_for_each_object(shop, capsys, tmp_path):
    folder, _ = shop
    kiosk = str(folder / "kiosk.bundle")
    photos = photo_folder(tmp_path / "photos", per_class=2)
    assert run(["gallery", "build", str(tmp_path / "shop"), str(photos), "--bundle", kiosk]) == 0
    capsys.readouterr()
    words = ["--detector", str(folder / "objects.bundle"), "--gallery", str(tmp_path / "shop"), "--find", "disc"]
    assert run(["predict", kiosk, str(folder / "scenes"), "--json", *words]) == 0
    objects = [one for line in lines(capsys) for one in line["objects"]]
    assert objects and all(one["detected"]["label"] == "disc" for one in objects)
    assert all(one["matches"][0]["label"] == "red" for one in objects)


@pytest.fixture
def clip(tmp_path) -> Path:
    """A red disc that wanders past a blue square."""
    frames = []
    for step in range(12):
        frame = np.full((160, 160, 3), 120, np.uint8)
        cv2.rectangle(frame, (100, 20), (145, 65), (210, 60, 40), -1)
        cv2.circle(frame, (35 + 3 * step, 110), 28, (40, 40, 210), -1, cv2.LINE_AA)
        frames.append(frame)
    return write_video(tmp_path / "clip.avi", frames, codec="MJPG")


def test_a_run_follows_each_object_and_draws_it(shop, clip, tmp_path, capsys):
    folder, _ = shop
    words = ["--detector", str(folder / "objects.bundle"), "--smooth", "5", "--headless", "--json", "-"]
    shown = tmp_path / "shown.avi"
    assert run(["run", str(folder / "kiosk.bundle"), "--source", str(clip), *words, "--record", str(shown)]) == 0
    frames = [line for line in lines(capsys) if "frame" in line]
    assert len(frames) == 12
    tracks = {(one["label"], one["track"]) for line in frames for one in line["objects"]}
    assert tracks == {("red", 1), ("blue", 2)} or tracks == {("red", 2), ("blue", 1)}
    assert all(line["label"] == line["objects"][0]["label"] for line in frames)
    discs = [one["box"] for line in frames for one in line["objects"] if one["label"] == "red"]
    assert discs[-1][0] - discs[0][0] > 20
    recorded, _ = read_video(shown)
    assert len(recorded) == 12


def test_teaching_learns_the_most_prominent_object(shop, clip, tmp_path, capsys):
    folder, _ = shop
    words = ["--detector", str(folder / "objects.bundle"), "--headless", "--gallery", str(tmp_path / "shop")]
    assert run(["run", str(folder / "kiosk.bundle"), "--source", str(clip), *words, "--teach-label", "my disc"]) == 0
    with Gallery.open(tmp_path / "shop", create=False) as gallery:
        crops = [cv2.imdecode(np.frombuffer(gallery.crop(entry.id), np.uint8), 1) for entry in gallery.entries()]
    assert crops and all(max(crop.shape[:2]) < 110 for crop in crops)
    # Red in the middle: the disc, not the frame.
    assert all(crop[crop.shape[0] // 2, crop.shape[1] // 2, 2] > 150 for crop in crops)


def test_a_detectors_bundle_runs_by_itself(shop, clip, capsys):
    folder, _ = shop
    assert run(["run", str(folder / "objects.bundle"), "--source", str(clip), "--headless", "--json", "-"]) == 0
    frames = [line for line in lines(capsys) if "frame" in line]
    assert {one["label"] for line in frames for one in line["objects"]} == set(LABELS)
    assert {one["decided_by"] for line in frames for one in line["objects"]} == {"detector"}


def test_a_bundle_for_something_else_is_one_sentence(shop, clip, tmp_path, capsys):
    folder, _ = shop
    objects, kiosk, scenes = (str(folder / name) for name in ("objects.bundle", "kiosk.bundle", "scenes"))
    photos = str(photo_folder(tmp_path / "photos", per_class=1))
    cases = [
        (["predict", kiosk, scenes, "--detector", kiosk], "made for single-label"),
        (["predict", objects, scenes, "--gallery", str(tmp_path / "none")], "needs a bundle that recognises"),
        (["predict", objects, scenes, "--detector", objects], "needs a bundle that recognises"),
        (["predict", objects, scenes, "--find", "cup"], "no label 'cup'"),
        (["eval", objects, photos], "made for detection"),
        (["gallery", "build", str(tmp_path / "g"), photos, "--bundle", objects], "made for detection"),
        (["explain", objects, f"{scenes}/0.png", "--out", str(tmp_path / "why.png")], "made for detection"),
        (
            ["run", kiosk, "--source", str(clip), "--detector", objects, "--headless", "--trace", str(tmp_path / "t")],
            "--trace keeps one answer",
        ),
    ]
    for command, said in cases:
        assert run(command) == 1, command
        told = capsys.readouterr().err
        assert said in told and "Traceback" not in told, command


def test_ready_weights_that_cannot_be_had_are_one_sentence(shop, tmp_path, capsys, monkeypatch):
    folder, _ = shop
    arch = ["export", "--arch", "ssdlite320_mobilenet_v3_large", "--data", str(folder / "scenes")]
    out = ["--out", str(tmp_path / "out.bundle")]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", _offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", _offline)
    assert run([*arch, *out, "--weights", "coco"]) == 1
    told = capsys.readouterr().err
    assert "https://download.pytorch.org" in told and "Traceback" not in told
    (tmp_path / "other.pth").write_bytes(b"no weights")
    assert run([*arch, *out, "--weights", str(tmp_path / "other.pth")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert run([*arch, *out]) == 2
    assert "--weights" in capsys.readouterr().err


def _offline(*_given, **_more):
    raise OSError("no network")


def plain_suppression(boxes: np.ndarray, scores: np.ndarray, policy: DetectionPolicy) -> set[tuple[int, int]]:
    """Greedy, label by label, one box after the other."""
    kept = set()
    for label in range(scores.shape[1]):
        mine: list[int] = []
        for anchor in np.argsort(-scores[:, label], kind="stable"):
            if scores[anchor, label] <= policy.min_score:
                break
            if all(_overlap(boxes[anchor], boxes[other]) <= policy.max_overlap for other in mine):
                mine.append(int(anchor))
        kept |= {(anchor, label) for anchor in mine}
    return kept


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared)


@pytest.mark.parametrize("seed", range(5))
def test_the_boxes_kept_are_those_of_the_textbook(seed):
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 0.7, (200, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0.05, 0.3, (200, 2))], axis=1).astype(np.float32)
    scores = random.uniform(0, 1, (200, 3)).astype(np.float32)
    policy = DetectionPolicy(0.4, 0.3)
    chosen = select_boxes(boxes, scores, policy)
    assert set(chosen) == plain_suppression(boxes, scores, policy)
    ranked = [float(scores[one]) for one in chosen]
    assert ranked == sorted(ranked, reverse=True)


@pytest.mark.parametrize("box", [Box(10, 10, 40, 20), Box(0, 0, 5, 79), Box(60, 40, 100, 80), Box(0, 0, 100, 80)])
def test_a_view_shows_the_whole_object_and_stays_in_the_frame(box):
    spec = InputSpec(32, 32, 0.875)
    view = view_of(box, 80, 100, spec, 0.2)
    assert 0 <= view.left < view.right <= 100 and 0 <= view.top < view.bottom <= 80
    assert view.left <= box.left and view.top <= box.top and view.right >= box.right and view.bottom >= box.bottom


def test_prominent_objects_come_first_and_small_ones_are_left_out():
    central, corner, tiny = (Detection(Box(*box), "a", 0.9) for box in ((30, 30, 70, 70), (0, 0, 40, 40), (5, 5, 8, 8)))
    assert choose([corner, tiny, central], 100, 100, CropRules()) == [central, corner]
    assert choose([corner, central], 100, 100, CropRules(most=1)) == [central]
    with pytest.raises(InputError):
        CropRules(padding=-1)


def found(left: int, label: str | None) -> FoundObject:
    recognition = nothing_found(Latency(0, 0, 0))
    decided = type(recognition)(
        Decision(label, label is not None, 0.9, "classifier"), (), (), *[np.zeros(0, np.float32)] * 2, Latency(0, 0, 0)
    )
    box = Box(left, 10, left + 30, 40)
    return FoundObject(Detection(box, "thing", 0.9), box, decided)


def test_each_object_has_votes_of_its_own_and_one_missed_for_a_while_is_the_same():
    tracks = Tracks(5)
    for step in range(5):
        seen = tracks.follow([found(10 + step, "mug"), found(100 - step, "bottle")])
    assert [(one.track, one.shown.decision.label) for one in seen] == [(1, "mug"), (2, "bottle")]
    # One odd answer does not change the label; the order of the boxes does not matter.
    seen = tracks.follow([found(96, "mug"), found(14, "bottle")])
    assert [(one.track, one.shown.decision.label) for one in seen] == [(2, "bottle"), (1, "mug")]
    for _ in range(5):
        tracks.follow([found(96, "bottle")])
    assert [one.track for one in tracks.follow([found(96, "bottle"), found(14, "mug")])] == [2, 1]
    assert [one.track for one in tracks.follow([found(200, "cup")])] == [3]
    tracks.reset()
    assert [one.track for one in tracks.follow([found(96, "bottle")])] == [4]


def test_a_recognizers_bundle_is_no_detector(tmp_path):
    tiny_bundle(tmp_path / "kiosk.bundle")
    with pytest.raises(BundleError, match="made for single-label"):
        Detector(Bundle.load(tmp_path / "kiosk.bundle"))
