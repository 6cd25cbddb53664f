"""Processor, memory, disk, temperature and throttling, as the kernel tells."""

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..heat import Heat, read_heat, text_of
from .finding import Finding, Level, ok

LEAST_MEMORY_BYTES = 500_000_000
LEAST_DISK_BYTES = 500_000_000
HOT_C = 80.0
_MATTERING = ("avx2", "avx512_vnni", "avx_vnni", "avx512f", "asimddp", "i8mm", "neon", "asimd", "fphp", "sve")
_AIR = "it slows itself down: give it air or a heat sink"


def examine_machine(root: Path, place: Path) -> Iterator[Finding]:
    """Look at the machine.

    Args:
        root: Where /proc and /sys are; tests give another folder.
        place: Where galleries and outputs will be written.
    """
    yield _board(root)
    yield _processor(root)
    yield _cores(root)
    yield from _memory(root)
    yield _disk(place)
    heat = read_heat(root)
    yield _temperature(heat)
    yield _throttling(heat)


def cpu_flags(root: Path) -> frozenset[str]:
    """The processor's features by the kernel's names."""
    words: set[str] = set()
    for line in _lines(root / "proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            words.update(value.split())
    return frozenset(words)


def _board(root: Path) -> Finding:
    model = text_of(root / "proc/device-tree/model").strip("\x00 ") or text_of(root / "sys/class/dmi/id/product_name")
    page = os.sysconf("SC_PAGE_SIZE")
    said = f"{model or platform.node() or 'unnamed'}, {platform.machine()}, {platform.system()} {platform.release()}"
    return ok("board", f"{said}, pages of {page // 1024} KiB, Python {platform.python_version()}")


def _processor(root: Path) -> Finding:
    flags = cpu_flags(root)
    has = [flag for flag in _MATTERING if flag in flags]
    said = ", ".join(has) or "none of the features that matter were found"
    if platform.machine() in ("x86_64", "AMD64"):
        if not flags & {"avx512_vnni", "avx_vnni"}:
            remedy = "int8 sums may saturate without VNNI: use the bundle's fp32 or portable int8 variant"
            return Finding("processor", Level.NOTE if "avx2" in flags else Level.WARN, said, remedy)
    elif not flags & {"asimddp"}:
        remedy = "without dot products (asimddp) int8 is hardly faster than fp32: compare both with 'sightline bench'"
        return Finding("processor", Level.NOTE, said, remedy)
    return ok("processor", said)


def _cores(root: Path) -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    said = f"{usable} of {os.cpu_count()} usable"
    quota = text_of(root / "sys/fs/cgroup/cpu.max").split()
    if quota and quota[0].isdecimal():
        said += f", held to {int(quota[0]) / int(quota[1]):.1f} by a control group"
    governor = text_of(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    if governor == "powersave" and not text_of(root / "sys/devices/system/cpu/intel_pstate/status"):
        remedy = "the lowest clock is kept: 'sudo cpupower frequency-set -g ondemand' or performance"
        return Finding("cores", Level.WARN, f"{said}, governor {governor}", remedy)
    return ok("cores", said + (f", governor {governor}" if governor else ""))


def _memory(root: Path) -> Iterator[Finding]:
    sizes = {}
    for line in _lines(root / "proc/meminfo"):
        key, _, value = line.partition(":")
        sizes[key] = int(value.split()[0]) * 1024 if value.split() else 0
    if "MemAvailable" not in sizes:
        yield Finding("memory", Level.NOTE, "the system does not tell")
        return
    free, total = sizes["MemAvailable"], sizes.get("MemTotal", 0)
    limit = text_of(root / "sys/fs/cgroup/memory.max").strip()
    held = f", held to {int(limit) / 1e9:.1f} GB by a control group" if limit.isdecimal() else ""
    said = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free{held}"
    if min(free, int(limit) if limit.isdecimal() else free) < LEAST_MEMORY_BYTES:
        yield Finding("memory", Level.WARN, said, "close other programs; a run needs about 300 MB")
    else:
        yield ok("memory", said)


def _disk(place: Path) -> Finding:
    there = next((one for one in (place, *place.parents) if one.exists()), Path("/"))
    use = shutil.disk_usage(there)
    said = f"{use.free / 1e9:.1f} of {use.total / 1e9:.1f} GB free at {there}"
    if not os.access(there, os.W_OK):
        return Finding("disk", Level.WARN, f"{said}, not writable", "galleries and outputs need a folder you may write")
    if use.free < LEAST_DISK_BYTES:
        return Finding("disk", Level.WARN, said, "make room: a full disk ends recordings and teaching")
    return ok("disk", said)


def _temperature(heat: Heat) -> Finding:
    if heat.celsius is None:
        return Finding("temperature", Level.NOTE, "the system does not tell")
    if heat.celsius >= HOT_C:
        return Finding("temperature", Level.WARN, f"{heat.celsius:.0f} °C", _AIR)
    return ok("temperature", f"{heat.celsius:.0f} °C")


def _throttling(heat: Heat) -> Finding:
    starved = "under-voltage" in heat.now + heat.once
    remedy = "use the official power supply and a short cable" if starved else _AIR
    if heat.now:
        return Finding("throttling", Level.WARN, f"now: {', '.join(heat.now)}", remedy)
    if heat.once:
        return Finding("throttling", Level.NOTE, f"since the start: {', '.join(heat.once)}", remedy)
    if heat.times:
        return Finding("throttling", Level.NOTE, f"{heat.times} times since the start", _AIR)
    if not heat.tells:
        return Finding("throttling", Level.NOTE, "the system does not tell")
    return ok("throttling", "never since the start" if heat.remembers else "not at the moment")


def _lines(file: Path) -> list[str]:
    return text_of(file).splitlines()
