"""How a person or a supervisor steers a run: signals, and lines on standard input.

Imports nothing heavy: signals are heeded before the model is loaded.
"""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import TextIO

_MAX_LINE_BYTES = 4096


class Command(StrEnum):
    """What a person asked for with a key or a line."""

    QUIT = "quit"
    TEACH = "teach"
    CANCEL = "cancel"
    UNDO = "undo"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Order:
    """One thing asked for; `name` goes with teaching."""

    command: Command
    name: str | None = None


class Stop:
    """Whether the run should end, and why.

    Attributes:
        reason: "" while it goes on.
        exit_code: What the process leaves with.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.exit_code = 0

    def ask(self, reason: str, exit_code: int = 0) -> None:
        """End the run after the frame at hand."""
        if not self.reason:
            self.reason, self.exit_code = reason, exit_code

    def __bool__(self) -> bool:
        return bool(self.reason)


class Wish:
    """Something asked for from outside and taken once; a signal handler may ask."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        """Ask for it."""
        self._asked = True

    def take(self) -> bool:
        """Whether it was asked for since the last call."""
        asked, self._asked = self._asked, False
        return asked


@contextmanager
def stopped_by_signals(stop: Stop, reload: Wish | None = None) -> Iterator[None]:
    """Let SIGTERM (exit code 0) and Ctrl-C (130) end the run in order; a second Ctrl-C ends it at once.

    SIGHUP asks for `reload`; on a terminal it means that the terminal was closed, and ends the run in order.
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        stop.ask("asked to end")

    def interrupt(number: int, frame: FrameType | None) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.ask("interrupted", 130)

    def hang_up(number: int, frame: FrameType | None) -> None:
        if reload is None or _on_terminal():
            stop.ask("the terminal was closed")
        else:
            reload.ask()

    handlers = {signal.SIGTERM: terminate, signal.SIGINT: interrupt}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = hang_up
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _on_terminal() -> bool:
    return any(stream is not None and stream.isatty() for stream in (sys.__stdin__, sys.__stderr__))


class Lines:
    """Orders read from a stream without waiting: `teach NAME`, `cancel`, `undo`, `pause`, `quit`.

    Args:
        stream: A pipe or terminal; a regular file works too.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._handle: int | None = (stream or sys.stdin).fileno()
        self._buffer = b""

    def poll(self) -> tuple[list[Order], list[str]]:
        """Give the orders that have come, and a complaint for each line that is none."""
        while self._handle is not None and select.select([self._handle], [], [], 0)[0]:
            data = os.read(self._handle, _MAX_LINE_BYTES)
            self._buffer += data or b"\n"
            if not data:
                self._handle = None
        *lines, self._buffer = self._buffer.split(b"\n")
        self._buffer = self._buffer[-_MAX_LINE_BYTES:]
        parsed = [parse_order(line.decode("utf-8", "replace")) for line in lines if line.strip()]
        orders = [order for order in parsed if isinstance(order, Order)]
        return orders, [complaint for complaint in parsed if isinstance(complaint, str)]


def parse_order(line: str) -> Order | str:
    """Read one line; a complaint where it is no order."""
    word, _, rest = line.strip().partition(" ")
    try:
        command = Command(word.lower())
    except ValueError:
        return f"'{word}' is no command: expected teach NAME, cancel, undo, pause or quit"
    if command is Command.TEACH and not rest.strip():
        return "teach needs a name: teach NAME"
    return Order(command, rest.strip() or None)
