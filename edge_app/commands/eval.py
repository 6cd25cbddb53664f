"""`sightline eval`: measure a bundle on labelled photos."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import click
import msgspec
import numpy as np

from sightline.runtime import Bundle, InputError, Recognition, Recognizer, read_image
from sightline.runtime.breakdown import Breakdown, GroupFigures, break_down, check_columns
from sightline.runtime.dataset import LabelledImage, match_labels, read_dataset
from sightline.runtime.evaluation import Evaluation, Retrieval, decision_scores, evaluate_answers
from sightline.runtime.gallery import open_catalogue
from sightline.runtime.manifest import MULTI_LABEL, Manifest
from sightline.runtime.multilabel import evaluate_labels

from ..advice import tell_advice
from ..console import ConsoleReporter, print_json, print_table
from ..label_figures import print_labels
from ..options import device_options
from ..pictures import check_page, check_picture, write_page_file, write_picture


@click.command()
@click.argument("bundle")
@click.argument("data")
@click.option("--label-column", default="label", show_default=True, help="CSV column with the label or its index.")
@click.option("--label-separator", default=";", show_default=True, help="Between labels, for a multi-label bundle.")
@click.option("--gallery", metavar="GALLERY", help="Measure look-up in this gallery or collection, and decide with it.")
@click.option("--group", "columns", multiple=True, metavar="COLUMN", help="CSV column to tell apart by; repeat it.")
@click.option("--report", metavar="FILE", help="Write a page with the worst mistakes: report.html.")
@click.option("--plot", metavar="FILE", help="Draw scores of known and unknown items and their curve: .png or .jpg.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@device_options
def command(
    bundle: str,
    data: str,
    label_column: str,
    label_separator: str,
    gallery: str | None,
    columns: tuple[str, ...],
    report: str | None,
    plot: str | None,
    as_json: bool,
    provider: str,
    variant: str,
    threads: int | None,
) -> int:
    """Measure BUNDLE on DATA, a folder of class folders or a CSV file.

    Labels that neither the model nor the gallery knows count as unknown items. Without --gallery, retrieval
    asks each image against all others of DATA. --group says where the model is weak: a table for each value of a
    column (light, camera, site) with counts and 95 % intervals. A multi-label bundle is measured by the average
    precision of each label. --report needs the workstation's packages.

    \b
    Example:
      sightline eval kiosk.bundle photos/ --json
      sightline eval kiosk.bundle val.csv --label-column class_name --gallery shop.gallery --plot curve.png
      sightline eval kiosk.bundle val.csv --group light --group camera --report report.html
    """
    if plot is not None:
        check_picture(Path(plot))
    if report is not None:
        check_page(Path(report))
    loaded = Bundle.load(bundle)
    several = loaded.manifest.task == MULTI_LABEL
    if several and (gallery or plot or report):
        raise InputError("--gallery, --plot and --report measure bundles of one label a photo; this one gives several")
    images = read_dataset(data, label_column, separator=label_separator if several else None)
    images = images if several else match_labels(images, loaded.labels)
    check_columns(images, columns)
    recognizer = Recognizer(loaded, provider, variant, threads)
    tell_advice(recognizer)
    kept, answers, known = _answer(recognizer, images, gallery)
    if not answers:
        raise InputError(f"none of the {len(images)} images of '{data}' could be read")
    if several:
        found = evaluate_labels(answers, kept, loaded.manifest, recognizer.variant.name, columns)
        (print_json if as_json else print_labels)(found)
        return 1 if len(kept) < len(images) else 0
    labels = [image.label for image in kept]
    result = evaluate_answers(answers, labels, loaded.manifest, recognizer.variant.name, known)
    if plot is not None:
        _draw(Path(plot), answers, labels, loaded.manifest, known, result.unknown.auc)
    reporter = ConsoleReporter()
    with reporter.task("looking into the answers"):
        parts = break_down(answers, kept, loaded.labels, columns)
    if report is not None:
        _write_report(Path(report), recognizer, result, parts, kept, reporter)
    _tell(result, parts, as_json)
    return 1 if len(kept) < len(images) else 0


def _answer(
    recognizer: Recognizer, images: Sequence[LabelledImage], gallery: str | None
) -> tuple[list[LabelledImage], list[Recognition], set[str] | None]:
    """Answer photos; gives those that could be read, the answers, and the labels that the gallery knows."""
    reporter = ConsoleReporter()
    kept: list[LabelledImage] = []
    answers: list[Recognition] = []
    lookup = open_catalogue(gallery, recognizer.model_id, create=False) if gallery else None
    with nullcontext() if lookup is None else lookup, reporter.task("evaluating", len(images)) as task:
        for image in images:
            try:
                answers.append(recognizer.recognize(read_image(image.path), lookup))
                kept.append(image)
            except InputError as error:
                reporter.warn(f"{error}; left out")
            task.advance()
        return kept, answers, set(lookup.labels()) if lookup else None


def _draw(
    file: Path,
    answers: Sequence[Recognition],
    labels: Sequence[str],
    manifest: Manifest,
    gallery_labels: set[str] | None,
    auc: float | None,
) -> None:
    from ..curves import draw_curves

    scores, known = decision_scores(answers, manifest), set(manifest.labels) | (gallery_labels or set())
    is_known = np.array([label in known for label in labels], bool)
    write_picture(file, draw_curves(scores[is_known], scores[~is_known], auc))


def _write_report(
    file: Path,
    recognizer: Recognizer,
    result: Evaluation,
    parts: Breakdown,
    images: Sequence[LabelledImage],
    reporter: ConsoleReporter,
) -> None:
    from sightline.export.eval_html import render_eval_page

    write_page_file(file, render_eval_page(recognizer, result, parts, images, reporter))


def _tell(result: Evaluation, parts: Breakdown, as_json: bool) -> None:
    if as_json:
        print_json({**msgspec.to_builtins(result), **msgspec.to_builtins(parts)})
    else:
        _print(result, parts)


def _print(result: Evaluation, parts: Breakdown) -> None:
    retrieval, unknown, latency = result.retrieval, result.unknown, result.latency_ms
    averages, embeddings = parts.averages, parts.embeddings
    rows = [
        ("images", str(result.images)),
        ("top-1", _rate(result.top1)),
        ("top-5", _rate(result.top5)),
        ("macro precision", _rate(averages.macro_precision if averages else None)),
        ("macro recall", _rate(averages.macro_recall if averages else None)),
        ("macro F1, micro F1", f"{averages.macro_f1:.4f}, {averages.micro_f1:.4f}" if averages else "-"),
        ("mean average precision", _rate(averages.average_precision if averages else None)),
        ("calibration error", _rate(parts.calibration.error if parts.calibration else None)),
        ("recall@1", _rate(retrieval.recall_at_1 if retrieval else None) + _against(retrieval)),
        ("recall@5", _rate(retrieval.recall_at_5 if retrieval else None) + _against(retrieval)),
        ("retrieval mAP, NMI", f"{_rate(embeddings.mean_average_precision)}, {_rate(embeddings.nmi)}"),
        ("known called unknown", _rate(unknown.false_reject_rate)),
        ("known called another", _rate(unknown.wrong_rate)),
        ("unknown given a label", f"{_rate(unknown.false_accept_rate)} of {unknown.unknown_images}"),
        ("area under the curve", _rate(unknown.auc)),
        (
            "unknown accepted with 95, 90 % of known",
            f"{_rate(unknown.false_accepts_at_95)}, {_rate(unknown.false_accepts_at_90)}",
        ),
        ("latency ms p50 / p95 / p99", f"{latency.p50:.1f} / {latency.p95:.1f} / {latency.p99:.1f}"),
    ]
    print_table(("variant " + result.variant, "value"), rows)
    worst = sorted(result.per_class.items(), key=lambda item: item[1].f1)[:10]
    click.echo()
    print_table(
        ("weakest classes", "images", "precision", "recall", "F1"),
        [(label, one.images, one.precision, one.recall, one.f1) for label, one in worst],
    )
    _print_pairs(parts)
    for column, groups in parts.groups.items():
        click.echo()
        names = (f"by {column}", "images", "top-1", "95 % interval", "recall@1", "")
        print_table(names, [_row(value, one) for value, one in groups.items()])


def _print_pairs(parts: Breakdown) -> None:
    if parts.confusions:
        click.echo()
        rows = [(one.truth, one.answer, one.count, one.files[0]) for one in parts.confusions]
        print_table(("mistaken", "for", "images", "e.g."), rows)


def _row(value: str, one: GroupFigures) -> tuple[object, ...]:
    interval = f"{one.top1.low:.4f} to {one.top1.high:.4f}" if one.top1 else "-"
    found = _rate(one.recall_at_1.value if one.recall_at_1 else None)
    return value, one.images, _rate(one.top1.value if one.top1 else None), interval, found, "weak" if one.weak else ""


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _against(retrieval: Retrieval | None) -> str:
    return f"  ({retrieval.against}, {retrieval.images} images)" if retrieval else ""
