"""The processor that this process runs on, as far as measurements depend on it."""

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path

from .cores import usable_cores

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor.

    Attributes:
        machine: Its architecture, e.g. "x86_64".
        name: What it calls itself.
        features: The short digest of its features.
        cores: How many of its cores this process may use.
    """

    machine: str
    name: str
    features: str
    cores: int


def this_processor(cpuinfo: Path = _CPUINFO) -> Processor:
    """Describe the processor.

    Args:
        cpuinfo: What the kernel says of it; where it says nothing, the platform's words are taken.
    """
    fields = _fields(cpuinfo)
    parts = [fields.get(key, "") for key in ("cpu implementer", "cpu part", "cpu variant")]
    name = fields.get("model name") or " ".join(filter(None, parts)) or platform.processor() or platform.machine()
    digest = hashlib.sha256(" ".join(sorted(cpu_flags(cpuinfo))).encode()).hexdigest()[:12]
    return Processor(platform.machine(), name, digest, usable_cores(most=None))


def cpu_flags(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """The processor's features by the kernel's names."""
    fields = _fields(cpuinfo)
    return frozenset((fields.get("flags") or fields.get("features", "")).split())


def _fields(cpuinfo: Path) -> dict[str, str]:
    """What is said of the first core."""
    fields: dict[str, str] = {}
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip().lower(), value.strip())
    except OSError:
        return {}
    return fields
