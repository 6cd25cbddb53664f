"""`sightline run` as a person meets it: the installed command, signals, pipes and a real window."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sightline.edge_app import cli
from sightline.edge_app.__main__ import main
from tests.edge_app.cameras import http_camera, read_video, silence, write_video
from tests.factories import picture, tiny_bundle

SIGHTLINE = str(Path(sys.executable).parent / "sightline")
LIVE = "test://?size=320x240&fps=30"


def environment(**more: str) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {**plain, **more}


def sightline_run(*words: object, timeout: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
    command = [SIGHTLINE, "run", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment(**more))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "kiosk.bundle")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.avi", [picture("red", seed) for seed in range(12)], codec="MJPG")


def answers_begun(path: Path, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not (path.exists() and '"frame"' in path.read_text()):
        assert time.monotonic() < deadline, "no answer came"
        time.sleep(0.02)


def test_a_file_to_json_on_stdout_and_a_sentence_on_stderr(bundle: Path, clip: Path) -> None:
    done = sightline_run(bundle, "--source", clip, "--headless", "--json", "-")
    assert done.returncode == 0, done.stderr
    got = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["label"] for line in got if "event" not in line] == ["red"] * 12
    rate, latency = (
        r"12 frames in [\d.]+ s \([\d.]+ fps\)",
        r"frame to answer [\d.]+ ms \(median\) and [\d.]+ ms \(p95\)",
    )
    assert re.fullmatch(f"{rate}, {latency}, 0% unknown\n", done.stderr)


def test_the_last_frame_of_a_file_has_the_votes_of_those_before_it(bundle: Path, tmp_path: Path) -> None:
    frames = [*[picture("red", seed) for seed in range(12)], picture("blue", 0)]
    clip = write_video(tmp_path / "clip.avi", frames, codec="MJPG")
    done = sightline_run(bundle, "--source", clip, "--headless", "--json", "-", "--smooth", "5")
    got = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["label"] for line in got if "event" not in line] == ["red"] * 13


def test_without_a_display_it_goes_on_with_a_sentence(bundle: Path, clip: Path) -> None:
    done = sightline_run(bundle, "--source", clip)
    assert done.returncode == 0 and "no window: there is no display" in done.stderr and "12 frames" in done.stderr


def test_a_display_that_does_not_answer_is_survived(bundle: Path, clip: Path) -> None:
    done = sightline_run(bundle, "--source", clip, DISPLAY=":9876")
    assert done.returncode == 0, done.stderr
    assert "no window: the display cannot be opened" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--source", "missing.mp4", "--headless"], "'missing.mp4' is not there"),
        (["--source", "88", "--headless", "--connect-timeout", "0.5"], "/dev/video88 does not exist"),
        (["--source", "http://me:secret@127.0.0.1:9/x", "--headless", "--connect-timeout", "0.5"], "refused"),
        (["--source", "gopher://x", "--headless"], "unknown kind"),
        (["--source", LIVE, "--headless", "--gallery", "nowhere"], "does not exist"),
        (["--source", LIVE, "--headless", "--record", "out.txt"], "must end in"),
        (["--source", LIVE, "--headless", "--json", "no/where.jsonl"], "cannot be written"),
        (["--source", LIVE, "--headless", "--teach-label", "mug"], "needs a gallery"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_1(
    bundle: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["run", str(bundle), *words]) == 1
    shown = capsys.readouterr()
    assert said in shown.err and "secret" not in shown.err and not shown.out
    assert shown.err.splitlines()[-1].startswith("sightline: ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_in_order_with_everything_written(
    bundle: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out, video, gallery = tmp_path / "out.jsonl", tmp_path / "shown.mp4", tmp_path / "shop.gallery"
    words = ["--source", LIVE, "--headless", "--json", out, "--record", video, "--gallery", gallery]
    command = [SIGHTLINE, "run", str(bundle), *map(str, words), "--teach-label", "bars"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        answers_begun(out)
        time.sleep(0.3)
        asked = time.monotonic()
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
        took = time.monotonic() - asked
    assert process.returncode == code, stderr
    assert took < 10 and "Traceback" not in stderr
    got = [json.loads(line) for line in out.read_text().splitlines()]
    assert any(line.get("event") == "taught" for line in got)
    assert len(read_video(video)[0]) > 0
    listed = subprocess.run([SIGHTLINE, "gallery", "list", gallery], capture_output=True, text=True, timeout=60)
    assert "bars" in listed.stdout


def test_ctrl_c_before_there_is_a_command_is_one_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130 and capsys.readouterr().err == "sightline: stopped\n"


def test_sigterm_while_a_camera_hangs(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with http_camera(silence) as camera:
        command = [SIGHTLINE, "run", str(bundle), "--source", camera.url(), "--headless", "--json", str(out)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
            answers_begun(out)
            time.sleep(0.3)
            process.terminate()
            _, stderr = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in stderr


def test_a_reader_that_goes_away_ends_the_run_quietly(bundle: Path) -> None:
    command = [SIGHTLINE, "run", str(bundle), "--source", LIVE, "--headless", "--json", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        stderr = process.stderr.read().decode()
        assert process.wait(20) == 0, stderr
    assert "Traceback" not in stderr and "Broken" not in stderr


def test_lines_on_stdin_teach_undo_and_quit(bundle: Path, tmp_path: Path) -> None:
    words = ["--source", LIVE, "--headless", "--json", "-", "--gallery", tmp_path / "g", "--stdin"]
    command = [SIGHTLINE, "run", str(bundle), *map(str, words)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        script = {"state": "teach blue bars\n", "taught": "undo\n", "removed": "nonsense\n", "error": "quit\n"}
        seen = []
        for line in process.stdout:
            event = json.loads(line).get("event")
            if event in script and event not in seen:
                seen.append(event)
                process.stdin.write(script[event])
                process.stdin.flush()
        assert process.wait(20) == 0
    assert seen == ["state", "taught", "removed", "error"]


def xdotool(display: str, *words: str) -> str:
    done = subprocess.run(["xdotool", *words], capture_output=True, text=True, env=environment(DISPLAY=display))
    return done.stdout


def test_a_real_window_teaches_with_keys_and_quits(bundle: Path, tmp_path: Path, x_display: str) -> None:
    if shutil.which("xdotool") is None:
        pytest.skip("xdotool is not installed: no key can be pressed")
    out, gallery = tmp_path / "out.jsonl", tmp_path / "g"
    words = ["--source", LIVE, "--gallery", gallery, "--json", out]
    command = [SIGHTLINE, "run", str(bundle), *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(DISPLAY=x_display)) as process:
        answers_begun(out, 60)
        deadline = time.monotonic() + 30
        while not (window := xdotool(x_display, "search", "--name", "Sightline").split()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        xdotool(x_display, "windowfocus", window[0])
        xdotool(x_display, "key", "t")
        time.sleep(1)
        xdotool(x_display, "type", "--delay", "150", "bars")
        xdotool(x_display, "key", "Return")
        deadline = time.monotonic() + 30
        while '"taught"' not in out.read_text():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        xdotool(x_display, "key", "q")
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0 and "Learnt 'bars'" in stderr
