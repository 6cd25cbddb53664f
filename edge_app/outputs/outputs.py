"""Opens the outputs that a run was asked for, and closes them within a second."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from ..listeners import Listener
from .event import Announcer, Event
from .eventlog import EventLog
from .hook import Hook
from .metrics import Metrics, Told
from .mqtt import Mqtt
from .outbox import Outbox, OutboxStatus
from .settings import OutputOptions
from .webhook import Webhook

# A run ends within two seconds of SIGTERM; this is the outputs' share of them.
CLOSE_S = 1.0
_LOG_BATCH = 256
_LOG_LINGER_S = 0.25


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of one run.

    Attributes:
        announcer: Tells them what happens.
        outboxes: Their queues.
    """

    announcer: Announcer
    outboxes: tuple[Outbox[Event], ...]

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Who is to hear the loop for them: nobody where there is none."""
        return (self.announcer,) if self.outboxes else ()

    def finish(self) -> None:
        """Deliver what waits while the other parts of the run are closed, for at most `CLOSE_S`."""
        for outbox in self.outboxes:
            outbox.finish(time.monotonic() + CLOSE_S)

    def statuses(self) -> list[OutboxStatus]:
        """How each fares."""
        return [outbox.status for outbox in self.outboxes]


@contextmanager
def open_outputs(options: OutputOptions, source: str, say: Callable[[str], None]) -> Iterator[Outputs]:
    """Open the outputs; at the end of the block deliver what waits for at most `CLOSE_S`, and say what is lost.

    Args:
        options: Which ones.
        source: The source's name, without credentials.
        say: Told what goes wrong with one, from its thread.

    Raises:
        InputError: One cannot be used as it was asked for.
    """
    outboxes: list[Outbox[Event]] = []
    hooks = [Hook(command, options.on_event_timeout_s, say) for command in options.on_event]
    try:
        for make in _makers(options, hooks, say):
            outboxes.append(make())
        yield Outputs(Announcer(tuple(outboxes), source), tuple(outboxes))
    finally:
        _close(outboxes, say)
        for hook in hooks:
            # Its outbox may have been left behind, waiting for one of its commands to end.
            hook.close()


@contextmanager
def open_metrics(listen: str | None, told: Told, say: Callable[[str], None]) -> Iterator[tuple[Listener, ...]]:
    """Serve figures for the length of the block; gives who is to hear the loop for them.

    Raises:
        InputError: They cannot be served there.
    """
    if listen is None:
        yield ()
        return
    metrics = Metrics(listen, told)
    say(f"metrics: {metrics.address}")
    try:
        yield (metrics,)
    finally:
        metrics.close()


def _makers(
    options: OutputOptions, hooks: Sequence[Hook], say: Callable[[str], None]
) -> Iterator[Callable[[], Outbox[Event]]]:
    if options.events is not None:
        log = options.events
        yield lambda: Outbox(EventLog(log, options.retention, say), say, 4000, batch=_LOG_BATCH, linger_s=_LOG_LINGER_S)
    if options.mqtt is not None:
        broker = options.mqtt
        yield lambda: Outbox(Mqtt(broker), say, batch=32)
    yield from (partial(_webhook, url, say) for url in options.webhooks)
    yield from (partial(_commands, hook, say) for hook in hooks)


def _webhook(url: str, say: Callable[[str], None]) -> Outbox[Event]:
    return Outbox(Webhook(url), say)


def _commands(hook: Hook, say: Callable[[str], None]) -> Outbox[Event]:
    return Outbox(hook, say, 64)


def _close(outboxes: Sequence[Outbox[Event]], say: Callable[[str], None]) -> None:
    deadline_s = time.monotonic() + CLOSE_S
    for outbox in outboxes:
        outbox.finish(deadline_s)
    for outbox in outboxes:
        outbox.join()
        status = outbox.status
        if status.dropped:
            say(f"{status.name}: {status.dropped} of {status.dropped + status.delivered} events were lost")
