"""The plain loop beside which a run is measured: OpenCV reads a camera, resizes, and the bare model runs.

python benchmarks/plain_loop.py BUNDLE ADDRESS [--every 2]

Prints a line for each answer until it is killed: milliseconds from frame to answer, milliseconds of them in which the
thread waited for a processor, and the process's own memory in bytes. One thread, as the run beside it.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from standstill import queued_s

from sightline.runtime import Bundle, Recognizer


def own_bytes() -> tuple[int, int]:
    """Resident bytes of this process that no file holds, and those that map files.

    The kernel may take the latter away and bring them back at any time; only the former can leak.
    """
    status = Path("/proc/self/status").read_text()
    own, mapped, shared = (
        int(status.partition(f"{name}:")[2].split()[0]) * 1024 for name in ("RssAnon", "RssFile", "RssShmem")
    )
    return own + shared, mapped


def main() -> None:
    """Read and answer until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("address")
    parser.add_argument("--every", type=int, default=2, help="answer one of so many frames; all are read")
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    recognizer, spec = Recognizer(bundle, threads=1), bundle.input_spec
    capture, read = cv2.VideoCapture(options.address), 0
    while True:
        arrived, frame = capture.read()
        read += 1
        if not arrived or read % options.every:
            continue
        start, queued = time.perf_counter(), queued_s()
        prepared = cv2.cvtColor(cv2.resize(frame, (spec.width, spec.height)), cv2.COLOR_BGR2RGB)
        recognizer.run(np.ascontiguousarray(prepared[None]))
        took_ms = 1e3 * (time.perf_counter() - start)
        print(f"{took_ms:.4f} {1e3 * (queued_s() - queued):.4f} {own_bytes()[0]}", flush=True)


if __name__ == "__main__":
    main()
