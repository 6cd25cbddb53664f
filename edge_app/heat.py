"""How hot the device is and whether it slows itself down, as the kernel tells.

Temperatures and their limits from /sys/class/thermal, cooling from the same place and from cpufreq, counts from x86's
thermal_throttle, and the word of the Raspberry Pi's firmware (what `vcgencmd get_throttled` prints).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Bits of the Raspberry Pi's firmware: now in the low half, since the start in the high half.
_PI_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_PI_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
_COOLERS = ("processor", "cpufreq")


@dataclass(frozen=True, slots=True)
class Heat:
    """What the kernel tells of heat and throttling.

    Attributes:
        celsius: The hottest of its sensors; None where there is none.
        now: Why the device is slowed down at this moment; empty where it is not, or the system does not tell.
        once: Why it was since the start, where the firmware tells.
        times: How often since the start, where the processor counts.
        tells: Whether the system tells of throttling at all.
        remembers: Whether it tells of the time since the start.
    """

    celsius: float | None
    now: tuple[str, ...]
    once: tuple[str, ...]
    times: int | None
    tells: bool
    remembers: bool


def read_heat(root: Path) -> Heat:
    """Look.

    Args:
        root: Where /sys is; tests give another folder.
    """
    zones = [
        zone for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")) if _number(zone / "temp") is not None
    ]
    degrees = [(_number(zone / "temp") or 0) / 1000 for zone in zones]
    word = text_of(root / _PI_THROTTLED).strip()
    bits = int(word, 16) if word else 0
    counts = [_number(file) for file in root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count")]
    times = max((count for count in counts if count is not None), default=None)
    now = (*_pi(bits), *(_over(zone) for zone in zones if _too_hot(zone)), *_cooling(root))
    remembers = bool(word) or times is not None
    tells = remembers or bool(now) or any(limit for zone in zones for limit in _limits(zone))
    return Heat(max(degrees, default=None), now, tuple(_pi(bits >> 16)), times, tells, remembers)


def text_of(file: Path) -> str:
    """A small file's text, "" where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _pi(bits: int) -> Iterator[str]:
    return (text for bit, text in _PI_BITS.items() if bits >> bit & 1)


def _too_hot(zone: Path) -> bool:
    degrees = _number(zone / "temp") or 0
    return any(degrees >= limit for limit in _limits(zone))


def _limits(zone: Path) -> Iterator[int]:
    """Where the kernel begins to slow the device down; drivers write nought or less where they know none."""
    for kind in zone.glob("trip_point_*_type"):
        limit = _number(kind.with_name(kind.name.replace("_type", "_temp")))
        if text_of(kind).strip() == "passive" and limit is not None and limit > 0:
            yield limit


def _over(zone: Path) -> str:
    return f"{(_number(zone / 'temp') or 0) / 1000:.0f} °C, its limit"


def _cooling(root: Path) -> Iterator[str]:
    coolers = sorted(root.glob("sys/class/thermal/cooling_device*"))
    cpus = [one for one in coolers if any(kind in text_of(one / "type").lower() for kind in _COOLERS)]
    if any((_number(one / "cur_state") or 0) > 0 for one in cpus):
        yield "the kernel holds the processor back"


def _number(file: Path) -> int | None:
    text = text_of(file).strip()
    return int(text) if text.removeprefix("-").isdecimal() else None
