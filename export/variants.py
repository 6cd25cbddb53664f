"""Builds the variants of a bundle and measures them side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import ModelProto

from sightline.runtime.errors import BundleError, ProviderError
from sightline.runtime.preprocess import Image
from sightline.runtime.reporter import Reporter
from sightline.runtime.session import Session, open_session

from .calibration import in_turn
from .evaluate import Outputs, accuracy, drift, rate, recall_at_1, run_variants, top_k
from .figures import Elsewhere, VariantFigures
from .fusion import inspect_fusion
from .half import MOST_HALF, to_half
from .latency import measure_latency
from .losses import Targets
from .onnx_graph import serialize
from .parity import check_batches
from .quantize import QuantizedModel, Quantizer
from .saturation_audit import Saturation, audit_saturation
from .source import ExportSource
from .stage import photo_targets
from .targets import Target

# Beyond this the thresholds no longer move and embedding the training photos would take minutes.
_GALLERY_IMAGES = 1500


@dataclass(frozen=True, slots=True)
class Built:
    """One variant of the model.

    Attributes:
        name: How it is asked for.
        precision: "fp32", "fp16" or "int8".
        target: The machines it is for; "any" for fp32.
        model: The graph, without notes.
        session: The graph opened on this machine's CPU.
        quantized: How int8 was made; None for float.
        timed: Whether a latency measured here says anything of the machines it is for.
        provider: What the machines it is for run it with.
    """

    name: str
    precision: str
    target: str
    model: ModelProto
    session: Session
    quantized: QuantizedModel | None = None
    timed: bool = True
    provider: str = "cpu"

    @property
    def file(self) -> str:
        """Its file in the bundle."""
        return f"model.{self.name}.onnx"


@dataclass(frozen=True, slots=True)
class Measured:
    """What all variants answered.

    Attributes:
        evaluation: Outputs on the evaluation photos by the variant's name.
        gallery: Outputs on the gallery photos by the variant's name.
        truth: Classes of the evaluation photos, see `losses.Targets`.
        gallery_truth: Classes of the gallery photos.
        figures: The variants measured.
    """

    evaluation: dict[str, Outputs]
    gallery: dict[str, Outputs]
    truth: Targets
    gallery_truth: Targets
    figures: tuple[VariantFigures, ...]


def build_float(model: ModelProto) -> Built:
    """Open the float graph."""
    return Built("fp32", "fp32", "any", model, open_session(serialize(model), "cpu"))


def build_half(target: Target, fp32: Built, quantizer: Quantizer) -> Built:
    """Make the half-precision variant; opened on the CPU, which computes it slowly and rightly.

    Raises:
        BundleError: The net's values are beyond what half precision holds.
    """
    largest = quantizer.largest_activation
    if largest > MOST_HALF / 4:
        raise BundleError(
            f"an inner value of the net reaches {largest:,.0f} on the calibration photos and fp16 holds up to "
            f"{MOST_HALF:,.0f}: export without --target {target.name}"
        )
    half = to_half(fp32.model)
    session = open_session(serialize(half), "cpu")
    return Built(target.variant, target.precision, target.name, half, session, None, target.timed, target.provider)


def build_variant(target: Target, quantizer: Quantizer, keep_float: Sequence[str] = ()) -> Built:
    """Make the int8 variant for one target.

    Raises:
        BundleError: A node that was meant to run in int8 does not in this ONNX Runtime.
    """
    assert target.weights is not None, f"{target.name} is not int8"
    quantized = quantizer.make(target.weights, keep_float)
    session = open_session(serialize(quantized.model), "cpu")
    return Built(target.variant, target.precision, target.name, quantized.model, session, quantized, target.timed)


def measure(
    variants: Sequence[Built], source: ExportSource, photos: Image, threads: int, reporter: Reporter
) -> Measured:
    """Run every variant over the same photos and time them in turns.

    Args:
        variants: fp32 first.
        source: The photos and labels.
        photos: A few prepared evaluation photos.
        threads: Threads of the latency run.
        reporter: Where progress goes.
    """
    sessions = {one.name: one.session for one in variants}
    batches = {one.name: check_batches(one.session, photos, one.precision) for one in variants}
    gallery_images = in_turn(source.gallery)[:_GALLERY_IMAGES]
    evaluation = run_variants(sessions, source.evaluation, source.spec, reporter)
    gallery = run_variants(sessions, gallery_images, source.spec, reporter, "embedding the gallery")
    truth = photo_targets(source.evaluation, source.labels, source.task)
    gallery_truth = photo_targets(gallery_images, source.labels, source.task)
    reporter.say("measuring latency")
    timed = {one.name: open_session(serialize(one.model), "cpu", threads) for one in variants}
    timings = measure_latency(timed, photos, variants[0].name)
    reference = variants[0].name
    audits = _audits(variants, source, reporter)
    elsewhere = {one.name: _elsewhere(variants[0], one, photos, threads) for one in variants}

    def figures(one: Built) -> VariantFigures:
        mine = evaluation[one.name]
        return VariantFigures(
            name=one.name,
            precision=one.precision,
            target=one.target,
            bytes=len(serialize(one.model)),
            top1=accuracy(mine.logits, truth),
            top5=rate(top_k(mine.logits, truth, 5)),
            drift=drift(evaluation[reference], mine, truth),
            timing=timings[one.name],
            batches=batches[one.name],
            fusion=one.quantized.fusion if one.quantized else inspect_fusion(serialize(one.model)),
            recall1=recall_at_1(mine.embeddings, truth, gallery[one.name].embeddings, gallery_truth),
            cross_recall1=recall_at_1(mine.embeddings, truth, gallery[reference].embeddings, gallery_truth),
            timed=one.timed,
            trials=one.quantized.choice.trials if one.quantized else (),
            kept_float=one.quantized.kept_float if one.quantized else (),
            repairs=one.quantized.repairs if one.quantized else (),
            saturation=audits.get(one.name),
            elsewhere=elsewhere[one.name],
        )

    return Measured(evaluation, gallery, truth, gallery_truth, tuple(figures(one) for one in variants))


def _audits(variants: Sequence[Built], source: ExportSource, reporter: Reporter) -> dict[str, Saturation]:
    found: dict[str, Saturation] = {}
    same: dict[bytes, Saturation] = {}
    for one in variants:
        if one.quantized is not None:
            # Two targets may share their bytes.
            data = serialize(one.model)
            if data not in same:
                photos = source.calibration.images
                same[data] = audit_saturation(
                    one.model, one.quantized.names, photos, source.labels, source.spec, reporter
                )
            found[one.name] = same[data]
    return found


def _elsewhere(reference: Built, one: Built, photos: Image, threads: int) -> Elsewhere | None:
    """Time a variant for another provider beside fp32 there, where this machine has it."""
    if one.provider == "cpu":
        return None
    try:
        sessions = {each.name: open_session(serialize(each.model), one.provider, threads) for each in (reference, one)}
    except ProviderError:
        return Elsewhere(one.provider, None)
    return Elsewhere(one.provider, measure_latency(sessions, photos, reference.name)[one.name])
