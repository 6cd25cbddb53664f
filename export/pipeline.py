"""The whole export: a model and its photos become a bundle that is proven, or a sentence that says why not.

source -> float ONNX -> parity with torch -> int8 -> evaluation, drift, latency -> gate -> thresholds
       -> golden images, report, manifest -> bundle
"""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sightline.runtime.dataset import LabelledImage
from sightline.runtime.manifest import Embedding, GateResult, Manifest, Variant
from sightline.runtime.preprocess import Image, prepare_batch, read_image
from sightline.runtime.reporter import QuietReporter, Reporter
from sightline.runtime.session import Session, open_session

from .calibration import in_turn
from .data import class_indices
from .decision import DecisionFit, fit_decision
from .evaluate import Outputs, drift, rate, run_variants, top_k
from .figures import CalibrationFacts, Report, VariantFigures, class_figures, confusions, reliability
from .fusion import inspect_fusion
from .gate import Candidate, Limits, judge
from .latency import describe_cpu, measure_latency
from .onnx_graph import export_onnx, serialize
from .onnx_notes import with_notes
from .parity import Parity, check_batches, check_parity
from .quantize import QuantizationOptions, quantize
from .report_html import render_report
from .source import ExportSource
from .writer import check_place, file_entries, golden_files, write_bundle

_PARITY_IMAGES = 32
# Beyond this the thresholds no longer move and embedding the training photos would take minutes.
_GALLERY_IMAGES = 1500
_TOOLS = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy", "opencv-python", "sightline")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a bundle is made.

    Attributes:
        limits: What the gate asks of int8.
        quantization: How int8 is made.
        threads: Threads of the latency run.
    """

    limits: Limits = field(default_factory=Limits)
    quantization: QuantizationOptions = field(default_factory=QuantizationOptions)
    threads: int = 1


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A written bundle: its manifest and all that was measured."""

    path: Path
    manifest: Manifest
    report: Report


@dataclass(frozen=True, slots=True)
class _Built:
    name: str
    precision: str
    target: str
    model: ModelProto
    session: Session

    @property
    def file(self) -> str:
        return f"model.{self.name}.onnx"


@dataclass(frozen=True, slots=True)
class _Measured:
    outputs: dict[str, Outputs]
    variants: tuple[VariantFigures, ...]
    truth: NDArray[np.int64]


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
    place = check_place(out)
    reporter.say(f"exporting {source.model.architecture.name} with {len(source.labels)} classes")
    model = export_onnx(source.model, source.spec)
    # The space of the embeddings is the float graph's; thresholds and labels written beside it do not change it.
    model_id = hashlib.sha256(serialize(model)).hexdigest()[:16]
    fp32 = _Built("fp32", "fp32", "any", model, open_session(serialize(model), "cpu"))
    photos = _prepared(in_turn(source.evaluation)[:_PARITY_IMAGES], source)
    parity = check_parity(source.model, fp32.session, photos)
    quantized = quantize(model, source.calibration, source.spec, options.quantization, reporter)
    session = open_session(serialize(quantized.model), "cpu")
    built = (fp32, _Built("int8", "int8", "portable", quantized.model, session))
    measured = _measure(built, source, photos, options, reporter)
    gate = _judge(measured.variants, options.limits)
    default = next(one for one in built if one.name == gate.default_variant)
    fit = _fit_decision(default, measured, source, reporter)
    report = _report(source, options, model_id, measured, parity, gate, fit)
    files = _model_files(built, source, report)
    files |= golden_files(in_turn(source.evaluation), {one.name: one.session for one in built}, source.spec)
    files["report.json"] = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
    files["report.html"] = render_report(report, fit, source.evaluation, source.gallery).encode()
    manifest = write_bundle(place, _manifest(source, report, built, files), files)
    return ExportResult(place, manifest, report)


def _prepared(images: list[LabelledImage], source: ExportSource) -> Image:
    return prepare_batch([read_image(image.path) for image in images], source.spec)


def _measure(
    built: tuple[_Built, ...], source: ExportSource, photos: Image, options: ExportOptions, reporter: Reporter
) -> _Measured:
    batches = {one.name: check_batches(one.session, photos, one.precision) for one in built}
    outputs = run_variants({one.name: one.session for one in built}, source.evaluation, source.spec, reporter)
    truth = np.asarray(class_indices(source.evaluation, source.labels), np.int64)
    reporter.say("measuring latency")
    timed = {one.name: open_session(serialize(one.model), "cpu", options.threads) for one in built}
    timings = measure_latency(timed, photos, "fp32")
    figures = tuple(
        VariantFigures(
            one.name,
            one.precision,
            one.target,
            len(serialize(one.model)),
            rate(top_k(outputs[one.name].logits, truth, 1)),
            rate(top_k(outputs[one.name].logits, truth, 5)),
            drift(outputs["fp32"], outputs[one.name], truth),
            timings[one.name],
            batches[one.name],
            inspect_fusion(serialize(one.model)),
        )
        for one in built
    )
    return _Measured(outputs, figures, truth)


def _judge(variants: tuple[VariantFigures, ...], limits: Limits) -> GateResult:
    reference, candidate = (Candidate(one.name, one.top1, one.drift, one.timing.speedup, one.bytes) for one in variants)
    return judge(reference, candidate, limits)


def _fit_decision(default: _Built, measured: _Measured, source: ExportSource, reporter: Reporter) -> DecisionFit:
    gallery = in_turn(source.gallery)[:_GALLERY_IMAGES]
    answers = run_variants({default.name: default.session}, gallery, source.spec, reporter, "fitting thresholds")
    return fit_decision(
        measured.outputs[default.name],
        measured.truth,
        answers[default.name],
        np.asarray(class_indices(gallery, source.labels), np.int64),
    )


def _report(
    source: ExportSource,
    options: ExportOptions,
    model_id: str,
    measured: _Measured,
    parity: Parity,
    gate: GateResult,
    fit: DecisionFit,
) -> Report:
    outputs = measured.outputs[gate.default_variant]
    calibration, quantization = source.calibration, options.quantization
    return Report(
        arch=source.model.architecture.name,
        labels=source.labels,
        input=source.spec,
        embedding_dim=source.model.dim,
        model_id=model_id,
        evaluation_images=len(source.evaluation),
        evaluated_classes=len(np.unique(measured.truth)),
        variants=measured.variants,
        gate=gate,
        decision=fit.policy,
        parity=parity,
        calibration=CalibrationFacts(
            len(calibration.images),
            calibration.classes,
            calibration.sha256,
            quantization.method,
            quantization.weights.steps,
        ),
        reliability=reliability(outputs, measured.truth, fit.policy.temperature),
        classes=class_figures(outputs, measured.truth, source.labels),
        confusions=confusions(outputs, measured.truth, source.labels),
        training=source.training,
        history=source.history,
        cpu=describe_cpu(),
        threads=options.threads,
        tool_versions={**{name: version(name) for name in _TOOLS}, "python": platform.python_version()},
    )


def _model_files(built: tuple[_Built, ...], source: ExportSource, report: Report) -> dict[str, bytes]:
    embedding = Embedding(report.embedding_dim, report.model_id)
    return {
        one.file: serialize(with_notes(one.model, report.arch, source.labels, source.spec, embedding, report.decision))
        for one in built
    }


def _manifest(source: ExportSource, report: Report, built: tuple[_Built, ...], files: Mapping[str, bytes]) -> Manifest:
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
            latency_ms=round(figures.timing.median_ms, 3),
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
        training=source.training,
        calibration=msgspec.to_builtins(report.calibration),
        tool_versions=report.tool_versions,
    )
