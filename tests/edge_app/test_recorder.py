"""The recorder: files that can be read again, in time, whole or not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sightline.edge_app import recorder as module
from sightline.edge_app.recorder import Recorder, RecordingStopped
from sightline.runtime.errors import InputError
from tests.edge_app.cameras import read_video

SIZE = (64, 48)


def shade(value: int, size_wh: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((size_wh[1], size_wh[0], 3), value, np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_every_frame_is_there_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with Recorder(path, lambda: 25.0, by_clock=False) as recorder:
        for value in range(0, 250, 10):
            recorder.write(shade(value), 0.0)
        assert not path.exists(), "the name is taken when the file is whole"
    frames, fps = read_video(path)
    assert [round(frame.mean() / 10) for frame in frames] == list(range(25))
    assert fps == pytest.approx(25.0)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_odd_and_changing_sizes_are_fitted(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Recorder(path, lambda: 10.0, by_clock=False) as recorder:
        for size_wh in ((65, 49), (320, 240), (48, 64), (65, 49)):
            recorder.write(shade(200, size_wh), 0.0)
    frames, _ = read_video(path)
    assert len(frames) == 4 and {frame.shape for frame in frames} == {(48, 64, 3)}
    assert frames[2][:, :5].mean() < 40 < frames[2][:, 30:34].mean()


def test_by_the_clock_a_file_lasts_as_long_as_life_did(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Recorder(path, lambda: 20.0, by_clock=True) as recorder:
        for moment in (0.0, 0.01, 0.02, 0.5, 1.0, 1.01):
            recorder.write(shade(int(moment * 100)), moment)
    assert len(read_video(path)[0]) == 21


def test_a_long_pause_is_not_filled(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Recorder(path, lambda: 20.0, by_clock=True) as recorder:
        for moment in (0.0, 0.05, 600.0, 600.05):
            recorder.write(shade(50), moment)
    assert len(read_video(path)[0]) == 4


@pytest.mark.parametrize("name", ["out.txt", "out", "missing/out.mp4", "folder.mp4"])
def test_bad_places_are_said_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError):
        Recorder(tmp_path / name, lambda: None, by_clock=False)


def test_without_a_frame_nothing_is_left_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with Recorder(path, lambda: None, by_clock=False):
        pass
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_an_exception_still_leaves_a_whole_file(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Recorder(tmp_path / "out.mp4", lambda: None, by_clock=False) as recorder:
        recorder.write(shade(10), 0.0)
        raise KeyError
    assert len(read_video(tmp_path / "out.mp4")[0]) == 1


def test_a_nearly_full_disk_ends_the_recording_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.mp4"
    recorder = Recorder(path, lambda: None, by_clock=False)
    for _ in range(50):
        recorder.write(shade(99), 0.0)
    monkeypatch.setattr(module, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(RecordingStopped, match="nearly full"):
        recorder.write(shade(99), 0.0)
    assert len(read_video(path)[0]) == 50


def test_a_disk_without_room_is_said_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(InputError, match="MB left"):
        Recorder(tmp_path / "out.mp4", lambda: None, by_clock=False)


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    program = (
        "import sys, numpy as np, os, signal\n"
        "from sightline.edge_app.recorder import Recorder\n"
        "recorder = Recorder(sys.argv[1], lambda: None, by_clock=False)\n"
        "for _ in range(20): recorder.write(np.zeros((48, 64, 3), np.uint8), 0.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], timeout=60, env={**os.environ})
    assert done.returncode == -signal.SIGKILL and path.read_bytes() == b"old"
