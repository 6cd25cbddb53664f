"""The loop over real parts: a tiny bundle, a real gallery, files and cameras; a window that the test plays."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.edge_app.controls import Command, Stop, parse_order
from sightline.edge_app.journal import Journal
from sightline.edge_app.live import RunOptions, run_live
from sightline.edge_app.loop import Limits, Loop, Parts
from sightline.edge_app.overlay import Overlay, Thumbnails
from sightline.edge_app.reader import Patience, Reader
from sightline.edge_app.sources import Source, parse_source
from sightline.edge_app.tally import Summary, Tally
from sightline.edge_app.teach import Teacher
from sightline.edge_app.window import Prompt
from sightline.runtime import Bundle, Gallery, GalleryError, Match, Recognizer
from sightline.runtime.errors import InputError, SourceError
from sightline.runtime.manifest import DecisionPolicy
from sightline.runtime.preprocess import Image
from tests.edge_app.cameras import HttpCamera, read_video, scripted_source, stream, write_video
from tests.factories import picture, tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "kiosk.bundle")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    labels = ["red"] * 10 + ["blue"] * 10
    return write_video(tmp_path / "clip.avi", [picture(one, seed) for seed, one in enumerate(labels)], codec="MJPG")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answers(path: Path) -> list[dict[str, Any]]:
    return [line for line in lines(path) if "event" not in line]


def events(path: Path, name: str) -> list[dict[str, Any]]:
    return [line for line in lines(path) if line.get("event") == name]


def run(bundle: Path, source: Path | str, out: Path, **more: Any) -> Summary:
    options = RunOptions(str(bundle), str(source), headless=True, json=str(out / "out.jsonl"), **more)
    return run_live(options, Stop())


class Screen:
    """A window whose keys the test presses: at each tick the next keys of the script."""

    closed = False

    def __init__(self, script: Sequence[Sequence[int]]) -> None:
        self.script = list(script)
        self.shown: list[Image] = []

    def keys(self, wait_ms: int = 1) -> list[int]:
        return list(self.script.pop(0)) if self.script else [ord("q")]

    def show(self, canvas: Image) -> None:
        self.shown.append(canvas)

    def close(self) -> None:
        pass


def play(
    bundle: Path, gallery: Gallery | None, source: Source, screen: Screen | None, out: Path, **more: Any
) -> Summary:
    """A loop over given parts, its JSON lines in `out/out.jsonl`."""
    reader = Reader(source, Patience(stall_s=0.2, hang_s=0.6, retry_first_s=0.02))
    teacher = Teacher(gallery, source.name) if gallery is not None else None
    try:
        with Journal(str(out / "out.jsonl")) as journal:
            overlay = Overlay(Thumbnails(gallery.crop if gallery is not None else None))
            recognizer = Recognizer(Bundle.load(bundle))
            parts = Parts(reader, recognizer, journal, overlay, gallery, teacher, window=screen)  # type: ignore[arg-type]
            return Loop(parts, Stop(), **more).run()
    finally:
        reader.close()
        if teacher is not None:
            teacher.close()


def test_every_frame_of_a_file_is_answered_in_order(bundle: Path, clip: Path, tmp_path: Path) -> None:
    summary = run(bundle, clip, tmp_path)
    got = answers(tmp_path / "out.jsonl")
    assert summary.frames == 20 and [line["frame"] for line in got] == list(range(20))
    assert [line["label"] for line in got] == ["red"] * 10 + ["blue"] * 10
    assert set(got[0]) == {
        "time", "frame", "age_ms", "label", "known", "confidence", "decided_by", "top", "matches", "latency_ms",
        "frame_label",
    }  # fmt: skip
    states = [event["state"] for event in events(tmp_path / "out.jsonl", "state")]
    assert [state for state in states if state != "connecting"] == ["live", "ended"]


def test_the_recording_shows_every_frame(bundle: Path, clip: Path, tmp_path: Path) -> None:
    run(bundle, clip, tmp_path, record=str(tmp_path / "shown.mp4"))
    frames, fps = read_video(tmp_path / "shown.mp4")
    assert len(frames) == 20 and fps == pytest.approx(25.0) and frames[0].shape == (48, 64, 3)


def test_an_end_asked_for_before_the_model_is_loaded_opens_nothing(tmp_path: Path) -> None:
    stop = Stop()
    stop.ask("asked to end")
    options = RunOptions(str(tmp_path / "none.bundle"), "test://", headless=True, json=str(tmp_path / "out.jsonl"))
    assert run_live(options, stop).frames == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("limits", "frames"), [(Limits(max_frames=3), 3), (Limits(duration_s=0.3), None)])
def test_limits_end_a_run(bundle: Path, tmp_path: Path, limits: Limits, frames: int | None) -> None:
    start = time.monotonic()
    summary = run(bundle, "test://?size=64x48&fps=50", tmp_path, limits=limits)
    assert frames is None or summary.frames == frames
    assert time.monotonic() - start < 10


def test_what_is_taught_at_the_start_is_recognised_and_stays(bundle: Path, clip: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "shop.gallery"
    run(bundle, clip, tmp_path, gallery=str(gallery), teach_label="Testapfel ½")
    taught = events(tmp_path / "out.jsonl", "taught")
    assert len(taught) == 1 and taught[0]["label"] == "Testapfel ½" and taught[0]["ids"]
    run(bundle, clip, tmp_path, gallery=str(gallery))
    first = answers(tmp_path / "out.jsonl")[0]
    assert first["label"] == "Testapfel ½" and first["decided_by"] == "gallery"
    assert first["matches"][0]["id"] in taught[0]["ids"]


def test_teach_with_keys_recognise_and_undo(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", policy=DecisionPolicy(min_probability=1.1, min_similarity=0.9))
    out = tmp_path / "out.jsonl"

    class Director(Screen):
        """Types a name, takes it back ten answers after it was learnt, quits ten after it is gone."""

        undone = False

        def keys(self, wait_ms: int = 1) -> list[int]:
            said = out.read_text()
            if self.script:
                return list(self.script.pop(0))
            if said.rpartition('"removed"')[2].count('"frame"') >= 10 and '"removed"' in said:
                return [ord("q")]
            if self.undone or '"taught"' not in said or said.rpartition('"taught"')[2].count('"frame"') < 10:
                return []
            self.undone = True
            return [ord("u")]

    screen = Director([[], [ord("t")], [ord("c")], [ord("u")], [ord("p")], [8], [ord("b"), 13]])
    shots = [picture("green", seed % 5) for seed in range(2000)]
    with Gallery.open(tmp_path / "g", model=Bundle.load(bundle).model_id) as gallery:
        play(bundle, gallery, scripted_source(shots), screen, tmp_path)
        assert len(gallery) == 0
    got, said = answers(out), lines(out)
    taught, removed = events(tmp_path / "out.jsonl", "taught")[0], events(tmp_path / "out.jsonl", "removed")[0]
    assert taught["label"] == removed["label"] == "cub" and taught["ids"] == removed["ids"]
    after = [line for line in said[said.index(taught) + 1 : said.index(removed)] if "event" not in line]
    # The gallery forgets before the run says so: the last answers may already be without it.
    assert all(line["label"] == "cub" for line in after[:10])
    assert not got[0]["known"] and not got[-1]["known"] and got[-1]["matches"] == []


def test_without_a_gallery_teaching_is_refused_in_words(bundle: Path, tmp_path: Path) -> None:
    screen = Screen([[], [ord("t")], [], []])
    play(bundle, None, scripted_source([picture("red", seed) for seed in range(9)]), screen, tmp_path)
    assert "needs a gallery" in events(tmp_path / "out.jsonl", "error")[0]["message"]


def test_escape_leaves_the_prompt_and_space_pauses(bundle: Path, tmp_path: Path) -> None:
    screen = Screen([[], [ord("t")], [ord("q")], [27], [], [ord(" ")], [], [], [ord(" ")], []])
    shots = [picture("red", seed) for seed in range(50)]
    with Gallery.open(tmp_path / "g", model=Bundle.load(bundle).model_id) as gallery:
        summary = play(bundle, gallery, scripted_source(shots), screen, tmp_path)
    assert 2 <= summary.frames < 8 and len(screen.shown) > summary.frames
    assert not events(tmp_path / "out.jsonl", "taught")


def test_closing_the_window_ends_the_run(bundle: Path, tmp_path: Path) -> None:
    screen = Screen([[]] * 1000)
    screen.closed = True
    summary = play(bundle, None, parse_source("test://?size=64x48&fps=30"), screen, tmp_path)
    assert summary.frames <= 1


def test_no_frame_no_answer_and_the_return_of_a_camera(bundle: Path, tmp_path: Path) -> None:
    camera = HttpCamera(stream)
    camera.start()
    source, out = parse_source(camera.url()), tmp_path / "out.jsonl"

    class Director(Screen):
        """Takes the camera away after five answers, gives it back once it is lost, quits when it answers again."""

        def keys(self, wait_ms: int = 1) -> list[int]:
            before, lost, after = out.read_text().partition('"lost"')
            if before.count('"frame"') >= 5 and not lost and not camera.gone.is_set():
                camera.stop()
            if lost and camera.gone.is_set():
                camera.start()
            return [ord("q")] if after.count('"frame"') >= 5 else []

    try:
        play(bundle, None, source, Director([]), tmp_path)
    finally:
        camera.stop()
    said = lines(tmp_path / "out.jsonl")
    states = [line["state"] for line in said if line.get("event") == "state"]
    assert "lost" in states and "live" in states[states.index("lost") :]
    lost = next(at for at, line in enumerate(said) if line.get("state") == "lost")
    back = next(at for at, line in enumerate(said) if at > lost and line.get("state") == "live")
    assert all("event" in line for line in said[lost:back])
    assert any("event" not in line for line in said[back:])


def test_frames_of_changing_size(bundle: Path, tmp_path: Path) -> None:
    shots = [picture("red", 0), picture("blue", 1, (320, 240)), picture("green", 2, (33, 97))]
    screen = Screen([[]] * 20)
    assert play(bundle, None, scripted_source(shots), screen, tmp_path).frames == 3
    assert [line["label"] for line in answers(tmp_path / "out.jsonl")] == ["red", "blue", "green"]


def test_a_gallery_that_fails_leaves_the_classifier(bundle: Path, tmp_path: Path) -> None:
    class Broken:
        model_id = Bundle.load(bundle).model_id

        def match(self, embedding: np.ndarray, k: int) -> tuple[Match, ...]:
            raise GalleryError("gallery 'g' cannot be read: I/O error")

        def crop(self, entry: int) -> bytes | None:
            return None

    shots = [picture("red", seed) for seed in range(5)]
    play(bundle, Broken(), scripted_source(shots), None, tmp_path)  # type: ignore[arg-type]
    assert [line["label"] for line in answers(tmp_path / "out.jsonl")] == ["red"] * 5
    assert len(events(tmp_path / "out.jsonl", "error")) == 1


def test_stop_ends_a_run_from_outside(bundle: Path, tmp_path: Path) -> None:
    stop = Stop()
    stop.ask("test")
    options = RunOptions(str(bundle), "test://?size=64x48&fps=50", headless=True)
    assert run_live(options, stop).frames == 0


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"source": "nothing.mp4"}, SourceError),
        ({"record": "out.txt"}, InputError),
        ({"json": "missing/out.jsonl"}, InputError),
        ({"teach_label": "mug"}, InputError),
        ({"gallery": "missing.gallery"}, GalleryError),
    ],
)
def test_bad_options_are_sentences(bundle: Path, clip: Path, more: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        run_live(RunOptions(**{"bundle": str(bundle), "source": str(clip), "headless": True, **more}), Stop())


@pytest.mark.parametrize(
    ("line", "command", "name"),
    [
        ("teach  Golden Delicious ", Command.TEACH, "Golden Delicious"),
        ("UNDO", Command.UNDO, None),
        ("quit", Command.QUIT, None),
    ],
)
def test_orders(line: str, command: Command, name: str | None) -> None:
    order = parse_order(line)
    assert not isinstance(order, str) and (order.command, order.name) == (command, name)


@pytest.mark.parametrize("line", ["teach", "teach   ", "dance", "\x00"])
def test_what_is_no_order_is_a_complaint(line: str) -> None:
    assert isinstance(parse_order(line), str)


def test_the_prompt_takes_letters_as_the_window_gives_them() -> None:
    prompt = Prompt()
    for key in (0xFFE1, ord("b"), ord("l"), 0x20, -0x3C, 0x6C1, 0x10082F9, 0xFF51, ord("x"), 8):
        prompt.press(key)
    assert prompt.text == "Bl äа苹"
    prompt.press(13)
    assert prompt.done


def test_an_empty_name_is_not_done() -> None:
    prompt = Prompt()
    prompt.press(13)
    assert not prompt.done


def test_the_tally_keeps_a_bounded_history() -> None:
    tally = Tally()
    for index in range(12_000):
        tally.pass_by(index / 50)
        tally.count(known=index % 4 != 0, latency_ms=index % 100, age_ms=1.0, now_s=index / 50)
    summary = tally.summary()
    assert summary.frames == 12_000 and summary.unknown == 3_000
    assert summary.fps == pytest.approx(50) and tally.fps == pytest.approx(50)
    assert summary.p50_ms == pytest.approx(49.5) and "25% unknown" in summary.sentence()
    assert len(tally._latency_ms) == 10_000
