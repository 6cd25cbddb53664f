"""How many cores this process may use."""

import os
from pathlib import Path

_MOST_THREADS = 4


def usable_cores(most: int | None = _MOST_THREADS) -> int:
    """Count the cores this process may use, by affinity and cgroup quota.

    Args:
        most: Not more than these: beyond four an operator gains little. None counts all.

    Returns:
        At least one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, most or cores, quota or cores))


def _cgroup_quota() -> int | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return None if quota == "max" else max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return None
