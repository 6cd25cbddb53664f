"""Commands run for events: a relay, a GPIO script, a beep."""

import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from sightline.runtime.errors import InputError

from .event import Event
from .outbox import DeliveryRefused

MAX_RUNNING = 2
# Linux starts no program with a variable of 128 KiB; the event is on standard input in any case.
_LONGEST_VARIABLE = 100_000
# What the service manager and our own options keep in the environment is nobody else's.
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY")


def split_command(command: str) -> list[str]:
    """Read a command as a shell would read its words; the program is found on PATH.

    Raises:
        InputError: It cannot be read, or there is no such program.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"--on-event cannot be read: {error}") from error
    if not words:
        raise InputError("--on-event is empty: expected a program and its arguments")
    found = shutil.which(words[0])
    if found is None:
        raise InputError(f"--on-event: there is no program '{words[0]}' that may be run")
    return [found, *words[1:]]


class Hook:
    """Runs a command for each event; a `Delivery`.

    The event is one JSON line on its standard input; SIGHTLINE_EVENT, SIGHTLINE_LABEL and, up to 100 kB,
    SIGHTLINE_JSON are in its environment; what it says on stderr goes where ours goes. No shell reads the command,
    so no label can become one. At most `MAX_RUNNING` run at a time; one that takes longer than the limit is killed
    with its children. A command that fails is not run again: a relay that moved and then failed must not move twice.

    Args:
        command: A program and its arguments, quoted as for a shell.
        timeout_s: The longest one may take.
        say: Told why a command failed.

    Raises:
        InputError: There is no such program.
    """

    def __init__(self, command: str, timeout_s: float, say: Callable[[str], None]) -> None:
        self._words = split_command(command)
        self.name = f"command '{os.path.basename(self._words[0])}'"  # noqa: PTH119
        self._timeout_s, self._say = timeout_s, say
        self._room = threading.Semaphore(MAX_RUNNING)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._said = ""

    def deliver(self, items: Sequence[Event]) -> None:
        """Start the command for each event, as soon as one of `MAX_RUNNING` places is free; none after `close`.

        Raises:
            DeliveryRefused: It cannot be started.
        """
        for event in items:
            self._room.acquire()
            try:
                process = self._start(event)
            except OSError as error:
                self._room.release()
                raise DeliveryRefused(f"cannot be started: {error.strerror}") from error
            if process is None:
                self._room.release()
                return
            threading.Thread(target=self._watch, args=(process, event), name="sightline-hook", daemon=True).start()

    def close(self) -> None:
        """Leave those that run a moment to end, then kill them; from any thread, also while `deliver` waits."""
        with self._lock:
            self._closed, running = True, list(self._running)
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.5 / len(running))
            _kill(process)

    def _start(self, event: Event) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._closed:
                return None
            process = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=_environment(event, os.environ),
                start_new_session=True,
            )
            self._running.add(process)
        return process

    def _watch(self, process: subprocess.Popen[bytes], event: Event) -> None:
        try:
            process.communicate(event.encode() + b"\n", self._timeout_s)
            trouble = f"ended with exit code {process.returncode}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            _kill(process)
            trouble = f"took longer than {self._timeout_s:g} s and was killed"
        finally:
            with self._lock:
                self._running.discard(process)
            self._room.release()
        if trouble and trouble != self._said:
            self._say(f"{self.name} {trouble}")
        self._said = trouble


def _environment(event: Event, ours: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in ours.items() if key not in _OURS and not key.startswith("SIGHTLINE_")}
    told = {"EVENT": event.name, "LABEL": event.label or ""}
    line = event.encode()
    if len(line) <= _LONGEST_VARIABLE:
        told["JSON"] = line.decode()
    return {**kept, **{f"SIGHTLINE_{key}": value.replace("\x00", "") for key, value in told.items()}}


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(1)
