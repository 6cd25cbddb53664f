"""A bundle of one of torchvision's nets that find objects or name pixels: float, proven against torch.

net -> ONNX -> parity with torch on photos -> latency -> golden photos, report, manifest -> bundle
"""

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from torch import nn

from sightline.models.weights import WeightsError
from sightline.runtime.dataset import list_images, read_labels
from sightline.runtime.errors import InputError
from sightline.runtime.golden import GOLDEN_NAME
from sightline.runtime.manifest import DetectionPolicy, Manifest, Variant
from sightline.runtime.preprocess import Image, InputSpec, decode_image, prepare, prepare_batch, read_image
from sightline.runtime.reporter import Reporter
from sightline.runtime.session import Interface, Session, open_session

from .data import load_data
from .latency import Timing, describe_cpu, measure_latency
from .onnx_graph import export_onnx, serialize
from .onnx_notes import add_notes
from .pages import data_address, render_page
from .writer import GOLDEN_IMAGES, check_place, file_entries, golden_photo, write_bundle

PARITY_PHOTOS = 32
_TOOLS = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "numpy", "opencv-python", "sightline")
_FILE = "model.fp32.onnx"
Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class ReadyNet:
    """What a bundle is made of.

    Attributes:
        arch: A key of `DETECTORS` or `SEGMENTERS`.
        weights: A state dict's file, or "coco".
        labels: A file with a name a line; None takes those of the published weights.
        data: Photos that prove the export: a folder, a picture or a CSV file.
        label_column: Of the CSV file.
    """

    arch: str
    weights: str
    labels: str | None
    data: str
    label_column: str = "label"


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A torch net ready to be exported.

    Attributes:
        arch: torchvision's name.
        task: See `Manifest`.
        labels: Of its outputs.
        spec: Its input.
        net: Takes uint8 [batch, height, width, 3] RGB.
        interface: Names of the graph's input and outputs.
        weights: Where its weights came from.
        detection: Of a detector.
    """

    arch: str
    task: str
    labels: tuple[str, ...]
    spec: InputSpec
    net: nn.Module
    interface: Interface
    weights: str
    detection: DetectionPolicy | None = None


@dataclass(frozen=True, slots=True)
class PublishedReport:
    """What was measured of such a bundle.

    Attributes:
        parity: Figures of the comparison with torch, by name.
        timing: Of one pass at batch 1 on one thread.
    """

    arch: str
    task: str
    labels: tuple[str, ...]
    input: InputSpec
    weights: str
    parity: dict[str, float]
    timing: Timing
    bytes: int
    cpu: str
    tool_versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proof:
    """How a kind of net is proven.

    Attributes:
        compare: Compares torch and the exported file on prepared photos; raises BundleError where they differ.
        golden: Gives the golden case of a photo: its file in the bundle, its prepared input, the session.
        draw: Draws on a photo what the session says of it.
    """

    compare: Callable[[Session, Image], dict[str, float]]
    golden: Callable[[str, Image, Session], Any]
    draw: Callable[[Image, Session], Image]


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """A written bundle: its place, its manifest and what was measured."""

    path: Path
    manifest: Manifest
    report: PublishedReport


def open_ready(
    ready: ReadyNet, build: Callable[[str, str, Sequence[str] | None], tuple[Net, Sequence[str]]]
) -> tuple[Net, Sequence[str], list[Path]]:
    """Read what a bundle is made of.

    Args:
        ready: What the user named.
        build: Gives the net and the names of its outputs, of an architecture, weights and labels.

    Returns:
        The net in evaluation mode, the names of its outputs, and the photos that prove it.

    Raises:
        InputError: The weights, labels or photos cannot be used.
    """
    labels = read_labels(ready.labels) if ready.labels is not None else None
    photos = photo_files(ready.data, ready.label_column)
    try:
        net, names = build(ready.arch, ready.weights, labels)
    except WeightsError as error:
        raise InputError(str(error)) from error
    return net.eval(), names, photos


def photo_files(data: str, label_column: str) -> list[Path]:
    """List photos: a folder, a picture, or the files of a CSV.

    Raises:
        InputError: There is none.
    """
    path = Path(data)
    if path.suffix.lower() == ".csv":
        return [image.path for image in load_data(data, label_column).images]
    if not path.exists():
        raise InputError(f"data '{data}' does not exist: expected a folder of photos, a picture or a CSV file")
    return list_images([path])


def export_published(
    model: PublishedModel, proof: Proof, photos: Sequence[Path], out: str | Path, reporter: Reporter
) -> PublishedResult:
    """Export, prove and write a bundle of one float variant.

    Raises:
        BundleError: The exported file differs from torch, or nothing can be written.
        InputError: A photo cannot be read.
    """
    place = check_place(out)
    reporter.say(f"exporting {model.arch} with {len(model.labels)} labels")
    exported = export_onnx(model.net, model.spec, model.interface.outputs)
    noted = add_notes(
        exported, arch=model.arch, task=model.task, labels=model.labels, input=model.spec, detection=model.detection
    )
    data = serialize(noted)
    session = open_session(data, "cpu", 1, model.interface)
    chosen = photos[:: max(1, len(photos) // PARITY_PHOTOS)][:PARITY_PHOTOS]
    frames = [read_image(path) for path in chosen]
    prepared = prepare_batch(frames, model.spec)
    parity = proof.compare(session, prepared)
    timing = measure_latency({"fp32": session}, prepared, "fp32")["fp32"]
    report = PublishedReport(
        model.arch,
        model.task,
        model.labels,
        model.spec,
        model.weights,
        {"images": float(len(prepared)), **parity},
        timing,
        len(data),
        describe_cpu(),
        {**{name: version(name) for name in _TOOLS}, "python": platform.python_version()},
    )
    files = {_FILE: data, **_golden(model, proof, frames[:GOLDEN_IMAGES], session)}
    files["report.json"] = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
    pictures = [data_address(proof.draw(frame, session)) for frame in frames[:6]]
    files["report.html"] = render_page("published.html.j2", report=report, pictures=pictures).encode()
    manifest = write_bundle(place, _manifest(model, report, files), files)
    return PublishedResult(place, manifest, report)


def _golden(model: PublishedModel, proof: Proof, frames: Sequence[Image], session: Session) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    cases = []
    for number, frame in enumerate(frames):
        name = f"golden/{number}.jpg"
        files[name] = golden_photo(frame)
        cases.append(proof.golden(name, prepare(decode_image(files[name], name), model.spec), session))
    return {**files, GOLDEN_NAME: msgspec.json.encode(cases)}


def _manifest(model: PublishedModel, report: PublishedReport, files: Mapping[str, bytes]) -> Manifest:
    sha256 = hashlib.sha256(files[_FILE]).hexdigest()
    latency_ms = round(report.timing.median_ms, 3)
    return Manifest(
        arch=model.arch,
        labels=model.labels,
        input=model.spec,
        embedding=None,
        variants=(Variant("fp32", "fp32", "any", _FILE, sha256, report.bytes, latency_ms=latency_ms),),
        default_variant="fp32",
        files=file_entries(files),
        task=model.task,
        training={"weights": model.weights, "trained": False},
        tool_versions=report.tool_versions,
        detection=model.detection,
    )
