"""What a run costs at a given rate: the share of one core, and joules where the machine tells.

python benchmarks/power.py BUNDLE [--seconds 20] [--size 1280x720] [--gallery GALLERY]

A camera over loopback gives 30 frames a second in a process of its own; `sightline run --fps N --every-frame` answers
1, 5, 10 and all of them. Joules are those of the whole package (RAPL, /sys/class/powercap), less those of as many idle
seconds; reading them needs root on most systems.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from live_loop import camera

RATES = (1, 5, 10, 30)
_WARM_S = 4.0
_TICKS_S = os.sysconf("SC_CLK_TCK")


def joules() -> float | None:
    """What the processor packages have used since an arbitrary moment; None where the machine does not tell."""
    try:
        counters = [file.read_text() for file in Path("/sys/class/powercap").glob("intel-rapl:?/energy_uj")]
    except OSError:
        return None
    return sum(map(int, counters)) / 1e6 if counters else None


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def measure(pid: int | None, seconds: float) -> tuple[float, float | None]:
    """Share of one core and watts over some seconds; without a process those of the idle machine."""
    start, used, cpu = time.monotonic(), joules(), cpu_s(pid) if pid is not None else 0.0
    time.sleep(seconds)
    took = time.monotonic() - start
    after = joules()
    watts = (after - used) / took if after is not None and used is not None else None
    return ((cpu_s(pid) - cpu) / took if pid is not None else 0.0), watts


def run(bundle: str, address: str, fps: int, seconds: float, more: list[str]) -> tuple[float, float | None, float]:
    """Run at a rate; share of one core, watts, and answers a second."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "answers.jsonl"
        words = ["run", bundle, "--source", address, "--headless", "--every-frame", "--fps", str(fps), *more]
        command = [sys.executable, "-m", "sightline.edge_app", *words, "--json", str(out)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            while not (out.exists() and answers(out)):
                time.sleep(0.1)
            time.sleep(_WARM_S)
            before = answers(out)
            share, watts = measure(process.pid, seconds)
            rate = (answers(out) - before) / seconds
            process.terminate()
    return share, watts, rate


def answers(out: Path) -> int:
    """How many were written so far."""
    return out.read_bytes().count(b'"frame"')


def main() -> None:
    """Measure each rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--gallery")
    given = parser.parse_args()
    more = ["--gallery", given.gallery] if given.gallery else []
    with camera("--size", given.size) as (address, _):
        _, idle = measure(None, given.seconds)
        power = f"idle {idle:.1f} W" if idle is not None else "the machine does not tell its power"
        print(f"a camera of {given.size}; {power}")
        for fps in RATES:
            share, watts, answered = run(given.bundle, address, fps, given.seconds, more)
            energy = f", {(watts - idle) / answered:.2f} J an answer" if watts is not None and idle is not None else ""
            print(f"  --fps {fps}: {100 * share:.1f} % of one core, {answered:.1f} answers a second{energy}")


if __name__ == "__main__":
    main()
