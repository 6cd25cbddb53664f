"""The Pi's ribbon camera behind a stand-in for its package, and the screen on a real X server."""

import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sightline.edge_app import grabbers
from sightline.edge_app.sources import parse_source
from sightline.runtime.errors import InputError, SourceError


class Picamera2:
    """As much of picamera2 as is used."""

    made: list["Picamera2"]

    def __init__(self, number: int) -> None:
        if number > 0:
            raise IndexError("list index out of range")
        self.number, self.config, self.running = number, {}, False
        Picamera2.made = [self]

    def create_video_configuration(self, **wishes: Any) -> dict[str, Any]:
        return wishes

    def configure(self, config: dict[str, Any]) -> None:
        self.config = config

    def start(self) -> None:
        self.running = True

    def capture_array(self, stream: str) -> np.ndarray:
        if not self.running:
            raise RuntimeError("Camera has been stopped")
        return np.zeros((480, 640, 3), np.uint8)

    def close(self) -> None:
        self.running = False


@pytest.fixture
def pi(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "picamera2", SimpleNamespace(Picamera2=Picamera2))  # type: ignore[arg-type]
    monkeypatch.setattr(grabbers, "pi_camera_problem", lambda: None)
    monkeypatch.setattr("sightline.edge_app.sources.pi_camera_problem", lambda: None)
    yield


def test_without_its_package_the_pi_camera_says_what_to_install() -> None:
    with pytest.raises(SourceError, match="python3-picamera2"):
        parse_source("picamera://0")


@pytest.mark.usefixtures("pi")
def test_the_pi_camera_gives_frames_and_a_loss() -> None:
    source = parse_source("picamera://0?width=640&height=480&fps=25")
    assert source.live
    capture = source.open()
    made = Picamera2.made[0]
    assert made.config["main"] == {"format": "RGB888", "size": (640, 480)} and capture.fps == 25
    assert capture.read().shape == (480, 640, 3)
    made.running = False
    with pytest.raises(SourceError, match="failed while reading"):
        capture.read()
    capture.close()


@pytest.mark.usefixtures("pi")
def test_a_missing_pi_camera_is_a_sentence() -> None:
    with pytest.raises(SourceError, match="cannot be opened"):
        parse_source("picamera://1").open()


@pytest.mark.parametrize("uri", ["picamera://front", "screen://?size=big", "screen://?fps=fast"])
def test_bad_options(uri: str) -> None:
    with pytest.raises(InputError):
        parse_source(uri)


def test_without_a_display_there_is_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(SourceError, match="DISPLAY is not set"):
        parse_source("screen://")


def test_the_screen_is_grabbed_and_the_environment_left_alone(x_display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", x_display)
    capture = parse_source("screen://?size=320x200&x=16&y=8&fps=20").open()
    assert capture.read().shape == (200, 320, 3)
    capture.close()
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ
