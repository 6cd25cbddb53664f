"""Traces: the same decisions again, with votes, a gallery that changes, a ring that forgets, and differences named."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.edge_app import cli
from sightline.edge_app.controls import Stop
from sightline.edge_app.live import RunOptions, run_live
from sightline.edge_app.outputs.settings import OutputOptions
from sightline.edge_app.teach import Teacher, TeachEvent
from sightline.edge_app.trace.replay import Replay, Replayer
from sightline.edge_app.trace.shot import About, Said, Shot
from sightline.edge_app.trace.store import FILE, TraceReader, TraceStore
from sightline.runtime import Bundle, InputError
from sightline.runtime.manifest import DecisionPolicy
from sightline.runtime.recognition import Decision
from tests.edge_app.cameras import write_video
from tests.factories import picture, tiny_bundle


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    labels = [("red", "blue", "green")[at // 3 % 3] if at % 7 else "blue" for at in range(60)]
    return write_video(tmp_path / "clip.avi", [picture(one, seed) for seed, one in enumerate(labels)], codec="MJPG")


def run(bundle: Path, source: object, trace: Path, size: int = 500_000_000, **more: Any) -> None:
    outputs = OutputOptions(trace=str(trace), trace_bytes=size)
    run_live(RunOptions(str(bundle), str(source), headless=True, outputs=outputs, **more), Stop())


def replay(trace: Path, **more: Any) -> Replay:
    with TraceReader(trace) as reader:
        return Replayer(reader, **more).run()


def ring(folder: Path, max_bytes: int = 500_000_000) -> TraceStore:
    return TraceStore(folder, About("fp32", "cpu", 5, 1, "test", "here", {}), max_bytes)


def shot(number: int, bundle_id: str = "b") -> Shot:
    pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
    decision = Decision("mug", True, 0.9, "classifier")
    return Shot(number, 0.0, bundle_id, pixels, b"jpeg", Said(decision, decision, (), number == 0, False))


def numbers_of(folder: Path) -> list[int]:
    with TraceReader(folder) as reader:
        return [one.number for _, one in reader.shots()]


@pytest.mark.parametrize("votes", [1, 5])
def test_the_same_decisions_again(
    tmp_path: Path, clip: Path, votes: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    run(bundle, clip, tmp_path / "trace", smooth=votes, roi="0.1,0.1,0.8,0.8")
    # All that is needed lies in the folder.
    shutil.rmtree(bundle)
    elsewhere = (tmp_path / "trace").rename(tmp_path / "elsewhere")
    done = replay(elsewhere)
    assert (done.frames, done.differences, done.first, done.largest_shift) == (60, 0, None, 0.0)
    assert cli.run(["replay", str(elsewhere)]) == 0
    assert "60 frames: the same decisions" in capsys.readouterr().out


def test_a_gallery_that_is_taught_meanwhile(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poll = Teacher.poll

    def wait_for_the_disk(self: Teacher) -> TeachEvent | None:
        if self._writing is not None:
            self._writing.exception()
        return poll(self)

    monkeypatch.setattr(Teacher, "poll", wait_for_the_disk)
    gallery = tmp_path / "g"
    bundle = tiny_bundle(tmp_path / "b", policy=DecisionPolicy(min_probability=1.1, min_similarity=0.9))
    run(bundle, clip, tmp_path / "trace", smooth=3, gallery=str(gallery), teach_label="mug")
    with TraceReader(tmp_path / "trace") as reader:
        shown = [shot.said.shown.label for _, shot in reader.shots()]
        entries = reader.entries()
    assert shown[0] is None and "mug" in shown and entries
    shutil.rmtree(gallery)
    done = replay(tmp_path / "trace")
    assert done.frames == 60 and done.differences == 0 and done.neighbours == 0


def test_the_ring_forgets_its_oldest_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, limit = tiny_bundle(tmp_path / "b"), 200_000
    run(bundle, "test://?size=320x240&fps=0&frames=300", tmp_path / "trace", size=limit, smooth=5)
    with TraceReader(tmp_path / "trace") as reader:
        numbers = [shot.number for _, shot in reader.shots()]
    assert numbers == list(range(numbers[0], 300)) and numbers[0] > 0
    assert (tmp_path / "trace" / FILE).stat().st_size < 4 * limit
    assert replay(tmp_path / "trace").differences == 0


def test_frames_that_were_not_kept_leave_a_gap(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.edge_app.trace.tracer._WAITING", 1)
    run(tiny_bundle(tmp_path / "b"), clip, tmp_path / "trace", smooth=5)
    with TraceReader(tmp_path / "trace") as reader:
        numbers = [shot.number for _, shot in reader.shots()]
        gaps = [shot.said.gap for _, shot in reader.shots()]
    follows = [before + 1 == number for before, number in zip([-1, *numbers], numbers, strict=False)]
    assert gaps == [not one for one in follows]
    assert replay(tmp_path / "trace").differences == 0


def test_the_first_difference_is_named(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_bundle(tmp_path / "b"), clip, tmp_path / "trace", smooth=1)
    with sqlite3.connect(tmp_path / "trace" / FILE) as changed:
        (line,) = changed.execute("SELECT said FROM frames WHERE id = 18").fetchone()
        said = json.loads(line)
        said["raw"]["label"] = "pear"
        changed.execute("UPDATE frames SET said = ? WHERE id = 18", [json.dumps(said)])
    changed.close()
    done = replay(tmp_path / "trace")
    assert done.differences == 1 and done.first is not None and done.first.frame == 17
    assert (done.first.recorded.label, done.first.what) == ("pear", "answer")
    capsys.readouterr()
    assert cli.run(["replay", str(tmp_path / "trace")]) == 1
    assert "first: frame 17" in (out := capsys.readouterr().out) and "was 'pear'" in out
    other = tiny_bundle(tmp_path / "other", policy=DecisionPolicy(min_probability=1.1))
    assert replay(tmp_path / "trace", bundle=other).differences == 60
    assert cli.run(["replay", str(tmp_path / "trace"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["first"]["frame"] == 17


def test_what_is_kept_is_what_reached_the_model(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tiny_bundle(tmp_path / "b"), clip, tmp_path / "trace")
    from sightline.edge_app.captures import open_file
    from sightline.runtime import Bundle, prepare

    capture = open_file(clip, "clip")
    spec = Bundle.load(tmp_path / "b").input_spec
    with TraceReader(tmp_path / "trace") as reader:
        for _, shot in reader.shots():
            assert np.array_equal(shot.prepared, prepare(capture.read(), spec))
    capture.close()


def test_traces_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected what"):
        TraceReader(tmp_path)
    (tmp_path / FILE).write_bytes(bytes(5000))
    with pytest.raises(InputError):
        TraceReader(tmp_path)
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE mine (one)")
    other.close()
    (tmp_path / "other").replace(tmp_path / FILE)
    with pytest.raises(InputError, match="another program"):
        run(tiny_bundle(tmp_path / "b"), "test://?frames=3", tmp_path)


def test_what_a_power_cut_left_does_not_keep_a_run_from_starting(tmp_path: Path) -> None:
    before = ring(tmp_path / "t")
    before.append([shot(0)], {})
    # What lay in the write-ahead log alone is lost; the file itself may be empty or zeros.
    cut = (tmp_path / "t" / FILE).read_bytes()
    before.close()
    for left in (cut, b"", bytes(8192), cut[:100] + bytes(len(cut) - 100)):
        (tmp_path / "t" / FILE).write_bytes(left)
        (tmp_path / "t" / f"{FILE}-wal").write_bytes(b"torn")
        store = ring(tmp_path / "t")
        store.append([shot(7)], {})
        store.close()
        assert numbers_of(tmp_path / "t") == [7]


def test_a_small_ring_keeps_the_newest_frames(tmp_path: Path) -> None:
    store = ring(tmp_path, 120_000)
    for number in range(40):
        store.append([shot(number)], {})
        kept = numbers_of(tmp_path)
        assert kept == list(range(kept[0], number + 1)) and (number < 5 or len(kept) >= 5)
    store.close()
    tiny = ring(tmp_path, 1)
    tiny.append([shot(0), shot(1)], {})
    tiny.close()
    assert numbers_of(tmp_path) == [1]


def test_a_batch_that_failed_and_is_tried_again_is_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ring(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(store, "_forget", lambda writer: writer.execute("INSERT INTO nowhere VALUES (1)"))
        with pytest.raises(sqlite3.Error):
            store.append([shot(0), shot(1)], {})
    store.append([shot(0), shot(1)], {})
    store.close()
    assert numbers_of(tmp_path) == [0, 1]


def test_bundles_that_answered_no_kept_frame_go(tmp_path: Path) -> None:
    rules = [DecisionPolicy(min_probability=one) for one in (0.5, 0.6, 0.7)]
    bundles = [Bundle.load(tiny_bundle(tmp_path / f"{number}", policy=one)) for number, one in enumerate(rules)]
    (tmp_path / "t" / "bundles" / "mine").mkdir(parents=True)
    first = ring(tmp_path / "t")
    first.keep_bundle(bundles[0])
    first.close()
    store = ring(tmp_path / "t")
    for number, bundle in enumerate(bundles[1:]):
        store.keep_bundle(bundle)
        store.append([shot(number, bundle.bundle_id)], {})
    store.close()
    there = {place.name for place in (tmp_path / "t" / "bundles").iterdir()}
    assert there == {"mine", bundles[1].bundle_id, bundles[2].bundle_id}
