"""JSON lines of a run: what was decided, and what happened."""

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import msgspec

from sightline.runtime.errors import InputError

from .connection import Frame
from .reader import Status
from .sight import Seen
from .teach import Refused, Removed, Taught, TeachEvent


class Journal:
    """Writes one JSON object a line, each flushed at once.

    A disk that is full or gone for a while costs lines, not the run: they are counted in `lost`. Where nobody
    reads stdout any more (`| head`), `unread` turns true and the run may end.

    Args:
        target: A file, overwritten; "-" for stdout; None writes nowhere.

    Raises:
        InputError: The file cannot be written.
    """

    def __init__(self, target: str | None) -> None:
        self.lost = 0
        self.unread = False
        self._owned = target not in (None, "-")
        self._stream: TextIO | None = sys.stdout if target == "-" else None
        if target is not None and self._owned:
            try:
                self._stream = Path(target).open("w", encoding="utf-8")  # noqa: SIM115  (closed by `close`)
            except OSError as error:
                raise InputError(f"--json '{target}' cannot be written: {error.strerror}") from error

    def decided(self, frame: Frame, seen: Seen, age_ms: float) -> None:
        """Write an answer; `frame_label` is what the frame alone says, `label` what is shown."""
        if self._stream is None:
            return
        head = {"time": _when(frame.taken_s), "frame": frame.number, "age_ms": round(age_ms, 3)}
        self._write({**head, **seen.shown.to_dict(), "frame_label": seen.recognition.decision.label})

    def state(self, status: Status) -> None:
        """Write that the source changed its state."""
        self._event("state", state=str(status.state), detail=status.detail, attempts=status.attempts)

    def teaching(self, event: TeachEvent) -> None:
        """Write what became of teaching or undoing."""
        if isinstance(event, Taught):
            self._event("taught", label=event.label, ids=list(event.ids))
        elif isinstance(event, Removed):
            self._event("removed", label=event.label, ids=list(event.ids))
        elif isinstance(event, Refused):
            self.error(event.message)

    def error(self, message: str) -> None:
        """Write that something failed and the run goes on."""
        self._event("error", message=message)

    def close(self) -> None:
        """Close the file."""
        if self._owned and self._stream is not None:
            try:
                self._stream.close()
            except OSError:
                self.lost += 1

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _event(self, name: str, **fields: object) -> None:
        self._write({"time": _when(time.monotonic()), "event": name, **fields})

    def _write(self, line: dict[str, Any]) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(msgspec.json.encode(line).decode() + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self._stream, self.unread = None, True
            # Python flushes stdout once more when it ends and would complain then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError:
            self.lost += 1


def _when(monotonic_s: float, now: Callable[[], float] = time.time) -> str:
    moment = datetime.fromtimestamp(now() - (time.monotonic() - monotonic_s), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
