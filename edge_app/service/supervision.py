"""What a run tells systemd: that it is ready, what it does, and that it lives (sd_notify(3)).

The watchdog is fed only when a frame went through the model: a loop that turns without frames, or a model that
hangs, is a device that does not work, and systemd starts it again.
"""

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

from ..connection import Frame
from ..listeners import Deaf
from ..reader import Status
from ..sight import Seen

# No answer may feed the watchdog more often than this; each feeding is a system call.
_FEED_EVERY_S = 1.0


class Supervisor(Deaf):
    """The service manager that started this process; silent where there is none.

    Args:
        environment: Where NOTIFY_SOCKET is; it is taken out, so that no command run for an event speaks for us.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        self._address = variables.pop("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        self._fed_s = float("-inf")
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
        """Show the source's state in `systemctl status`."""
        self._label = ""
        self._send(f"STATUS={status.state}: {status.detail}" if status.detail else f"STATUS={status.state}")

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
