"""What importing the device's code may not do: torch, sockets, files at home, a package's private names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sightline.runtime

_GUARDED = """
import socket, sys
def refuse(*arguments, **options):
    raise SystemExit("a socket was opened")
socket.socket.connect = socket.socket.bind = socket.create_connection = refuse
import sightline.runtime, sightline.edge_app.cli
from sightline.runtime import Bundle, Recognizer
Recognizer(Bundle.load(sys.argv[1])).embed([__import__("numpy").zeros((40, 40, 3), "uint8")])
heavy = {"torch", "torchvision", "onnx", "sklearn", "matplotlib"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


def test_nothing_heavy_no_socket_nothing_below_home(tmp_path: Path) -> None:
    from tests.factories import tiny_bundle

    bundle, home = tiny_bundle(tmp_path / "bundle"), tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_"))}
    environment["HOME"] = str(home)
    done = subprocess.run(
        [sys.executable, "-c", _GUARDED, str(bundle)], env=environment, cwd=home, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize("name", sightline.runtime.__all__)
def test_the_public_face_is_whole_and_documented(name: str) -> None:
    assert getattr(sightline.runtime, name).__doc__


def test_the_public_face_is_sorted() -> None:
    assert sorted(sightline.runtime.__all__) == list(sightline.runtime.__all__)
