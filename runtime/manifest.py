"""What a bundle says of itself: `manifest.json` as frozen dataclasses, checked when it is read.

The manifest names every other file of the bundle with its size and SHA-256, and itself by `bundle_id`: the
SHA-256 of the manifest's own bytes with that field blanked. So one changed byte anywhere is found.
"""

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from .errors import BundleError
from .preprocess import InputSpec

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 16_000_000
# What a model is for: one label a photo, any number of them, or look-up alone.
SINGLE_LABEL, MULTI_LABEL, EMBEDDING = "single-label", "multi-label", "embedding"
# What else a bundle may hold: a net that finds objects, one that names every pixel, or a text encoder.
DETECTION, SEGMENTATION, WORDS = "detection", "segmentation", "words"
RECOGNISES = (SINGLE_LABEL, MULTI_LABEL, EMBEDDING)
_TASKS = (*RECOGNISES, DETECTION, SEGMENTATION, WORDS)
_BLANK_ID = "0" * 64
_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*){0,3}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the bundle: its SHA-256 in hexadecimal and its size."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of the model.

    Attributes:
        name: How it is asked for, e.g. "int8".
        precision: "fp32", "fp16" or "int8".
        target: The machines it is for: "any", "portable", "x86-vnni", "arm64" or "cuda".
        file: Its ONNX file inside the bundle.
        sha256: Of that file.
        bytes: Of that file.
        top1: Share of evaluation images answered rightly, 0 to 1.
        agreement: Share of evaluation images whose first answer is fp32's, 0 to 1.
        latency_ms: Median time of one inference at batch 1 on the exporting machine.
    """

    name: str
    precision: str
    target: str
    file: str
    sha256: str
    bytes: int
    top1: float | None = None
    agreement: float | None = None
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Embedding:
    """The embedding's width, and the id of the space it lives in: galleries keep to one `model_id`."""

    dim: int
    model_id: str


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """When an answer counts as known.

    Attributes:
        temperature: Divides the logits before the softmax, or before the sigmoid of each label.
        unknown_logit: What "unknown" scores beside the divided logits: one more class in the softmax, which wins
            where no label stands out. None leaves it out.
        min_probability: Below it an answer is unknown.
        min_similarity: Below it a gallery match of a label that the classifier lacks says nothing, cosine.
        supporting_similarity: Above it a match of a label that the classifier has speaks for that label, cosine.
        similarity_weight: What it then adds to the divided logit for each unit of cosine above it. 0 lets the
            classifier decide alone on the labels that it has.
        target_false_accept_rate: What the thresholds aim at, 0 to 1.
        false_accept_rate: Measured share of unknown items that the classifier alone would accept, or None.
        false_reject_rate: Measured share of items that it names rightly and yet would reject, or None.
        gallery_false_accept_rate: The same for an item that only the gallery knows, by `min_similarity`.
        gallery_false_reject_rate: The same for an item that only the gallery knows, by `min_similarity`.
        images: How many images were measured.
        method: How it was measured, in words.
        label_thresholds: Of a multi-label bundle: the probability from which each label counts, in the order of the
            labels.
    """

    temperature: float = 1.0
    unknown_logit: float | None = None
    min_probability: float = 0.5
    min_similarity: float = 0.7
    supporting_similarity: float = 1.0
    similarity_weight: float = 0.0
    target_false_accept_rate: float = 0.05
    false_accept_rate: float | None = None
    false_reject_rate: float | None = None
    gallery_false_accept_rate: float | None = None
    gallery_false_reject_rate: float | None = None
    images: int = 0
    method: str = "not calibrated"
    label_thresholds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class DetectionPolicy:
    """When a box of a detector counts.

    Attributes:
        min_score: Boxes of at most this score are left out, 0 to 1.
        max_overlap: Of two boxes of one label that overlap by more, intersection over union, the better one stays.
        most: Boxes of a frame at most, the best.
    """

    min_score: float = 0.5
    max_overlap: float = 0.55
    most: int = 300


@dataclass(frozen=True, slots=True)
class TextInput:
    """How a text encoder is fed.

    Attributes:
        tokenizer: The file inside the bundle, a `tokenizer.json`.
        ids: Name of the input that takes the tokens' numbers.
        mask: Name of the input that tells tokens from padding, or None.
        output: Name of the output that is the embedding.
        integers: "int32" or "int64", what the inputs are.
        length: Tokens of a text; longer ones are cut, shorter ones are padded where `fixed`.
        fixed: Whether the encoder takes texts of just this length.
        pad: The token that pads.
    """

    tokenizer: str
    ids: str
    mask: str | None
    output: str
    integers: str
    length: int
    fixed: bool
    pad: int


@dataclass(frozen=True, slots=True)
class GateResult:
    """Whether the quantized variant may be the default.

    Attributes:
        passed: Whether every limit was kept.
        default_variant: The variant that the gate chose.
        reasons: Why, one sentence each.
        max_drop: The largest loss of top-1 allowed, points.
        drop: The measured loss of top-1, points; None where it was not measured.
        images: How many images were measured.
    """

    passed: bool
    default_variant: str
    reasons: tuple[str, ...] = ()
    max_drop: float | None = None
    drop: float | None = None
    images: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a device needs to know of a bundle before it opens another file of it.

    Attributes:
        task: "single-label": classifier and gallery answer together. "multi-label": each label of its own counts from
            its own threshold on, and the gallery adds what was taught. "embedding": the gallery alone answers, and the
            labels are only those that the model was trained and proven on. "detection": finds objects of its labels.
            "segmentation": gives each pixel one of its labels. "words": embeds texts; `input` is then that of the
            image encoder it belongs to, and it has no labels.
        embedding: None where the task has none.
        detection: Of a detector alone.
        text: Of a text encoder alone.
    """

    arch: str
    labels: tuple[str, ...]
    input: InputSpec
    embedding: Embedding | None
    variants: tuple[Variant, ...]
    default_variant: str
    files: dict[str, FileEntry]
    decision: DecisionPolicy = DecisionPolicy()
    gate: GateResult | None = None
    task: str = SINGLE_LABEL
    training: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    tool_versions: dict[str, str] = field(default_factory=dict)
    detection: DetectionPolicy | None = None
    text: TextInput | None = None
    schema_version: int = SCHEMA_VERSION
    bundle_id: str = _BLANK_ID

    def __post_init__(self) -> None:
        unsafe = next((name for name in self.files if not _SAFE_NAME.fullmatch(name)), None)
        if unsafe is not None:
            raise ValueError(f"the file name {unsafe!r} is not allowed in a bundle")
        if self.default_variant not in {variant.name for variant in self.variants}:
            raise ValueError(f"its default variant {self.default_variant!r} is none of its variants")
        for variant in self.variants:
            if variant.file not in self.files:
                raise ValueError(f"its file list lacks {variant.file!r} of variant {variant.name!r}")
        if self.task not in _TASKS:
            raise ValueError(f"its task {self.task!r} is none of {', '.join(_TASKS)}")
        if not (self.labels or self.task == WORDS) or len(set(self.labels)) != len(self.labels):
            raise ValueError("its labels are empty or name one twice")
        if self.task == MULTI_LABEL and len(self.decision.label_thresholds) != len(self.labels):
            raise ValueError("it has not one threshold for each of its labels")
        _check_parts(self)


def _check_parts(manifest: Manifest) -> None:
    needed = {
        "embedding": manifest.embedding is None and manifest.task in (*RECOGNISES, WORDS),
        "detection": manifest.detection is None and manifest.task == DETECTION,
        "text": manifest.text is None and manifest.task == WORDS,
    }
    for part, missing in needed.items():
        if missing:
            raise ValueError(f"its task {manifest.task!r} needs '{part}'")


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest as JSON bytes, with its `bundle_id` computed from them."""
    blank = _json(replace(manifest, bundle_id=_BLANK_ID))
    return _json(replace(manifest, bundle_id=hashlib.sha256(blank).hexdigest()))


def decode_manifest(data: bytes, name: str) -> Manifest:
    """Read and check a manifest.

    Args:
        data: The bytes of manifest.json.
        name: What messages call the bundle.

    Raises:
        BundleError: It is damaged, of a newer schema, or says something impossible.
    """
    try:
        version = msgspec.json.decode(data, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise BundleError(
                f"bundle '{name}' has schema {version}, this program reads up to {SCHEMA_VERSION}: update Sightline"
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, ValueError, UnicodeDecodeError) as error:
        raise BundleError(f"bundle '{name}': {MANIFEST_NAME} is damaged or incomplete ({error})") from error
    blank = data.replace(manifest.bundle_id.encode(), _BLANK_ID.encode(), 1)
    if hashlib.sha256(blank).hexdigest() != manifest.bundle_id:
        raise BundleError(f"bundle '{name}': {MANIFEST_NAME} was changed after export: copy the bundle again")
    return manifest


class _Version(msgspec.Struct):
    schema_version: int


def _json(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=1) + b"\n"
