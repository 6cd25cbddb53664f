"""What `sightline export` makes of nets that do not recognise: detectors, segmenters and text encoders."""

from dataclasses import dataclass
from typing import Any

import click

from sightline.runtime.errors import InputError
from sightline.runtime.reporter import Reporter

from .console import print_json, print_table
from .export_options import WeightsWords
from .options import gather


@dataclass(frozen=True, slots=True)
class TextWords:
    """What the user said of a text encoder, as typed."""

    text_encoder: str | None
    tokenizer: str | None
    joint: str | None


def is_ready_net(arch: str | None) -> bool:
    """Whether an architecture finds objects or names pixels."""
    from sightline.models.detection import DETECTORS
    from sightline.models.segmentation import SEGMENTERS

    return arch in DETECTORS or arch in SEGMENTERS


def export_ready_net(words: WeightsWords, out: str, reporter: Reporter) -> Any:
    """Export a detector or segmenter of torchvision.

    Returns:
        A `PublishedResult`.

    Raises:
        UsageError: --weights or --data is missing.
        InputError: The weights, labels or photos cannot be used.
        BundleError: The exported file differs from torch, or nothing can be written.
    """
    from sightline.export.detection import export_detector
    from sightline.export.published import ReadyNet
    from sightline.export.segmentation import export_segmenter
    from sightline.models.detection import DETECTORS

    arch, weights, data = words.arch, words.weights, words.data
    if arch is None or weights is None or data is None:
        raise click.UsageError(f"--arch {arch} needs --weights FILE (or 'coco'), and photos that prove it with --data")
    export = export_detector if arch in DETECTORS else export_segmenter
    return export(ReadyNet(arch, weights, words.labels, data, words.label_column), out, reporter)


def tell_ready_net(result: Any, as_json: bool) -> None:
    """Print what was measured of such a bundle."""
    report = result.report
    if as_json:
        print_json({"bundle": str(result.path), "bundle_id": result.manifest.bundle_id, "report": report})
        return
    rows = [(name.replace("_", " "), f"{value:.3g}") for name, value in report.parity.items()]
    rows.append(("one pass on one thread", f"{report.timing.median_ms:.1f} ms"))
    print_table(("measured against torch", ""), rows)
    click.echo(f"wrote {result.path} (bundle {result.manifest.bundle_id[:12]}, report.html inside)")


def export_text(text: TextWords, out: str, as_json: bool) -> None:
    """Export a text encoder and print what was written.

    Raises:
        UsageError: One of its three parts is missing.
        InputError: A part cannot be used, or `tokenizers` is not installed.
        BundleError: The image encoder's bundle cannot be used, or nothing can be written.
    """
    from sightline.export.words import TextEncoder, export_words

    if text.text_encoder is None or text.tokenizer is None or text.joint is None:
        raise click.UsageError("a text encoder needs --text-encoder FILE, --tokenizer FILE and --joint BUNDLE")
    manifest = export_words(TextEncoder(text.text_encoder, text.tokenizer, text.joint), out)
    if manifest.embedding is None or manifest.text is None:
        raise InputError(f"'{out}' was written without its parts")
    told = {"bundle": out, "bundle_id": manifest.bundle_id, "embedding": manifest.embedding, "text": manifest.text}
    if as_json:
        print_json(told)
    else:
        where = f"{manifest.embedding.dim} wide, model {manifest.embedding.model_id}"
        click.echo(f"texts of {manifest.text.length} tokens at most, embeddings {where}")
        click.echo(f"wrote {out} (bundle {manifest.bundle_id[:12]})")


_OPTIONS = (
    click.option("--text-encoder", metavar="FILE", help="A float ONNX text encoder, for search by words."),
    click.option("--tokenizer", metavar="FILE", help="With --text-encoder: its tokenizer.json."),
    click.option("--joint", metavar="BUNDLE", help="With --text-encoder: the bundle of its image encoder."),
)

# Adds --text-encoder and what belongs to it; the command gets them as one argument, `text`.
text_options = gather("text", TextWords, _OPTIONS)
