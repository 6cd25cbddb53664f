"""Runs a piece of Python in a process of its own, which may die."""

import signal
import subprocess
import sys
from dataclasses import dataclass

TIMEOUT_S = 60.0
# A large gallery on a slow card: every byte of it is read.
STORE_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended.

    Attributes:
        said: Its standard output.
        trouble: Why it failed, in a few words; "" where it did not.
        died: Whether a signal ended it.
    """

    said: str
    trouble: str
    died: bool


def run_python(code: str, *words: str) -> Outcome:
    """Run code in a fresh interpreter."""
    return run_words(sys.executable, "-c", code, *words)


def run_sightline(*words: str) -> Outcome:
    """Run a command of ours that reads a bundle or a gallery, in a fresh interpreter."""
    return run_words(sys.executable, "-m", "sightline.edge_app", *words, timeout_s=STORE_TIMEOUT_S)


def run_words(*words: str, timeout_s: float = TIMEOUT_S) -> Outcome:
    """Run a program."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return Outcome("", f"no answer for {timeout_s:.0f} s", False)
    except OSError as error:
        return Outcome("", error.strerror or "it cannot be started", False)
    if done.returncode < 0:
        return Outcome(done.stdout, _signal_name(-done.returncode), True)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return Outcome(done.stdout, (lines[-1] if lines else "it failed") if done.returncode else "", False)


def _signal_name(number: int) -> str:
    try:
        return f"killed by {signal.Signals(number).name}"
    except ValueError:
        return f"killed by signal {number}"
