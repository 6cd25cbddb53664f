"""The picture of a bench run: one bar a contestant, the shortest first, one panel a number of threads."""

from pathlib import Path

from .bench import OWN, BenchReport, Entry

_OWN, _PEER = "#0f766e", "#94a3b8"


def draw_bench(report: BenchReport, file: Path) -> None:
    """Write the picture; the ending names the format, e.g. `.png`.

    Raises:
        OSError: It could not be written.
        ValueError: The format is unknown.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    threads = sorted({entry.threads for entry in report.entries})
    rows = max(sum(entry.threads == count for entry in report.entries) for count in threads)
    size = 4.2 + 4.6 * len(threads), 1.9 + 0.36 * rows
    figure, axes = plt.subplots(1, len(threads), figsize=size, sharex=True, squeeze=False, layout="constrained")
    for axis, count in zip(axes[0], threads, strict=True):
        # One scale for all panels, with room for the figures behind the longest bar.
        axis.set_xlim(0, 1.35 * max(max(entry.median_ms, entry.high_ms) for entry in report.entries))
        _panel(axis, [entry for entry in report.entries if entry.threads == count])
        axis.set_title(f"{count} thread{'s' if count > 1 else ''}", loc="left", fontsize=11, fontweight="bold")
    figure.suptitle(f"{report.arch}: one inference at batch 1, median of {report.turns} turns", x=0.01, ha="left")
    figure.supxlabel(f"milliseconds (line: 5 % to 95 %), shorter is better; {report.cpu}", fontsize=9)
    try:
        figure.savefig(file, dpi=130)
    finally:
        plt.close(figure)


def _panel(axis: "object", entries: list[Entry]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axis, Axes)
    entries = sorted(entries, key=lambda entry: -entry.median_ms)
    names = [f"{entry.tool} {_kind(entry)}" for entry in entries]
    medians = [entry.median_ms for entry in entries]
    spread = [
        [max(0.0, entry.median_ms - entry.low_ms) for entry in entries],
        [max(0.0, entry.high_ms - entry.median_ms) for entry in entries],
    ]
    colours = [_OWN if entry.tool.startswith(OWN) else _PEER for entry in entries]
    axis.barh(names, medians, color=colours, xerr=spread, error_kw={"ecolor": "#334155", "elinewidth": 1})
    for row, entry in enumerate(entries):
        axis.annotate(
            f"{entry.median_ms:.2f} ms, {entry.speed:.2f}x",
            (max(entry.high_ms, entry.median_ms), row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _kind(entry: Entry) -> str:
    return (
        entry.file
        if entry.tool.startswith(OWN) or entry.precision in entry.file
        else f"{entry.precision} of {entry.file}"
    )
