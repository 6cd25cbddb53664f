"""What happened, as the outputs carry it: a name, a time and fields, one JSON object each."""

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..connection import Frame
from ..listeners import Deaf
from ..reader import Status
from ..sight import Seen
from ..teach import Refused, Removed, Taught, TeachEvent
from .outbox import Outbox


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        id: Names it for good, so that a receiver can tell a second delivery.
        name: "decision", "state", "taught", "removed", "error", "started" or "ended".
        at_s: When, seconds since 1970.
        fields: What else its JSON object says.
    """

    id: str
    name: str
    at_s: float
    fields: dict[str, Any]

    @property
    def label(self) -> str | None:
        """The item it is about, where it is about one."""
        label = self.fields.get("label")
        return label if isinstance(label, str) else None

    def encode(self) -> bytes:
        """Its JSON object."""
        return msgspec.json.encode({"id": self.id, "time": iso_time(self.at_s), "event": self.name, **self.fields})


def iso_time(at_s: float) -> str:
    """Seconds since 1970 as UTC text with milliseconds: 2026-05-01T12:00:00.000Z."""
    moment = datetime.fromtimestamp(at_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Announcer(Deaf):
    """Tells outboxes what happens: an answer only when what is shown changes, not thirty times a second.

    Args:
        outboxes: Who is told.
        source: The source's name, without credentials.
    """

    def __init__(self, outboxes: tuple[Outbox[Event], ...], source: str) -> None:
        self._outboxes, self._source = outboxes, source
        self._run, self._count = secrets.token_hex(4), 0
        self._shown: tuple[str | None, ...] | None = None
        self._label: str | None = None

    def decided(self, frame: Frame, seen: Seen, age_ms: float) -> None:
        """Announce an answer that differs from the last one."""
        if self._shown == seen.labels:
            return
        before = self._label if self._shown is not None else None
        self._shown, self._label = seen.labels, seen.shown.decision.label
        answer = seen.to_dict()
        del answer["latency_ms"]
        self.announce("decision", frame=frame.number, age_ms=round(age_ms, 3), **answer, before=before)

    def state(self, status: Status) -> None:
        """Announce what the source does."""
        if status.state.away:
            # Without a frame nothing is shown; what comes back afterwards is news.
            self._shown = None
        self.announce("state", state=str(status.state), detail=status.detail, attempts=status.attempts)

    def teaching(self, event: TeachEvent) -> None:
        """Announce what was taught, taken back or refused."""
        if isinstance(event, Taught):
            self.announce("taught", label=event.label, ids=list(event.ids))
        elif isinstance(event, Removed):
            self.announce("removed", label=event.label, ids=list(event.ids))
        elif isinstance(event, Refused):
            self.error(event.message)

    def error(self, message: str) -> None:
        """Announce that something failed and the run goes on."""
        self.announce("error", message=message)

    def announce(self, name: str, **fields: Any) -> None:
        """Tell every outbox; returns at once."""
        self._count += 1
        event = Event(f"{self._run}-{self._count}", name, time.time(), {"source": self._source, **fields})
        for outbox in self._outboxes:
            outbox.put(event)
