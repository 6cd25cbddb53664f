"""How long one inference takes: every variant of a bundle, beside every peer that is installed, in one run.

All get the same prepared photos at batch 1 and the same number of threads, and take turns, so that a busy
machine disturbs them alike. In its turn each runs once untimed, which brings its weights back into the cache
and lets the threads of the one before go to sleep. A peer that is not installed, or cannot take the model, is
named with its reason. Needs numpy and the runtime; each peer brings its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from sightline.runtime.bundle import Bundle
from sightline.runtime.errors import InputError, SightlineError, first_line
from sightline.runtime.golden import GOLDEN_NAME, GoldenCase
from sightline.runtime.preprocess import Image, decode_image, prepare_batch
from sightline.runtime.providers import available_providers
from sightline.runtime.reporter import QuietReporter, Reporter
from sightline.runtime.session import Session, open_session
from sightline.runtime.turns import interleave

from .bench_peers import PEERS, Peer, Run, process_threads_restored
from .latency import describe_cpu
from .roofline import Peaks, Work, count_work, measure_peaks

OWN = "sightline"
# Precisions whose work is counted; a peer that computes an fp32 file in bfloat16 has another limit.
_COUNTED = ("fp32", "int8")


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way of running the model.

    Attributes:
        tool: Who runs it: "sightline", or a peer's name.
        precision: What it computes in.
        file: The variant whose file it was made from.
        run: Answers one photo, uint8 (1, height, width, 3), with logits.
    """

    tool: str
    precision: str
    file: str
    run: Run


@dataclass(frozen=True, slots=True)
class Entry:
    """What one contestant took.

    Attributes:
        tool: Who ran it.
        precision: What it computed in.
        file: The variant whose file it was made from.
        threads: Threads it was given.
        median_ms: Median time of one inference.
        low_ms: 5th percentile.
        high_ms: 95th percentile.
        rounds: Timed inferences.
        speed: The fp32 variant's time over its own: the median over the turns.
        cosine: Between its logits and the fp32 variant's, the least over the photos.
        least_ms: The shortest time that this machine's roofline allows its file; None where it computes otherwise.
    """

    tool: str
    precision: str
    file: str
    threads: int
    median_ms: float
    low_ms: float
    high_ms: float
    rounds: int
    speed: float
    cosine: float
    least_ms: float | None


@dataclass(frozen=True, slots=True)
class Absent:
    """A peer that took no part, and why."""

    tool: str
    reason: str


@dataclass(frozen=True, slots=True)
class BenchReport:
    """A whole run.

    Attributes:
        bundle_id: What was measured.
        arch: Its architecture.
        cpu: Where.
        turns: Turns of each number of threads.
        entries: By threads, then by median.
        absent: Peers that took no part.
        peaks: What this machine reaches, by threads; see `roofline`.
        work: What an inference of each variant costs at least, by its name.
    """

    bundle_id: str
    arch: str
    cpu: str
    turns: int
    entries: tuple[Entry, ...]
    absent: tuple[Absent, ...]
    peaks: tuple[Peaks, ...]
    work: dict[str, Work]


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """How to measure.

    Attributes:
        threads: Numbers of threads to measure one after the other.
        peers: Names of peers, see `bench_peers.PEERS`; None takes all.
        seconds: Time for the turns of each number of threads.
        most_turns: Turns at most.
    """

    threads: tuple[int, ...] = (1, 2)
    peers: tuple[str, ...] | None = None
    seconds: float = 20.0
    most_turns: int = 100


@dataclass(frozen=True, slots=True)
class Turns:
    """What contestants took in turns.

    Attributes:
        contestants: Who came through, in the order given.
        times: Of each of them, milliseconds: float64 (turns, inferences of a turn).
        failed: Peers that failed in a turn, and why.
    """

    contestants: list[Contestant]
    times: list[NDArray[np.float64]]
    failed: list[tuple[Contestant, str]]


@dataclass(slots=True)
class _Field:
    contestants: list[Contestant] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)


def bench(bundle: Bundle, options: BenchOptions | None = None, reporter: Reporter | None = None) -> BenchReport:
    """Measure a bundle.

    Raises:
        InputError: A peer's name or a number of threads is none that exists.
        BundleError: The bundle holds no golden photos, or a variant cannot be opened.
    """
    options, reporter = options or BenchOptions(), reporter or QuietReporter()
    peers = _peers(options.peers)
    if not options.threads or not all(1 <= count <= 256 for count in options.threads):
        raise InputError(f"threads must lie in 1 to 256, not {', '.join(map(str, options.threads)) or 'none'}")
    images = _photos(bundle)
    entries: list[Entry] = []
    absent: dict[str, str] = {}
    turns = options.most_turns
    work = {one.name: count_work(bundle.read(one.file)) for one in bundle.manifest.variants}
    peaks = {threads: measure_peaks(threads) for threads in options.threads}
    with process_threads_restored():
        for threads in options.threads:
            entered = _open(bundle, peers, threads, images, reporter)
            absent |= entered.absent
            with reporter.task(f"{threads} threads", options.seconds) as task:
                taken = take_turns(entered.contestants, images, options.seconds, options.most_turns, task.advance)
            absent |= {f"{one.tool} {one.file}": reason for one, reason in taken.failed}
            turns = min(turns, len(taken.times[0]))
            limits = {name: one.least_ms(peaks[threads]) for name, one in work.items()}
            entries += _entries(taken.contestants, taken.times, images, threads, limits)
    named = tuple(Absent(tool, reason) for tool, reason in absent.items())
    about = (bundle.bundle_id, bundle.manifest.arch, describe_cpu())
    return BenchReport(*about, turns, tuple(entries), named, tuple(peaks.values()), work)


def take_turns(
    contestants: Sequence[Contestant],
    images: Image,
    seconds: float,
    most_turns: int,
    advance: Callable[[float], None] = lambda _: None,
) -> Turns:
    """Let contestants run in turns; see `interleave`.

    A peer that fails leaves, and the rest goes on; a failure of Sightline's own is raised.
    """
    taken = interleave([one.run for one in contestants], images, seconds, most_turns, advance)
    failed = []
    for index, why in taken.failed.items():
        # As at its opening: what a peer trips over is its own. What Sightline trips over is not hidden.
        if contestants[index].tool == OWN:
            raise why.error
        failed.append((contestants[index], f"failed in turn {why.turn} ({first_line(why.error)[:160]})"))
    return Turns([contestants[index] for index in taken.times], list(taken.times.values()), failed)


def _peers(names: Iterable[str] | None) -> list[Peer]:
    if names is None:
        return list(PEERS.values())
    unknown = next((name for name in names if name not in PEERS), None)
    if unknown is not None:
        raise InputError(f"unknown peer '{unknown}': choose from {', '.join(PEERS)}, or none")
    return [PEERS[name] for name in dict.fromkeys(names)]


def _photos(bundle: Bundle) -> Image:
    cases = msgspec.json.decode(bundle.read(GOLDEN_NAME), type=list[GoldenCase])
    frames = [decode_image(bundle.read(case.image), case.image) for case in cases]
    return prepare_batch(frames, bundle.input_spec)


def _open(bundle: Bundle, peers: Sequence[Peer], threads: int, images: Image, reporter: Reporter) -> _Field:
    entered = _Field()
    models = {one.name: (one.precision, bundle.read(one.file)) for one in bundle.manifest.variants}
    for name, (precision, data) in models.items():
        session = open_session(data, "cpu", threads)
        entered.contestants.append(Contestant(OWN, precision, name, _logits_of(session)))
    _open_providers(entered, models, threads)
    for peer in peers:
        reporter.say(f"opening {peer.name} with {threads} threads")
        for name, (precision, data) in models.items():
            if precision not in peer.precisions:
                continue
            try:
                computed, run = peer.open(data, images.shape[1:3], threads)
                run(images[:1])
            except ImportError as error:
                entered.absent[peer.name] = f"not installed ({error.name or error}): {peer.install}"
            # What a peer trips over is its own: the run goes on without it and says why.
            except Exception as error:
                entered.absent[f"{peer.name} {name}"] = f"cannot take the model ({first_line(error)[:160]})"
            else:
                entered.contestants.append(Contestant(peer.name, computed, name, run))
    return entered


def _open_providers(entered: _Field, models: Mapping[str, tuple[str, bytes]], threads: int) -> None:
    """Sightline's own sessions elsewhere than on ONNX Runtime's CPU kernels; what cannot be opened is named."""
    for provider in (one for one in available_providers() if one != "cpu"):
        for name, (precision, data) in models.items():
            tool = f"{OWN} {provider}"
            try:
                entered.contestants.append(
                    Contestant(tool, precision, name, _logits_of(open_session(data, provider, threads)))
                )
            except SightlineError as error:
                entered.absent[f"{tool} {name}"] = first_line(error)


def _logits_of(session: Session) -> Run:
    return lambda image: session.run(image)[0]


def _entries(
    contestants: Sequence[Contestant],
    times: Sequence[NDArray[np.float64]],
    images: Image,
    threads: int,
    limits: Mapping[str, float],
) -> list[Entry]:
    reference = np.median(times[0], axis=1)
    expected = [np.asarray(contestants[0].run(image[None]), np.float64).ravel() for image in images]
    found = []
    for contestant, spent in zip(contestants, times, strict=True):
        low, median, high = (float(value) for value in np.percentile(spent, (5, 50, 95)))
        speed = float(np.median(reference / np.median(spent, axis=1)))
        cosine = min(
            _cosine(np.asarray(contestant.run(image[None]), np.float64).ravel(), wanted)
            for image, wanted in zip(images, expected, strict=True)
        )
        found.append(
            Entry(
                contestant.tool,
                contestant.precision,
                contestant.file,
                threads,
                median,
                low,
                high,
                spent.size,
                speed,
                cosine,
                limits[contestant.file] if contestant.precision in _COUNTED else None,
            )
        )
    return sorted(found, key=lambda entry: entry.median_ms)


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    if left.shape != right.shape:
        return float("nan")
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right) + 1e-12))
