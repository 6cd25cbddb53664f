"""How long work tells a person what it does, without knowing whether anybody looks."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of long work under way."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count `steps` as done; `note` is a short text shown beside the bar (a loss, a file)."""


class Reporter(Protocol):
    """Where long work reports: the command line shows it on stderr, tests and programs ignore it."""

    def say(self, text: str) -> None:
        """Show one line."""

    def warn(self, text: str) -> None:
        """Show one line that the user should act on."""

    def task(self, description: str, total: float | None = None) -> AbstractContextManager[Task]:
        """Open a progress bar for the length of a `with` block; total None means unknown length."""


class _Silence:
    def advance(self, steps: float = 1, note: str = "") -> None:
        """Show nothing."""


class QuietReporter:
    """A reporter that shows nothing; the default of every function that takes one."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def warn(self, text: str) -> None:
        """Show nothing."""

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        """Open a task that shows nothing."""
        yield _Silence()
