"""`sightline export`: quantize, prove and pack a model as a bundle."""

from typing import TYPE_CHECKING

import click

from sightline.runtime.errors import InputError
from sightline.runtime.manifest import MULTI_LABEL

from ..console import ConsoleReporter, print_json, print_table
from ..export_options import GateWords, WeightsWords, gate_options, weights_options
from ..onnx_options import OnnxWords, foreign_onnx, onnx_options
from ..ready_nets import TextWords, export_ready_net, export_text, is_ready_net, tell_ready_net, text_options

if TYPE_CHECKING:
    from sightline.export.pipeline import ExportResult
    from sightline.export.source import ExportSource


@click.command()
@click.argument("run", required=False)
@click.option("--out", required=True, metavar="BUNDLE", help="Folder to write, or a file ending in .sightline.")
@gate_options
@weights_options
@onnx_options
@text_options
@click.option("--seed", default=0, show_default=True, help="Which photos calibrate.")
@click.option("--json", "as_json", is_flag=True, help="Print the gate and all figures as one JSON object.")
def command(
    run: str | None,
    out: str,
    gate: GateWords,
    ready: WeightsWords,
    words: OnnxWords,
    text: TextWords,
    seed: int,
    as_json: bool,
) -> int:
    """Make a bundle for devices from RUN, from ready weights, or from an ONNX file from anywhere.

    Ready weights come with --arch, --weights, --labels and --data; a foreign classifier with --onnx, --labels,
    --calibration and, where its notes do not say them, --mean and --std.

    A detector (ssdlite320_mobilenet_v3_large) or a segmenter (fcn_resnet50, lraspp_mobilenet_v3_large) is named by
    --arch, with --weights and photos of any kind with --data. A text encoder comes with --text-encoder, --tokenizer
    and --joint.

    Writes fp32 and int8, measures both side by side on photos that neither training nor calibration saw, and
    makes int8 the default where the gate passes. When it fails the bundle is written with fp32 as its default
    and the exit code is 1.

    \b
    Example:
      sightline export run --out kiosk.bundle
      sightline export run --out kiosk.bundle --target portable --target cuda --qat
      sightline export --arch mobilenet_v2 --weights imagenet --labels names.txt --data photos/ --out kiosk.sightline
      sightline export --onnx net.onnx --labels names.txt --calibration photos/ --mean 0.5 --std 0.5 --out out.bundle
      sightline export --arch ssdlite320_mobilenet_v3_large --weights coco --data photos/ --out objects.bundle
      sightline export --text-encoder text.onnx --tokenizer tokenizer.json --joint clip.bundle --out words.bundle
    """
    from sightline.export.pipeline import export_bundle
    from sightline.export.writer import check_place

    reporter = ConsoleReporter()
    check_place(out)
    if any((text.text_encoder, text.tokenizer, text.joint)):
        export_text(text, out, as_json)
        return 0
    if run is None and is_ready_net(ready.arch):
        tell_ready_net(export_ready_net(ready, out, reporter), as_json)
        return 0
    options = gate.options()
    result = export_bundle(_source(run, ready, words, seed, reporter), out, options, reporter)
    if as_json:
        print_json({"bundle": out, "bundle_id": result.manifest.bundle_id, **_figures(result)})
    else:
        _print(result)
    if result.report.gate.passed:
        return 0
    raise InputError(f"the gate failed, so fp32 is the default of '{out}': {'; '.join(result.report.gate.reasons)}")


def _source(
    run: str | None, ready: WeightsWords, words: OnnxWords, seed: int, reporter: ConsoleReporter
) -> "ExportSource":
    from sightline.export.foreign import source_from_onnx
    from sightline.export.source import ReadyWeights, source_from_run, source_from_weights

    arch, weights, labels, data = ready.arch, ready.weights, ready.labels, ready.data
    if words.given:
        if any((run, arch, weights)):
            raise click.UsageError("give either --onnx, or RUN, or --arch and --weights")
        return source_from_onnx(foreign_onnx(words, labels, data, ready.label_column, ready.dim), seed, reporter)
    if run is not None and ready.given:
        raise click.UsageError("give either RUN or --arch, --weights, --labels and --data, not both")
    if run is not None:
        return source_from_run(run, seed)
    if arch is None or weights is None or labels is None or data is None:
        raise click.UsageError(
            "give RUN (what 'sightline train' wrote), or --arch, --weights, --labels and --data, or --onnx, --labels "
            "and --calibration"
        )
    return source_from_weights(ReadyWeights(arch, weights, labels, data, ready.label_column, ready.dim), seed, reporter)


def _figures(result: "ExportResult") -> dict[str, object]:
    report = result.report
    return {
        "gate": report.gate,
        "default_variant": report.gate.default_variant,
        "variants": report.variants,
        "decision": report.decision,
        "parity": report.parity,
        "calibration": report.calibration,
    }


def _print(result: "ExportResult") -> None:
    from sightline.export.saturation_audit import explain

    report = result.report
    rows = [
        (
            one.name,
            f"{one.top1.value:.2%} ({one.top1.low:.1%} to {one.top1.high:.1%})",
            f"{one.drift.agreement:.2%}",
            f"{one.drift.mean_cosine:.4f}",
            f"{one.bytes / 1e6:.2f}",
            f"{one.timing.median_ms:.2f}" if one.timed else "-",
            f"{one.timing.speedup:.2f}x" if one.timed else "-",
            f"{one.fusion.int8_convolutions}/{one.fusion.int8_convolutions + len(one.fusion.float_convolutions)}",
            "default" if one.name == report.gate.default_variant else "",
        )
        for one in report.variants
    ]
    figure = "mean average precision" if report.task == MULTI_LABEL else "top-1"
    columns = ("variant", f"{figure} (95 %)", "as fp32", "cosine", "MB", "ms", "speed", "int8 convs", "")
    print_table(columns, rows)
    click.echo(f"{report.evaluation_images} evaluation photos, {report.calibration.images} calibration photos")
    for one in report.variants:
        # The embedding's own product is one of them.
        left = len(one.fusion.float_products) - 1
        if one.precision == "int8" and left > 0:
            click.echo(f"float: {one.name} has {left} matrix products in float, of layers that have no int8 form here")
    for reason in report.gate.reasons:
        click.echo(f"gate: {reason}")
    for one in report.audited:
        if one.saturation is not None:
            click.echo(f"other CPUs: {one.name} {explain(one.saturation)}")
    click.echo(f"wrote {result.path} (bundle {result.manifest.bundle_id[:12]}, report.html inside)")
