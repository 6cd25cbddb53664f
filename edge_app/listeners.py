"""Who hears what happens in a run: JSON lines, the event log, metrics, the watchdog and others."""

from collections.abc import Sequence
from typing import Protocol

from .connection import Frame
from .reader import Status
from .sight import Seen
from .teach import TeachEvent


class Listener(Protocol):
    """Hears what happens, on the loop's thread: it returns at once and raises nothing."""

    def decided(self, frame: Frame, seen: Seen, age_ms: float) -> None:
        """A frame was answered by the model; it was `age_ms` old by then."""

    def passed(self, frame: Frame, age_ms: float) -> None:
        """Nothing moved in a frame: the last answer holds."""

    def state(self, status: Status) -> None:
        """The source changed its state."""

    def teaching(self, event: TeachEvent) -> None:
        """Something was taught, taken back or refused."""

    def error(self, message: str) -> None:
        """Something failed and the run goes on."""


class Deaf:
    """A listener that does nothing; others override what they want to hear."""

    def decided(self, frame: Frame, seen: Seen, age_ms: float) -> None:
        """Do nothing."""

    def passed(self, frame: Frame, age_ms: float) -> None:
        """Do nothing."""

    def state(self, status: Status) -> None:
        """Do nothing."""

    def teaching(self, event: TeachEvent) -> None:
        """Do nothing."""

    def error(self, message: str) -> None:
        """Do nothing."""


class Listeners:
    """Passes everything on to several listeners, in order."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._all = tuple(listeners)

    def decided(self, frame: Frame, seen: Seen, age_ms: float) -> None:
        """Pass an answer on."""
        for one in self._all:
            one.decided(frame, seen, age_ms)

    def passed(self, frame: Frame, age_ms: float) -> None:
        """Pass on that nothing moved."""
        for one in self._all:
            one.passed(frame, age_ms)

    def state(self, status: Status) -> None:
        """Pass a change of state on."""
        for one in self._all:
            one.state(status)

    def teaching(self, event: TeachEvent) -> None:
        """Pass on what was taught."""
        for one in self._all:
            one.teaching(event)

    def error(self, message: str) -> None:
        """Pass a failure on."""
        for one in self._all:
            one.error(message)
