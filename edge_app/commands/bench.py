"""`sightline bench`: each variant of a bundle side by side, and beside every peer that is installed."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sightline.runtime import Bundle
from sightline.runtime.errors import InputError

from ..console import ConsoleReporter, print_json, print_table

if TYPE_CHECKING:
    from sightline.export.bench import BenchReport


@click.command()
@click.argument("bundle")
@click.option(
    "--threads",
    multiple=True,
    default=(1, 2),
    show_default=True,
    type=click.IntRange(1, 256),
    help="Threads within an operator; repeat it.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    help="A peer to run beside: openvino, openvino-auto, opencv, torch, torch-compiled, litert, ncnn, or none; repeat "
    "it. [default: all that are installed]",
)
@click.option(
    "--seconds", default=20.0, show_default=True, type=click.FloatRange(0.1), help="Time for each number of threads."
)
@click.option("--plot", metavar="FILE", help="Also draw it, e.g. bench.png.")
@click.option("--roofline", metavar="FILE", help="Also draw what the machine can, and how far each is from it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    bundle: str,
    threads: tuple[int, ...],
    peers: tuple[str, ...],
    seconds: float,
    plot: str | None,
    roofline: str | None,
    as_json: bool,
) -> None:
    """Time every variant of BUNDLE on this machine, in turns, beside the peers that are installed.

    One photo at a time, the same for all. The speed is fp32's time over each one's; the cosine compares its
    logits with fp32's. Peers come with pip install 'sightline[peers]'; those that are missing are named. The
    last column is the share of this machine's roofline: its measured peaks of int8, fp32 and memory against the work
    that the file's graph costs at least.

    \b
    Example:
      sightline bench kiosk.bundle
      sightline bench kiosk.bundle --peer openvino --threads 1 --plot bench.png --json > bench.json
      sightline bench kiosk.bundle --peer none --roofline roofline.png
    """
    from sightline.export.bench import BenchOptions, bench

    loaded = Bundle.load(bundle)
    file, roof = _plot_file(plot), _plot_file(roofline)
    wanted = None if not peers else tuple(name for name in peers if name != "none")
    report = bench(loaded, BenchOptions(tuple(dict.fromkeys(threads)), wanted, seconds), ConsoleReporter())
    if file is not None:
        _draw(report, file)
    if roof is not None:
        from sightline.export.roofline_plot import draw_roofline

        draw_roofline(report, roof)
        click.echo(f"drew {roof}", err=True)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _plot_file(plot: str | None) -> Path | None:
    if plot is None:
        return None
    import matplotlib.backend_bases  # noqa: F401  (found missing before minutes of measuring)

    file = Path(plot)
    if not file.absolute().parent.is_dir():
        raise InputError(f"'{plot}' cannot be written: folder '{file.absolute().parent}' does not exist")
    if file.suffix.lower() not in (".png", ".svg", ".pdf", ".jpg"):
        raise InputError(f"'{plot}' has no ending of a picture: name it bench.png, .svg, .pdf or .jpg")
    return file


def _draw(report: "BenchReport", file: Path) -> None:
    from sightline.export.bench_plot import draw_bench

    draw_bench(report, file)
    click.echo(f"drew {file}", err=True)


def _print(report: "BenchReport") -> None:
    rows = [
        (
            entry.tool,
            entry.precision,
            entry.file,
            entry.threads,
            f"{entry.median_ms:.2f}",
            f"{entry.low_ms:.2f} to {entry.high_ms:.2f}",
            f"{entry.speed:.2f}x",
            f"{entry.cosine:.4f}",
            "-" if entry.least_ms is None else f"{entry.least_ms / entry.median_ms:.0%}",
        )
        for entry in report.entries
    ]
    print_table(
        ("by", "computes in", "file", "threads", "ms", "5 % to 95 %", "speed", "cosine", "of the roofline"), rows
    )
    click.echo(f"{report.arch} on {report.cpu}: {report.turns} turns, fp32 by Sightline is 1")
    for peaks in report.peaks:
        reach = f"{peaks.int8_macs / 1e9:.0f} G int8 and {peaks.float_macs / 1e9:.0f} G fp32 multiply-accumulates"
        click.echo(f"{peaks.threads} threads reach {reach} and copy {peaks.bandwidth / 1e9:.1f} GB a second")
    for name, work in report.work.items():
        macs = f"{work.int8_macs / 1e6:.0f} M int8 and {work.float_macs / 1e6:.0f} M fp32 multiply-accumulates"
        click.echo(f"{name}: {macs}, {work.bytes / 1e6:.1f} MB")
    for one in report.absent:
        click.echo(f"without {one.tool}: {one.reason}")
