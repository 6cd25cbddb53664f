"""What a person sees: progress and talk on stderr, tables and JSON on stdout.

rich is imported where something is shown: it would take a twentieth of the time to a first answer that shows nothing.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sightline.runtime.reporter import Task

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class _Bar:
    def __init__(self, progress: "Progress", description: str, total: float | None) -> None:
        self._progress = progress
        self._note = ""
        self._id = progress.add_task(description, total=total, note="")

    def advance(self, steps: float = 1, note: str = "") -> None:
        if note:
            self._note = note
        self._progress.update(self._id, advance=steps, note=self._note)


class ConsoleReporter:
    """Shows talk and progress bars with the time left on stderr; plain lines where stderr is no terminal."""

    @cached_property
    def _console(self) -> "Console":
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Show one line."""
        self._console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Show one line that the user should act on."""
        self._console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        """Open a progress bar for the length of a `with` block."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        if not self._console.is_terminal:
            self.say(f"{description} ...")
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as bars:
            yield _Bar(bars, description, total)


def print_json(value: Any) -> None:
    """Print one JSON object on a line of its own; NaN becomes null."""
    click.echo(msgspec.json.encode(value).decode())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """Print a table; columns after the first are right-aligned where their cells are numbers."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) for row in rows) and bool(rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 120
    Console(highlight=False, markup=False, width=width).print(table)
