"""JSON lines of a run: what was decided, and what happened."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec

from .connection import Frame
from .outputs.event import iso_time
from .outputs.lines import LineWriter
from .outputs.settings import Rotation
from .reader import Status
from .sight import Seen
from .teach import Refused, Removed, Taught, TeachEvent


class Journal:
    """Writes one JSON object a line, each at once, on a thread of its own.

    Args:
        target: A file; "-" for stdout; None writes nowhere.
        rotation: Whether an older file is replaced, and when a new one is begun.
        waits: Whether a slow disk or reader holds the run up (files as source) or costs lines (cameras).
        ending: Tells that the run was asked to end.

    Raises:
        InputError: The file cannot be written.
    """

    def __init__(
        self,
        target: str | None,
        rotation: Rotation | None = None,
        waits: bool = True,
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self._writer = LineWriter(target, rotation or Rotation(), waits, ending) if target is not None else None

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return self._writer.lost if self._writer is not None else 0

    @property
    def unread(self) -> bool:
        """Whether nobody reads standard output any more, and the run may end."""
        return self._writer is not None and self._writer.unread

    def decided(self, frame: Frame, seen: Seen, age_ms: float) -> None:
        """Write an answer; `frame_label` is what the frame alone says, `label` what is shown."""
        if self._writer is None:
            return
        head = {"time": _when(frame.taken_s), "frame": frame.number, "age_ms": round(age_ms, 3)}
        self._write({**head, **seen.to_dict(), "frame_label": seen.recognition.decision.label})

    def passed(self, frame: Frame, age_ms: float) -> None:
        """Write nothing: the last line holds."""

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
        """Write what waits and close the file."""
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _event(self, name: str, **fields: object) -> None:
        self._write({"time": _when(time.monotonic()), "event": name, **fields})

    def _write(self, line: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.put(msgspec.json.encode(line))


def _when(monotonic_s: float) -> str:
    return iso_time(time.time() - (time.monotonic() - monotonic_s))
