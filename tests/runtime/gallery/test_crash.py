"""Killed at any moment, the gallery holds all that was acknowledged."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def _crash(folder: Path, rounds: int, seed: int) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.runtime.gallery.crash", str(folder), str(rounds), str(seed)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    done = _crash(tmp_path / "1" / "g", 8, 1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost" in done.stdout


@pytest.mark.slow
def test_a_thousand_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    for batch in range(10):
        done = _crash(tmp_path / str(batch) / "g", 100, 1000 * batch)
        assert done.returncode == 0, done.stdout + done.stderr
        print(done.stdout)
