"""What `sightline run` was asked to put out, and the options that ask for it. Imports nothing heavy."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click

HOOK_TIMEOUT_S = 10.0
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)b?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file makes room for a new one.

    Attributes:
        append: Go on with an existing file instead of replacing it.
        max_bytes: A new file is begun before this size is passed; 0 means never.
        keep: Older files kept, as FILE.1 (the newest) to FILE.keep.
    """

    append: bool = False
    max_bytes: int = 0
    keep: int = 5


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the past is kept; whichever limit is reached first counts.

    Attributes:
        days: Age of the oldest event.
        rows: Number of events.
        max_bytes: Size of the file; its journal adds at most a few megabytes.
    """

    days: float = 30.0
    rows: int = 200_000
    max_bytes: int = 100_000_000


@dataclass(frozen=True, slots=True, repr=False)
class OutputOptions:
    """Where decisions go besides `--json`. Not printable: addresses hold credentials.

    Attributes:
        rotation: How the file of `--json` makes room.
        events: The event log's file, or None.
        retention: How much of it is kept.
        metrics: Where figures are served, PORT or HOST:PORT, or None.
        mqtt: The broker's address, or None.
        webhooks: Addresses that get events by POST.
        on_event: Commands run for each event.
        on_event_timeout_s: The longest one may take.
        trace: Folder for the trace, or None.
        trace_bytes: How large it may grow.
    """

    rotation: Rotation = field(default_factory=Rotation)
    events: str | None = None
    retention: Retention = field(default_factory=Retention)
    metrics: str | None = None
    mqtt: str | None = None
    webhooks: tuple[str, ...] = ()
    on_event: tuple[str, ...] = ()
    on_event_timeout_s: float = HOOK_TIMEOUT_S
    trace: str | None = None
    trace_bytes: int = 500_000_000


class Size(click.ParamType):  # type: ignore[type-arg]  # not to be subscripted before click 8.2
    """A size in bytes, written as 500kB, 10MB or 1.5G."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a size."""
        if isinstance(value, int):
            return value
        found = _SIZE.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"'{value}' is no size: expected one as 500kB, 10MB or 1G", param, ctx)
        return int(float(found[1]) * _UNITS[found[2].lower()])


_FILE = click.Path()
_KEPT = Retention()
_DECORATORS = (
    click.option("--json-append", is_flag=True, help="Go on with the file of --json instead of replacing it."),
    click.option("--json-rotate", type=Size(), metavar="SIZE", help="Begin a new file at this size, as 10MB."),
    click.option("--json-keep", type=click.IntRange(0, 1000), default=5, show_default=True, help="Older files kept."),
    click.option("--events", type=_FILE, metavar="FILE", help="Log changes of the answer and what else happens."),
    click.option(
        "--events-days",
        type=click.FloatRange(0, min_open=True),
        default=_KEPT.days,
        show_default=True,
        metavar="N",
        help="Forget older events.",
    ),
    click.option(
        "--events-rows",
        type=click.IntRange(1),
        default=_KEPT.rows,
        show_default=True,
        metavar="N",
        help="Keep no more events.",
    ),
    click.option("--events-size", type=Size(), default="100MB", show_default=True, help="Keep the log below this."),
    click.option("--metrics", metavar="[HOST:]PORT", help="Serve figures for Prometheus at /metrics."),
    click.option("--mqtt", metavar="URL", envvar="SIGHTLINE_MQTT", help="mqtt(s)://user:password@host/topic."),
    click.option(
        "--webhook", "webhooks", multiple=True, metavar="URL", envvar="SIGHTLINE_WEBHOOK", help="POST events here."
    ),
    click.option("--on-event", multiple=True, metavar="CMD", help="Run CMD with each event as JSON on its stdin."),
    click.option(
        "--on-event-timeout",
        type=click.FloatRange(0.1, 3600),
        default=HOOK_TIMEOUT_S,
        show_default=True,
        metavar="S",
        help="Kill a command that takes longer.",
    ),
    click.option("--trace", type=_FILE, metavar="DIR", help="Keep frames and decisions for 'sightline replay'."),
    click.option("--trace-size", type=Size(), default="500MB", show_default=True, help="Forget the oldest above this."),
)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as one `outputs`."""

    @functools.wraps(command)
    def gathered(
        *,
        json_append: bool,
        json_rotate: int | None,
        json_keep: int,
        events: str | None,
        events_days: float,
        events_rows: int,
        events_size: int,
        metrics: str | None,
        mqtt: str | None,
        webhooks: tuple[str, ...],
        on_event: tuple[str, ...],
        on_event_timeout: float,
        trace: str | None,
        trace_size: int,
        **others: Any,
    ) -> Any:
        outputs = OutputOptions(
            rotation=Rotation(json_append, json_rotate or 0, json_keep),
            events=events,
            retention=Retention(events_days, events_rows, events_size),
            metrics=metrics,
            mqtt=mqtt,
            webhooks=webhooks,
            on_event=on_event,
            on_event_timeout_s=on_event_timeout,
            trace=trace,
            trace_bytes=trace_size,
        )
        return command(outputs=outputs, **others)

    decorated: Callable[..., Any] = gathered
    for decorator in reversed(_DECORATORS):
        decorated = decorator(decorated)
    return decorated
