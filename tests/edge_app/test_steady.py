"""Votes, gates and the region: labels that do not flicker, and work that a still scene does not need."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from sightline.edge_app.region import Box, Region
from sightline.edge_app.sight import Manner, Sight
from sightline.edge_app.steady import REFRESH_S, LookupGate, MotionGate, Votes
from sightline.runtime import GalleryError, InputError, InputSpec, prepare
from sightline.runtime.preprocess import Image
from sightline.runtime.recognition import Candidate, Decision, Latency, Match, Recognition
from sightline.runtime.recognizer import Lookup


def decision(label: str | None, confidence: float = 0.9) -> Decision:
    return Decision(label, label is not None, confidence, "classifier" if label else None)


def shown(labels: Sequence[str | None], frames: int) -> list[str | None]:
    votes = Votes(frames)
    return [votes.decide(decision(label)).label for label in labels]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ("aaaaa", "aaaaa"),
        ("aaabaaa", "aaaaaaa"),
        ("aaababab", "aaaaaaaa"),
        ("aaaaabbbb", "aaaaaaaab"),
        ("aaaaa----", "aaaaaaaa-"),
        ("aaaaabcdef", "aaaaaaaa--"),
        ("-----aaaa", "--------a"),
        ("a-a-a-a-a", "aaaaaaaaa"),
    ],
)
def test_five_votes(seen: str, expected: str) -> None:
    def labels(text: str) -> list[str | None]:
        return [None if letter == "-" else letter for letter in text]

    assert shown(labels(seen), 5) == labels(expected)


def test_one_vote_passes_everything_on() -> None:
    labels = ["a", None, "b", "a", "a", None]
    assert shown(labels, 1) == labels
    one = decision("a", 0.31)
    assert Votes(1).decide(one) == one


def test_a_flickering_answer_does_not_flicker() -> None:
    random = np.random.default_rng(1)
    seen = ["a" if random.random() < 0.75 else random.choice(["b", "c"]) for _ in range(2000)]
    smooth = shown(seen, 5)

    def changes(labels: Sequence[str | None]) -> int:
        return sum(first != second for first, second in pairwise(labels))

    assert changes(smooth) * 10 < changes(seen)


def test_confidence_is_that_of_the_votes_for_the_label() -> None:
    votes = Votes(3)
    for label, confidence in (("a", 0.8), ("b", 0.99), ("a", 0.6)):
        got = votes.decide(decision(label, confidence))
    assert got.label == "a" and got.confidence == pytest.approx(0.7)


def noisy(random: np.random.Generator, level: float = 110, sigma: float = 4) -> Image:
    base = np.full((360, 640, 3), level, np.float32)
    base[100:250, 150:450] = 180
    return np.clip(base + random.normal(0, sigma, base.shape), 0, 255).astype(np.uint8)


def test_noise_is_no_motion_and_a_hand_is() -> None:
    random, gate = np.random.default_rng(0), MotionGate()
    assert not gate.still(noisy(random), 100.0)
    assert all(gate.still(noisy(random), 100.0 + index / 30) for index in range(5))
    hand = noisy(random)
    hand[300:340, 20:80] = 30
    assert not gate.still(hand, 100.3)
    assert gate.still(hand, 100.4)


def test_a_lamp_that_dims_a_little_is_no_motion() -> None:
    random, gate = np.random.default_rng(0), MotionGate()
    gate.still(noisy(random, 110), 0.0)
    assert gate.still(np.clip(noisy(random, 110).astype(int) - 8, 0, 255).astype(np.uint8), 0.1)


def test_a_still_scene_is_answered_now_and_then_and_after_a_change_of_size() -> None:
    frame, gate = np.zeros((90, 160, 3), np.uint8), MotionGate()
    assert not gate.still(frame, 0.0) and gate.still(frame, REFRESH_S - 0.1)
    assert not gate.still(frame, REFRESH_S)
    assert not gate.still(np.zeros((180, 320, 3), np.uint8), REFRESH_S + 0.1)
    gate.reset()
    assert not gate.still(np.zeros((180, 320, 3), np.uint8), REFRESH_S + 0.2)


class Shelf:
    """A gallery that counts how often it is asked."""

    model_id = "tiny"

    def __init__(self) -> None:
        self.asked = 0

    def match(self, embedding: np.ndarray, k: int) -> tuple[Match, ...]:
        self.asked += 1
        return (Match(self.asked, "mug", 0.9, {}),)


def towards(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def test_the_gallery_is_asked_when_the_embedding_or_the_gallery_changed() -> None:
    shelf, now = Shelf(), [0.0]
    gate = LookupGate(shelf, clock=lambda: now[0])
    for angle in (0.0, 0.01, 0.02, 0.05):
        assert gate.match(towards(angle), 5)[0].id == 1
    assert gate.match(towards(0.3), 5)[0].id == 2
    assert gate.match(towards(0.3), 3)[0].id == 3
    gate.forget()
    assert gate.match(towards(0.3), 3)[0].id == 4
    now[0] += REFRESH_S
    assert gate.match(towards(0.3), 3)[0].id == 5 and gate.model_id == "tiny"


class Model:
    """A recognizer that names a frame by its first pixel and counts its work."""

    def __init__(self) -> None:
        self.runs = 0
        self.views: list[Image] = []

    def recognize(self, frame_bgr: Image, gallery: Lookup | None = None, k: int = 5) -> Recognition:
        self.runs += 1
        self.views.append(frame_bgr)
        embedding = towards(0.0)
        matches = gallery.match(embedding, k) if gallery is not None else ()
        label = f"item {int(frame_bgr[0, 0, 0])}"
        top = (Candidate(label, 0.9),)
        return Recognition(decision(label), top, matches, np.ones(1, np.float32), embedding, Latency(1, 1, 1))


def flat(level: int) -> Image:
    frame = np.full((90, 160, 3), 128, np.uint8)
    frame[:40] = level
    return frame


def sight(model: Model, manner: Manner, gallery: Lookup | None = None) -> Sight:
    return Sight(model, gallery, manner, lambda text: None)


def test_a_still_scene_costs_no_model_runs_and_motion_does() -> None:
    model = Model()
    eye = sight(model, Manner(gated=True, votes=3))
    fresh = [eye.look(flat(10), index / 30).fresh for index in range(30)]
    assert model.runs == 1 and fresh == [True] + [False] * 29
    seen = [eye.look(flat(200), 1 + index / 30) for index in range(10)]
    assert seen[-1].shown.decision.label == "item 200", "votes must be gathered although nothing moves any more"
    assert model.runs <= 4


def test_without_the_gate_and_when_asked_every_frame_is_answered() -> None:
    model = Model()
    eye = sight(model, Manner())
    assert all(eye.look(flat(10), index / 30).fresh for index in range(5))
    eye = sight(model, Manner(gated=True))
    assert all(eye.look(flat(10), index / 30, in_any_case=True).fresh for index in range(5))
    assert model.runs == 10


def test_after_teaching_the_very_next_frame_is_answered_anew() -> None:
    model, shelf = Model(), Shelf()
    eye = sight(model, Manner(gated=True, votes=5), shelf)
    for index in range(5):
        eye.look(flat(10), index / 30)
    eye.gallery_changed()
    seen = eye.look(flat(10), 0.2)
    assert seen.fresh and shelf.asked == 2
    eye.away()
    assert eye.look(flat(10), 0.3).fresh


def test_a_gallery_that_fails_is_said_once() -> None:
    class Broken(Shelf):
        def match(self, embedding: np.ndarray, k: int) -> tuple[Match, ...]:
            raise GalleryError("gone")

    said: list[str] = []
    eye = Sight(Model(), Broken(), Manner(), said.append)
    for index in range(4):
        assert eye.look(flat(10), index / 30).shown.matches == ()
    assert said == ["gone"]


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("0,0,1,1", Box(0, 0, 200, 100)),
        ("0.25,0.1,0.5,0.8", Box(50, 10, 150, 90)),
        ("0.5, 0.5, 0.5, 0.5", Box(100, 50, 200, 100)),
    ],
)
def test_regions(text: str, box: Box) -> None:
    region = Region.parse(text)
    assert region.box(100, 200) == box
    assert region.of(np.zeros((100, 200, 3), np.uint8)).shape == (box.bottom - box.top, box.right - box.left, 3)
    tiny = region.box(1, 1)
    assert (tiny.right - tiny.left, tiny.bottom - tiny.top) == (1, 1)


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "0.5,0,0.6,1", "-0.1,0,1,1", "0,0,0,1", "nan,0,1,1"])
def test_bad_regions_are_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match="--roi is"):
        Region.parse(text)


def test_the_model_gets_the_region_only() -> None:
    model = Model()
    sight(model, Manner(region=Region(0.5, 0, 0.5, 1))).look(np.zeros((10, 40, 3), np.uint8), 0.0)
    assert model.views[0].shape == (10, 20, 3)


@pytest.mark.parametrize("size_wh", [(640, 480), (1280, 720), (480, 854)])
@pytest.mark.parametrize("region", [Region(), Region(0.3, 0.2, 0.6, 0.5)])
def test_what_is_marked_is_what_the_model_sees(size_wh: tuple[int, int], region: Region) -> None:
    spec = InputSpec(64, 64, 0.875)
    frame = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    box = region.seen(size_wh[1], size_wh[0], spec)
    frame[box.top : box.bottom, box.left : box.right] = 255
    assert prepare(region.of(frame), spec).mean() > 245
    frame = 255 - frame
    assert prepare(region.of(frame), spec).mean() < 10
