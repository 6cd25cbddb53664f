"""Whether a quantized variant may be the default: accuracy against its limit, speed against fp32's."""

from collections.abc import Sequence
from dataclasses import dataclass

from sightline.runtime.manifest import GateResult

from .evaluate import Drift, Rate


@dataclass(frozen=True, slots=True)
class Limits:
    """What a quantized variant has to keep to.

    Attributes:
        max_drop: Largest loss of top-1 or mean average precision against fp32, points (hundredths).
        min_speedup: Least speed relative to fp32 in the same run; None asks only that it is not slower.
        max_bytes: Largest file; None sets no limit.
    """

    max_drop: float = 0.5
    min_speedup: float | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant before the gate.

    Attributes:
        name: The variant's name.
        top1: Its top-1 on the evaluation photos, or their mean average precision; see `figure`.
        drift: How it differs from fp32.
        speedup: Its speed relative to fp32 in the same run.
        bytes: Size of its file.
        timed: Whether its speed here says anything of the machines it is for; if not, it cannot be the default.
        untimed: What is said of its speed where it was not timed.
        figure: What its accuracy is called.
    """

    name: str
    top1: Rate
    drift: Drift
    speedup: float
    bytes: int
    timed: bool = True
    untimed: str = "its speed has to be measured on the machines it is for"
    figure: str = "top-1"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate finds of one variant.

    Attributes:
        drop: Loss of top-1 against fp32, points.
        failures: A sentence for each limit that it does not keep.
        remark: What is said of it where it keeps them all.
        fit: Whether it may be the default.
    """

    drop: float
    failures: tuple[str, ...]
    remark: str
    fit: bool


def judge(reference: Candidate, candidates: Sequence[Candidate], limits: Limits) -> GateResult:
    """Choose the default: the first variant that keeps every limit and is faster than fp32, or else fp32.

    A limit that is not kept fails the gate. A variant that keeps every limit and is merely no faster than fp32
    passes, and fp32 is the default all the same.

    Args:
        reference: fp32.
        candidates: The others, at least one, in the order of preference; the drop reported is the first one's.
        limits: What they have to keep to.
    """
    verdicts = {candidate.name: examine(reference, candidate, limits) for candidate in candidates}
    default = next((name for name, verdict in verdicts.items() if verdict.fit), reference.name)
    reasons = [sentence for verdict in verdicts.values() for sentence in verdict.failures or (verdict.remark,)]
    passed = not any(verdict.failures for verdict in verdicts.values())
    if default == reference.name and passed:
        reasons.append(f"{reference.name} is the default, because nothing is faster on the exporting machine")
    first = verdicts[candidates[0].name]
    return GateResult(passed, default, tuple(reasons), limits.max_drop, first.drop, reference.top1.images)


def examine(reference: Candidate, candidate: Candidate, limits: Limits) -> Verdict:
    """Hold one variant against the limits."""
    drop = 100 * (reference.top1.value - candidate.top1.value)
    failures = (
        _accuracy_failure(reference, candidate, drop, limits.max_drop),
        _speed_failure(candidate, limits.min_speedup if candidate.timed else None),
        _size_failure(candidate, limits.max_bytes),
    )
    kept = tuple(sentence for sentence in failures if sentence)
    fit = not kept and candidate.timed and candidate.speedup > 1.0
    return Verdict(drop, kept, _success(candidate, drop, limits.max_drop), fit)


def keeps_accuracy(drop: float, max_drop: float) -> bool:
    """Whether a drop, points, keeps to the limit: shares are ratios of integers, and the last bit must not decide."""
    return drop <= max_drop + 1e-9


def _accuracy_failure(reference: Candidate, candidate: Candidate, drop: float, max_drop: float) -> str:
    if keeps_accuracy(drop, max_drop):
        return ""
    images = candidate.top1.images
    shares = f"{candidate.top1.value:.2%} against {reference.top1.value:.2%} on {images} photos"
    return (
        f"{candidate.name} loses {drop:.2f} points of {candidate.figure} against {reference.name} ({shares}; "
        f"{candidate.drift.lost} lost, {candidate.drift.won} won), more than the {max_drop:g} points allowed by "
        f"--max-drop{_grain(images, max_drop)}"
    )


def _grain(images: int, max_drop: float) -> str:
    grain = 100 / images
    return f"; one photo is {grain:.2f} points, so give more evaluation photos" if grain > max_drop else ""


def _speed_failure(candidate: Candidate, min_speedup: float | None) -> str:
    if min_speedup is None or candidate.speedup >= min_speedup:
        return ""
    return (
        f"{candidate.name} is {candidate.speedup:.2f} times as fast as fp32 on the exporting machine, less than the "
        f"{min_speedup:g} asked by --min-speedup"
    )


def _size_failure(candidate: Candidate, max_bytes: int | None) -> str:
    if max_bytes is None or candidate.bytes <= max_bytes:
        return ""
    return f"{candidate.name} has {candidate.bytes:,} bytes, more than the {max_bytes:,} allowed by --max-bytes"


def _success(candidate: Candidate, drop: float, max_drop: float) -> str:
    moved = f"loses {drop:.2f}" if drop > 0 else f"gains {-drop:.2f}" if drop < 0 else "loses 0.00"
    photos = f"{candidate.top1.images} photos ({max_drop:g} allowed)"
    accuracy = f"{candidate.name} {moved} points of {candidate.figure} on {photos}"
    if not candidate.timed:
        return f"{accuracy}; {candidate.untimed}"
    return f"{accuracy} and is {candidate.speedup:.2f} times as fast as fp32 in the same run"
