"""Figures of a run for Prometheus at http://HOST:PORT/metrics (`pip install 'sightline[outputs]'`).

On loopback unless a host is named. Labels of items are not among them: a gallery has thousands, and each would
be a time series for ever; the event log and MQTT carry those.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.runtime.errors import InputError

from ..connection import Frame
from ..heat import Heat
from ..listeners import Deaf
from ..listening import parse_listening
from ..pace import Pace
from ..reader import State, Status
from ..sight import Seen
from ..teach import Refused, Removed, Taught, TeachEvent
from .mqtt import EXTRA_HINT
from .outbox import OutboxStatus

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Told:
    """What is asked for at every scrape.

    Attributes:
        status: The source's state and counters.
        outboxes: How the outputs fare.
        entries: Entries of the gallery; None without one.
        about: What runs: bundle, variant, provider; a reload changes it.
        heat: Looks at the device.
        pace: How many frames are read.
    """

    status: Callable[[], Status]
    outboxes: Callable[[], Sequence[OutboxStatus]]
    entries: Callable[[], int | None]
    about: Callable[[], dict[str, str]]
    heat: Callable[[], Heat]
    pace: Pace


class Metrics(Deaf):
    """Counts what it hears and serves it.

    Args:
        listen: PORT, HOST:PORT or HOST.
        told: What is asked for at every scrape.

    Raises:
        InputError: It is no such address, the port is taken, or prometheus_client is not installed.
    """

    def __init__(self, listen: str, told: Told) -> None:
        host, port = parse_listening(listen, "--metrics")
        try:
            import prometheus_client as prometheus
        except ModuleNotFoundError as error:
            raise InputError(f"--metrics: {EXTRA_HINT.format('prometheus_client')}") from error
        # Not the library's global registry: two runs in one process are two sets of figures.
        registry = prometheus.CollectorRegistry()
        words: dict[str, Any] = {"namespace": "sightline", "registry": registry}
        self._frames = prometheus.Counter("frames", "Frames that went through the loop.", ["result"], **words)
        self._answers = prometheus.Counter("answers", "Answers by what decided them.", ["decided_by"], **words)
        self._events = prometheus.Counter("events", "What else happened.", ["event"], **words)
        timed = {**words, "buckets": _SECONDS}
        self._age = prometheus.Histogram("frame_age_seconds", "Age of a frame when it was answered.", **timed)
        self._inference = prometheus.Histogram("inference_seconds", "Time in the model.", **timed)
        self._overhead = prometheus.Histogram("overhead_seconds", "Preprocessing and look-up.", **timed)
        registry.register(_OnDemand(told))
        prometheus.ProcessCollector(registry=registry)
        try:
            self._server, self._thread = prometheus.start_http_server(port, host, registry)
        except (OSError, OverflowError) as error:
            raise InputError(f"--metrics {host}:{port} cannot be served: {error}") from error
        self.address = f"http://{host}:{self._server.server_port}/metrics"

    def decided(self, frame: Frame, seen: Seen, age_ms: float) -> None:
        """Count an answer and its times."""
        latency = seen.recognition.latency
        self._frames.labels("answered").inc()
        self._answers.labels(seen.shown.decision.decided_by or "unknown").inc()
        self._age.observe(age_ms / 1e3)
        self._inference.observe(latency.inference_ms / 1e3)
        self._overhead.observe((latency.preprocess_ms + latency.lookup_ms) / 1e3)

    def passed(self, frame: Frame, age_ms: float) -> None:
        """Count a frame in which nothing moved."""
        self._frames.labels("still").inc()

    def teaching(self, event: TeachEvent) -> None:
        """Count what was taught, taken back or refused."""
        names = {Taught: "taught", Removed: "removed", Refused: "refused"}
        self._events.labels(names[type(event)]).inc()

    def error(self, message: str) -> None:
        """Count a failure."""
        self._events.labels("error").inc()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _OnDemand:
    """Reads the source and the outboxes when somebody scrapes."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def describe(self) -> list[Any]:
        """Nothing beforehand: the registry must not scrape while the run is being built."""
        return []

    def collect(self) -> Iterator[Any]:
        """Give the figures of this moment."""
        yield from _source(self._told.status())
        yield from _outputs(self._told.outboxes())
        yield _run(self._told.about())
        yield from _heat(self._told.heat(), self._told.pace)
        entries = self._told.entries()
        if entries is not None:
            yield _gauge("gallery_entries", "Entries of the gallery.", entries)


def _source(status: Status) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    state = GaugeMetricFamily("sightline_source_state", "1 for the state the source is in.", labels=["state"])
    for one in State:
        state.add_metric([str(one)], float(status.state is one))
    yield state
    told = {"opened": "How often the source was opened.", "damaged": "Frames that could not be decoded."}
    counts = {"opened": status.attempts, "damaged": status.damaged, "passed_over": status.dropped}
    for name, count in counts.items():
        help = told.get(name, "Frames that a newer one replaced.")
        yield CounterMetricFamily(f"sightline_source_{name}", help, value=count)


def _outputs(outboxes: Sequence[OutboxStatus]) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    queued = GaugeMetricFamily("sightline_output_queued", "Events that wait.", labels=["output"])
    working = GaugeMetricFamily("sightline_output_up", "1 while the last attempt worked.", labels=["output"])
    counters = [
        CounterMetricFamily(f"sightline_output_{name}", f"Events {name}.", labels=["output"])
        for name in ("delivered", "dropped", "failed")
    ]
    for one in outboxes:
        queued.add_metric([one.name], one.queued)
        working.add_metric([one.name], float(not one.trouble))
        for counter, value in zip(counters, (one.delivered, one.dropped, one.failures), strict=True):
            counter.add_metric([one.name], value)
    yield from (queued, working, *counters)


def _heat(heat: Heat, pace: Pace) -> Iterator[Any]:
    if heat.celsius is not None:
        yield _gauge("temperature_celsius", "The hottest sensor of the device.", heat.celsius)
    yield _gauge("throttled", "1 while the device slows itself down.", float(bool(heat.now)))
    if pace.fps is not None:
        yield _gauge("frame_limit", "At most so many frames a second are read: asked for, or for the heat.", pace.fps)


def _run(about: dict[str, str]) -> Any:
    from prometheus_client.core import InfoMetricFamily

    return InfoMetricFamily("sightline_run", "What runs.", value=about)


def _gauge(name: str, help: str, value: float) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"sightline_{name}", help, value=value)
