"""The picture of a roofline: what this machine can at each intensity, and where each contestant lies below it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .bench import OWN, BenchReport
from .roofline import Peaks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROOFS = {"int8": "#0f766e", "fp32": "#b45309"}


def draw_roofline(report: BenchReport, file: Path) -> None:
    """Write the picture, a panel a number of threads; the ending names the format, e.g. `.png`.

    Raises:
        OSError: It could not be written.
        ValueError: The format is unknown.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    count = len(report.peaks)
    figure, axes = plt.subplots(1, count, figsize=(1.0 + 5.2 * count, 4.6), sharey=True, squeeze=False)
    figure.set_layout_engine("constrained")
    for axis, peaks in zip(axes[0], report.peaks, strict=True):
        _roofs(axis, peaks)
        _points(axis, report, peaks.threads)
        axis.set_title(f"{peaks.threads} thread{'s' if peaks.threads > 1 else ''}", loc="left", fontweight="bold")
        axis.set_xlabel("multiply-accumulates a byte")
    axes[0][0].set_ylabel("multiply-accumulates a second")
    figure.suptitle(f"{report.arch} below the roofline of {report.cpu}", x=0.01, ha="left", fontsize=10)
    try:
        figure.savefig(file, dpi=130)
    finally:
        plt.close(figure)


def _roofs(axis: "Axes", peaks: Peaks) -> None:
    intensity = np.geomspace(0.5, 1000, 200)
    for name, peak in (("int8", peaks.int8_macs), ("fp32", peaks.float_macs)):
        roof = np.minimum(intensity * peaks.bandwidth, peak)
        axis.loglog(intensity, roof, color=_ROOFS[name], label=f"{name}: {peak / 1e9:.0f} G a second")


def _points(axis: "Axes", report: BenchReport, threads: int) -> None:
    for entry in report.entries:
        if entry.threads != threads or entry.least_ms is None:
            continue
        work = report.work[entry.file]
        reached = (work.int8_macs + work.float_macs) / (entry.median_ms / 1e3)
        colour, own = _ROOFS["int8" if work.int8_macs else "fp32"], entry.tool.startswith(OWN)
        axis.plot(work.intensity, reached, "o" if own else "x", color=colour)
        axis.annotate(
            f"{entry.tool} {entry.least_ms / entry.median_ms:.0%}",
            (work.intensity, reached),
            xytext=(6, -3),
            textcoords="offset points",
            fontsize=7,
        )
    axis.legend(loc="lower right", frameon=False, fontsize=8)
    axis.grid(True, which="major", alpha=0.25)
