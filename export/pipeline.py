"""The whole export: a model and its photos become a bundle that is proven, or a sentence that says why not.

source -> float ONNX -> parity with its model -> int8 -> evaluation, drift, latency -> gate -> thresholds
       -> golden images, report, manifest -> bundle
"""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np

from sightline.runtime.dataset import LabelledImage
from sightline.runtime.manifest import Embedding, GateResult, Manifest, Variant
from sightline.runtime.preprocess import Image, prepare_batch, read_image
from sightline.runtime.reporter import QuietReporter, Reporter
from sightline.runtime.session import Session

from .calibration import in_turn
from .decision import DecisionFit, fit_decision
from .figures import (
    CalibrationFacts,
    Report,
    VariantFigures,
    averages,
    class_figures,
    confusions,
    evaluated_classes,
    reliability,
)
from .float_model import float_graph, model_name
from .gate import Candidate, Limits, judge
from .label_decision import fit_labels
from .latency import describe_cpu
from .mistakes import mistake_maps
from .onnx_graph import serialize
from .onnx_notes import with_notes
from .parity import Parity, check_parity
from .quantize import QuantizationOptions, Quantizer
from .report_html import render_report
from .rescue import Rescuer, rescue_refused
from .source import ExportSource
from .targets import PORTABLE, find_targets
from .variants import Built, Measured, build_float, measure
from .writer import check_place, file_entries, golden_files, write_bundle

_PARITY_IMAGES = 32
_TOOLS = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy", "opencv-python", "sightline")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a bundle is made.

    Attributes:
        limits: What the gate asks of int8.
        quantization: How int8 is made.
        targets: The machines to make variants for, see `targets.TARGETS`; fp32 is always made.
        rescue: Whether the costliest layers are left in float where int8 is expected, or by the gate found, to lose too
            much.
        rank_layers: Whether the layers are ranked by their cost even where no rescue is needed.
        threads: Threads of the latency run.
    """

    limits: Limits = field(default_factory=Limits)
    quantization: QuantizationOptions = field(default_factory=QuantizationOptions)
    targets: tuple[str, ...] = (PORTABLE,)
    rescue: bool = True
    rank_layers: bool = False
    threads: int = 1


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A written bundle: its manifest and all that was measured."""

    path: Path
    manifest: Manifest
    report: Report


def export_bundle(
    source: ExportSource, out: str | Path, options: ExportOptions | None = None, reporter: Reporter | None = None
) -> ExportResult:
    """Export, prove and write a bundle.

    The bundle is written also when the gate fails; fp32 is then its default and the reason is in it.

    Args:
        source: The model and its photos.
        out: A folder, or a file whose name ends in `.sightline`.
        options: Limits and methods.
        reporter: Where progress goes.

    Raises:
        BundleError: The exported file differs from torch, int8 does not run in int8, or nothing can be written.
        InputError: A photo cannot be read or the calibration shares one with the evaluation.
    """
    options, reporter = options or ExportOptions(), reporter or QuietReporter()
    targets = find_targets(options.targets)
    place = check_place(out)
    reporter.say(f"exporting {model_name(source.model)} with {len(source.labels)} classes")
    model = float_graph(source.model, source.spec)
    # The space of the embeddings is the float graph's; thresholds and labels written beside it do not change it.
    model_id = hashlib.sha256(serialize(model)).hexdigest()[:16]
    fp32 = build_float(model)
    photos = _prepared(in_turn(source.evaluation)[:_PARITY_IMAGES], source)
    parity = check_parity(source.model, fp32.session, photos)
    learned = [image.path for image in source.gallery]
    quantizer = Quantizer(model, source.calibration, source.spec, options.quantization, reporter, learned)
    rescuer = Rescuer(quantizer, fp32, source, options.limits.max_drop, reporter)
    built = [fp32, *(rescuer.build(target, options.rescue) for target in targets)]
    int8 = [target.weights for target in targets if target.weights is not None]
    if options.rank_layers and int8 and not rescuer.rankings:
        rescuer.rank(int8[0])

    measured = measure(built, source, photos, options.threads, reporter)
    remarks = rescue_refused(built, targets, measured.figures, source, rescuer, reporter) if options.rescue else []
    if remarks:
        measured = measure(built, source, photos, options.threads, reporter)
    gate = _judge(measured.figures, options.limits, "mean average precision" if _several(measured) else "top-1")
    gate = replace(gate, reasons=(*gate.reasons, *remarks))
    fit = _fit_decision(gate.default_variant, measured)
    report = _report(source, options, model_id, measured, parity, gate, fit, rescuer)
    files = _model_files(built, source, report)
    files |= golden_files(in_turn(source.evaluation), {one.name: one.session for one in built}, source.spec)
    files["report.json"] = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
    default = next(one.session for one in built if one.name == gate.default_variant)
    maps = _mistake_maps(report, source, default, reporter)
    files["report.html"] = render_report(report, fit, source.evaluation, source.gallery, maps).encode()
    manifest = write_bundle(place, _manifest(source, report, built, files), files)
    return ExportResult(place, manifest, report)


def _mistake_maps(report: Report, source: ExportSource, session: Session, reporter: Reporter) -> dict[Path, str]:
    mistakes = [(source.evaluation[one.example].path, source.labels.index(one.answer)) for one in report.confusions]
    return mistake_maps(session, source.spec, mistakes, reporter)


def _prepared(images: list[LabelledImage], source: ExportSource) -> Image:
    return prepare_batch([read_image(image.path) for image in images], source.spec)


def _several(measured: Measured) -> bool:
    """Say whether a photo may have several labels."""
    return measured.truth.ndim == 2


def _judge(variants: Sequence[VariantFigures], limits: Limits, figure: str) -> GateResult:
    reference, *candidates = (_candidate(one, figure) for one in variants)
    return judge(reference, candidates, limits)


def _candidate(one: VariantFigures, figure: str) -> Candidate:
    candidate = Candidate(one.name, one.top1, one.drift, one.timing.speedup, one.bytes, one.timed, figure=figure)
    return replace(candidate, untimed=one.elsewhere.sentence) if one.elsewhere else candidate


def _fit_decision(default: str, measured: Measured) -> DecisionFit:
    evaluation, gallery = measured.evaluation[default], measured.gallery[default]
    if _several(measured):
        return fit_labels(evaluation, measured.truth, gallery, measured.gallery_truth)
    truth, gallery_truth = (classes.astype(np.int64) for classes in (measured.truth, measured.gallery_truth))
    return fit_decision(evaluation, truth, gallery, gallery_truth)


def _report(
    source: ExportSource,
    options: ExportOptions,
    model_id: str,
    measured: Measured,
    parity: Parity,
    gate: GateResult,
    fit: DecisionFit,
    rescuer: Rescuer,
) -> Report:
    outputs = measured.evaluation[gate.default_variant]
    calibration = source.calibration
    weights, ranking = next(iter(rescuer.rankings.items()), (None, ()))
    ranked = tuple(
        one.variant for one in find_targets(options.targets) if weights is not None and one.weights == weights
    )
    return Report(
        arch=model_name(source.model),
        labels=source.labels,
        input=source.spec,
        embedding_dim=source.model.dim,
        model_id=model_id,
        evaluation_images=len(source.evaluation),
        evaluated_classes=evaluated_classes(measured.truth),
        task=source.task,
        variants=measured.figures,
        gate=gate,
        decision=fit.policy,
        parity=parity,
        calibration=CalibrationFacts(len(calibration.images), calibration.classes, calibration.sha256),
        ranked=ranked,
        sensitivity=ranking,
        reliability=reliability(outputs, measured.truth, fit.policy.temperature),
        averages=averages(outputs, measured.truth, fit.policy, source.labels),
        classes=class_figures(outputs, measured.truth, source.labels),
        confusions=confusions(outputs, measured.truth, source.labels),
        training=source.training,
        history=source.history,
        choosing_images=len(rescuer.photos),
        cpu=describe_cpu(),
        threads=options.threads,
        tool_versions={**{name: version(name) for name in _TOOLS}, "python": platform.python_version()},
    )


def _model_files(built: Sequence[Built], source: ExportSource, report: Report) -> dict[str, bytes]:
    embedding = Embedding(report.embedding_dim, report.model_id)
    return {
        one.file: serialize(with_notes(one.model, report.arch, source.labels, source.spec, embedding, report.decision))
        for one in built
    }


def _manifest(source: ExportSource, report: Report, built: Sequence[Built], files: Mapping[str, bytes]) -> Manifest:
    entries = file_entries(files)
    variants = tuple(
        Variant(
            name=one.name,
            precision=one.precision,
            target=one.target,
            file=one.file,
            sha256=entries[one.file].sha256,
            bytes=entries[one.file].bytes,
            top1=figures.top1.value,
            agreement=figures.drift.agreement,
            latency_ms=round(figures.timing.median_ms, 3) if figures.timed else None,
        )
        for one, figures in zip(built, report.variants, strict=True)
    )
    return Manifest(
        arch=report.arch,
        labels=source.labels,
        input=source.spec,
        embedding=Embedding(report.embedding_dim, report.model_id),
        variants=variants,
        default_variant=report.gate.default_variant,
        files=entries,
        decision=report.decision,
        gate=report.gate,
        task=source.task,
        training=source.training,
        calibration=msgspec.to_builtins(report.calibration),
        tool_versions=report.tool_versions,
    )
