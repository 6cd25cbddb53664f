"""What a run tells systemd: that it is ready, what it does, and that it lives (sd_notify(3)).

The watchdog is fed only when a frame went through the model: a loop that turns without frames, or a model that
hangs, is a device that does not work, and systemd starts it again. A camera that is unplugged is another matter: no
start brings it back, and the page should go on saying so. While every attempt at it comes back with a refusal, the
watchdog is given an hour; from the first frame on, or when an attempt hangs in a driver, its own time counts again.
"""

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

from ..connection import Frame
from ..listeners import Deaf
from ..reader import State, Status
from ..sight import Seen

# No answer may feed the watchdog more often than this; each feeding is a system call.
_FEED_EVERY_S = 1.0
AWAY_US = 3_600_000_000


class Supervisor(Deaf):
    """The service manager that started this process; silent where there is none.

    Args:
        environment: Where NOTIFY_SOCKET and WATCHDOG_USEC are; they are taken out, so that no command run for an event
            speaks for us.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        self._address = variables.pop("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        self._fed_s = float("-inf")
        watchdog = variables.pop("WATCHDOG_USEC", "")
        self._watchdog_us = int(watchdog) if watchdog.isdecimal() else 0
        self._patience_us = self._watchdog_us
        self._label: str | None = ""
        if self._address.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # A manager that reads nothing must not stop the loop.
            self._socket.setblocking(False)

    def ready(self) -> None:
        """The parts are there and the loop begins."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The run ends."""
        self._send("STOPPING=1")

    def decided(self, frame: Frame, seen: Seen, age_ms: float) -> None:
        """Feed the watchdog: a frame and an inference went through."""
        now = time.monotonic()
        if now - self._fed_s >= _FEED_EVERY_S:
            self._fed_s = now
            self._send("WATCHDOG=1")
        label = seen.shown.decision.label
        if label != self._label:
            self._label = label
            self._send(f"STATUS=live: {label if label is not None else 'unknown'}")

    def state(self, status: Status) -> None:
        """Show the source's state in `systemctl status`, and give a camera that is away its time."""
        self._label = ""
        away = status.state in (State.CONNECTING, State.LOST) and bool(status.detail) and not status.hung
        self._be_patient(max(AWAY_US, self._watchdog_us) if away else self._watchdog_us)
        self._send(f"STATUS={status.state}: {status.detail}" if status.detail else f"STATUS={status.state}")

    def _be_patient(self, patience_us: int) -> None:
        if self._watchdog_us and patience_us != self._patience_us:
            self._patience_us = patience_us
            self._send(f"WATCHDOG_USEC={patience_us}")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        # A leading @ means the abstract namespace, whose names begin with a zero byte.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with suppress(OSError):
            self._socket.sendto(" ".join(text.splitlines()).encode(), address)
