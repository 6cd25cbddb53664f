"""From process start to the first printed answer of `sightline predict`, over several fresh processes.

python benchmarks/cold_start.py BUNDLE IMAGE
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

SIGHTLINE = Path(sys.executable).parent / "sightline"


def first_answer_s(bundle: str, image: str) -> float:
    """Seconds until the first line of one fresh process."""
    start = perf_counter()
    with subprocess.Popen([SIGHTLINE, "predict", bundle, image, "--json"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        elapsed = perf_counter() - start
    assert line.startswith(b"{"), "no answer came"
    return elapsed


def main() -> None:
    """Print the median and the extremes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    times = [first_answer_s(options.bundle, options.image) for _ in range(options.rounds)]
    print(
        f"first answer after {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f}, {len(times)} runs)"
    )


if __name__ == "__main__":
    main()
