"""`sightline eval`: measure a bundle on labelled photos."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import click
import numpy as np

from sightline.runtime import Bundle, InputError, Recognition, Recognizer, read_image
from sightline.runtime.dataset import LabelledImage, match_labels, read_dataset
from sightline.runtime.evaluation import Evaluation, Retrieval, decision_scores, evaluate_answers
from sightline.runtime.gallery import Catalogue, open_catalogue
from sightline.runtime.manifest import Manifest

from ..console import ConsoleReporter, print_json, print_table
from ..options import device_options
from ..pictures import check_picture, write_picture


@click.command()
@click.argument("bundle")
@click.argument("data")
@click.option("--label-column", default="label", show_default=True, help="CSV column with the label or its index.")
@click.option("--gallery", metavar="GALLERY", help="Measure look-up in this gallery or collection, and decide with it.")
@click.option("--plot", metavar="FILE", help="Draw scores of known and unknown items and their curve: .png or .jpg.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@device_options
def command(
    bundle: str,
    data: str,
    label_column: str,
    gallery: str | None,
    plot: str | None,
    as_json: bool,
    provider: str,
    variant: str,
    threads: int | None,
) -> int:
    """Measure BUNDLE on DATA, a folder of class folders or a CSV file.

    Labels that neither the model nor the gallery knows count as unknown items. Without --gallery, retrieval
    asks each image against all others of DATA.

    \b
    Example:
      sightline eval kiosk.bundle photos/ --json
      sightline eval kiosk.bundle val.csv --label-column class_name --gallery shop.gallery --plot curve.png
    """
    if plot is not None:
        check_picture(Path(plot))
    loaded = Bundle.load(bundle)
    images = match_labels(read_dataset(data, label_column), loaded.labels)
    recognizer = Recognizer(loaded, provider, variant, threads)
    lookup = open_catalogue(gallery, recognizer.model_id, create=False) if gallery else None
    with lookup or nullcontext():
        kept, answers = _answer(recognizer, images, lookup)
        if not answers:
            raise InputError(f"none of the {len(images)} images of '{data}' could be read")
        known = set(lookup.labels()) if lookup else None
    labels = [image.label for image in kept]
    result = evaluate_answers(answers, labels, loaded.manifest, recognizer.variant.name, known)
    if plot is not None:
        _draw(Path(plot), answers, labels, loaded.manifest, known, result.unknown.auc)
    print_json(result) if as_json else _print(result)
    return 1 if len(kept) < len(images) else 0


def _answer(
    recognizer: Recognizer, images: Sequence[LabelledImage], gallery: Catalogue | None
) -> tuple[list[LabelledImage], list[Recognition]]:
    reporter = ConsoleReporter()
    kept: list[LabelledImage] = []
    answers: list[Recognition] = []
    with reporter.task("evaluating", len(images)) as task:
        for image in images:
            try:
                answers.append(recognizer.recognize(read_image(image.path), gallery))
                kept.append(image)
            except InputError as error:
                reporter.warn(f"{error}; left out")
            task.advance()
    return kept, answers


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


def _print(result: Evaluation) -> None:
    retrieval, unknown, latency = result.retrieval, result.unknown, result.latency_ms
    rows = [
        ("images", str(result.images)),
        ("top-1", _rate(result.top1)),
        ("top-5", _rate(result.top5)),
        ("recall@1", _rate(retrieval.recall_at_1 if retrieval else None) + _against(retrieval)),
        ("recall@5", _rate(retrieval.recall_at_5 if retrieval else None) + _against(retrieval)),
        ("known called unknown", _rate(unknown.false_reject_rate)),
        ("known called another", _rate(unknown.wrong_rate)),
        ("unknown given a label", f"{_rate(unknown.false_accept_rate)} of {unknown.unknown_images}"),
        ("area under the curve", _rate(unknown.auc)),
        ("latency ms p50 / p95 / p99", f"{latency.p50:.1f} / {latency.p95:.1f} / {latency.p99:.1f}"),
    ]
    print_table(("variant " + result.variant, "value"), rows)
    worst = sorted(result.per_class.items(), key=lambda item: item[1].f1)[:10]
    click.echo()
    print_table(
        ("weakest classes", "images", "precision", "recall", "F1"),
        [(label, one.images, one.precision, one.recall, one.f1) for label, one in worst],
    )


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _against(retrieval: Retrieval | None) -> str:
    return f"  ({retrieval.against}, {retrieval.images} images)" if retrieval else ""
