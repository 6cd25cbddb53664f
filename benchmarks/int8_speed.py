"""Speed of int8 beside fp32 for any architecture, and the memory that calibration takes. Needs the workstation's extra.

    python benchmarks/int8_speed.py PHOTOS resnet18 resnet50 --images 300 [--threads 1 2] [--label-column label]

Weights are random: speed and memory do not depend on them, accuracy does, so nothing is said of it. Both variants
take turns inference by inference at batch 1. Memory is the peak of the whole process, torch included, before and
after calibration and when the int8 file is written; each architecture has a process of its own.
"""

import argparse
import multiprocessing
import resource
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from sightline.export.calibration import choose_calibration
from sightline.export.latency import measure_latency
from sightline.export.onnx_graph import export_onnx, serialize
from sightline.export.quantize import QuantizationOptions, Quantizer
from sightline.export.targets import PORTABLE, find_targets
from sightline.models import build_model, find_architecture
from sightline.runtime.dataset import read_dataset
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.session import open_session


@dataclass(frozen=True, slots=True)
class Task:
    """One architecture to measure."""

    name: str
    data: str
    label_column: str
    images: int
    threads: tuple[int, ...]


def measure(task: Task) -> list[str]:
    """Quantize a net of random weights and time both forms; gives lines of the table."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    size = find_architecture(task.name).image_size
    spec = InputSpec(size, size)
    model = export_onnx(build_model(task.name, 1000, 256).eval(), spec)
    calibration = choose_calibration(read_dataset(task.data, task.label_column), (), task.images)
    start, before = perf_counter(), _peak_mb()
    quantizer = Quantizer(model, calibration, spec, QuantizationOptions())
    calibrated = _peak_mb()
    made = quantizer.make(find_targets([PORTABLE])[0].weights)
    seconds, peak = perf_counter() - start, _peak_mb()
    photos = np.random.default_rng(0).integers(0, 256, (4, size, size, 3)).astype(np.uint8)
    lines = []
    for threads in task.threads:
        forms = {"fp32": model, "int8": made.model}
        sessions = {name: open_session(serialize(one), "cpu", threads) for name, one in forms.items()}
        times = measure_latency(sessions, photos, "fp32")
        fp32, int8 = times["fp32"], times["int8"]
        speeds = f"{fp32.median_ms:8.2f} {int8.median_ms:8.2f} {int8.speedup:6.2f}x {made.fusion.int8_convolutions:6}"
        memory = f"{before:10.0f} {calibrated:11.0f} {peak:8.0f}"
        lines.append(f"{task.name:22} {threads:7} {speeds} {len(calibration.images):6} {memory} {seconds:8.0f}")
    return lines


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a folder of class folders or a CSV file")
    parser.add_argument("arch", nargs="+")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--images", type=int, default=300, help="photos to calibrate on")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    print(
        f"{'network':22} threads  fp32 ms  int8 ms   speed  convs photos  MB before  calibrated  written  seconds",
        flush=True,
    )
    for name in options.arch:
        task = Task(name, options.data, options.label_column, options.images, tuple(options.threads))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print("\n".join(pool.apply(measure, (task,))), flush=True)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
