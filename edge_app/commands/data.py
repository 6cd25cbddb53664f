"""`sightline data`: look labelled photos over before anything is trained."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..console import ConsoleReporter, print_json, print_table
from ..pictures import check_page, write_page_file

if TYPE_CHECKING:
    from sightline.export.data_report import DataReport

_NAMED = 5


@click.command()
@click.argument("data")
@click.option("--out", metavar="FILE", help="Write everything as one page with pictures: report.html.")
@click.option("--val", metavar="DATA", help="Photos set apart for evaluation: are photos of DATA among them?")
@click.option("--split-column", default="split", show_default=True, help="CSV column that names each photo's split.")
@click.option("--label-column", default="label", show_default=True, help="CSV column with the label.")
@click.option("--bundle", metavar="BUNDLE", help="Look for doubtful labels with this bundle's embeddings.")
@click.option("--arch", metavar="NAME", help="Or with an architecture  [default: mobilenet_v2]")
@click.option("--weights", metavar="FILE|imagenet", help="and its weights.")
@click.option(
    "--similarity", default=0.95, show_default=True, type=click.FloatRange(0.5, 1), help="Of near-duplicates."
)
@click.option("--seed", default=0, show_default=True, help="Of the cross-validation.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    data: str,
    out: str | None,
    val: str | None,
    split_column: str,
    label_column: str,
    bundle: str | None,
    arch: str | None,
    weights: str | None,
    similarity: float,
    seed: int,
    as_json: bool,
) -> int:
    """Describe DATA, a folder of class folders or a CSV file.

    Counts, sizes, colours, unreadable files, duplicates, photos that stand in several splits, and labels that the
    other photos speak against. The last takes features: of a bundle that was trained on other photos, or of an
    architecture with weights.

    \b
    Example:
      sightline data photos/ --out report.html
      sightline data train.csv --val val.csv --label-column class_name --weights mobilenet_v2.pth --out report.html
    """
    if out is not None:
        check_page(Path(out))
    if bundle is not None and weights is not None:
        raise click.UsageError("give --bundle or --weights, not both")
    if arch is not None and weights is None:
        raise click.UsageError("--arch needs --weights: a file, or 'imagenet'")
    from sightline.export.data_report import DataOptions, describe_data, to_json

    options = DataOptions(data, val, label_column, split_column, bundle, arch, weights, similarity, seed)
    reporter = ConsoleReporter()
    report = describe_data(options, reporter)
    if out is not None:
        from sightline.export.data_html import render_data_page

        reporter.say("writing the page")
        write_page_file(Path(out), render_data_page(report))
    print_json({**to_json(report), "page": out}) if as_json else _print(report, out)
    return 0


def _print(report: "DataReport", out: str | None) -> None:
    counts = sorted(one.images for one in report.classes)
    low, middle, high = report.pixels.shorter_side
    suspicion = report.suspicion
    doubtful = f"{len(suspicion.suspects)} of {suspicion.images}" if suspicion else report.suspicion_note
    rows = [
        ("photos", f"{len(report.census.images)}"),
        ("splits", ", ".join(f"{part} {count}" for part, count in report.parts.items())),
        ("classes", f"{len(counts)}, of {_span(counts[0], counts[-1])} photos"),
        ("shorter side", f"{middle} px, {_span(low, high)}"),
        ("mean, deviation of R G B", f"{_three(report.pixels.mean)}, {_three(report.pixels.deviation)}"),
        ("unreadable files", f"{len(report.unreadable)}"),
        ("duplicates, same bytes", _groups(sum(one.exact for one in report.duplicates))),
        ("duplicates, nearly", _groups(sum(not one.exact for one in report.duplicates))),
        ("under several labels", _groups(sum(one.contradict for one in report.duplicates))),
        ("in several splits", _groups(len(report.leaks))),
        ("doubtful labels", doubtful),
    ]
    print_table((report.data, "value"), rows)
    for one in report.unreadable[:_NAMED]:
        click.echo(f"unreadable: {one.reason}")
    for group in [one for one in report.duplicates if one.contradict or one.leak][:_NAMED]:
        where = " and ".join(str(report.census.images[row].path) for row in group.rows[:2])
        click.echo(f"{'several labels' if group.contradict else 'several splits'}: {where}")
    for suspect in suspicion.suspects[:_NAMED] if suspicion else ():
        path = report.census.images[suspect.row].path
        click.echo(f"doubtful: {path} is labelled {suspect.given}, looks like {suspect.likely}")
    if out is not None:
        click.echo(out)


def _span(low: int, high: int) -> str:
    return f"{low} to {high}" if low < high else f"{low}"


def _groups(count: int) -> str:
    return f"{count} group{'' if count == 1 else 's'}"


def _three(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
