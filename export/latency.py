"""How long one inference takes: all variants side by side in one run, so that their ratio holds on a busy machine."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from sightline.runtime.preprocess import Image
from sightline.runtime.session import Session

_WARM_UP = 5
_MOST_ROUNDS = 200
_BUDGET_S = 8.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of one variant at batch 1, milliseconds.

    Attributes:
        median_ms: Median.
        p95_ms: 95th percentile.
        rounds: How many inferences.
        speedup: The reference's time over this one's: the median of the ratios of neighbouring inferences.
    """

    median_ms: float
    p95_ms: float
    rounds: int
    speedup: float


def measure_latency(sessions: Mapping[str, Session], images: Image, reference: str) -> dict[str, Timing]:
    """Time every variant, taking turns inference by inference.

    Args:
        sessions: Opened models by the variant's name.
        images: Prepared photos, uint8 (photos, height, width, 3), used in rotation.
        reference: The variant that speed-ups refer to.
    """
    for session in sessions.values():
        for _ in range(_WARM_UP):
            session.fetch({"image": images[:1]})
    times: dict[str, list[float]] = {name: [] for name in sessions}
    end = perf_counter() + _BUDGET_S
    for turn in range(_MOST_ROUNDS):
        image = images[turn % len(images)][None]
        for name, session in sessions.items():
            start = perf_counter()
            session.fetch({"image": image})
            times[name].append((perf_counter() - start) * 1e3)
        if perf_counter() > end and turn >= 10:
            break
    base = np.asarray(times[reference])
    return {name: _timing(np.asarray(spent), base) for name, spent in times.items()}


def describe_cpu() -> str:
    """Name this machine's processor and the instructions that matter for int8."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    known = {"avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI", "avx2": "AVX2", "asimddp": "dot product"}
    found = [text for flag, text in known.items() if flag in flags]
    return ", ".join([fields.get("model name", platform.machine()), *found])


def _timing(spent: np.ndarray, base: np.ndarray) -> Timing:
    median, p95 = np.percentile(spent, [50, 95])
    return Timing(float(median), float(p95), len(spent), float(np.median(base / spent)))
