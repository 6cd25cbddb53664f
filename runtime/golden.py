"""Golden images: a few evaluation photos with the answers that export measured, checked again on the device.

They find what nothing else does: another preprocessing, a wrong kernel, swapped channels, a broken provider.
The prepared input must be the same to the byte; the outputs within a tolerance, since float sums differ
between CPUs.
"""

import hashlib
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .errors import BundleError
from .preprocess import Image, decode_image, prepare
from .recognizer import Recognizer

GOLDEN_NAME = "golden/golden.json"
# Measured between x86 and arm64, and between ONNX Runtime's optimization levels: fp32 4e-6 relative, int8
# cosine 0.994 and more.
_LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.98}


@dataclass(frozen=True, slots=True)
class GoldenOutput:
    """What one variant answered: logits (classes,) and embedding (dim,)."""

    logits: tuple[float, ...]
    embedding: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """One photo with its expected answers.

    Attributes:
        image: The file inside the bundle.
        input_sha256: SHA-256 of the prepared uint8 input.
        outputs: By the variant's name.
    """

    image: str
    input_sha256: str
    outputs: dict[str, GoldenOutput]


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """How the check of one variant ended: images checked, and a sentence for each that differs."""

    images: int
    failures: tuple[str, ...]


def input_digest(prepared: Image) -> str:
    """Give the SHA-256 of a prepared input, uint8 (height, width, 3)."""
    return hashlib.sha256(np.ascontiguousarray(prepared).tobytes()).hexdigest()


def encode_golden(cases: list[GoldenCase]) -> bytes:
    """Write golden cases as the bytes of `GOLDEN_NAME`."""
    return msgspec.json.encode(cases)


def check_golden(recognizer: Recognizer) -> GoldenResult:
    """Run a bundle's golden images and compare with what export measured.

    Raises:
        BundleError: The bundle holds no golden images or they cannot be read.
    """
    bundle = recognizer.bundle
    try:
        cases = msgspec.json.decode(bundle.read(GOLDEN_NAME), type=list[GoldenCase])
    except msgspec.DecodeError as error:
        raise BundleError(f"bundle '{bundle.path}': {GOLDEN_NAME} cannot be read ({error})") from error
    failures = [failure for case in cases if (failure := _check(case, bundle, recognizer))]
    return GoldenResult(len(cases), tuple(failures))


def _check(case: GoldenCase, bundle: Bundle, recognizer: Recognizer) -> str | None:
    prepared = prepare(decode_image(bundle.read(case.image), case.image), bundle.input_spec)
    if input_digest(prepared) != case.input_sha256:
        return f"{case.image}: preprocessing gives other bytes on this machine"
    expected = case.outputs[recognizer.variant.name]
    logits, embedding = recognizer.run(prepared[None])
    least = _LEAST_COSINE[recognizer.variant.precision]
    for what, came, wanted in (("logits", logits[0], expected.logits), ("embedding", embedding[0], expected.embedding)):
        cosine = _cosine(came, np.asarray(wanted, np.float32))
        if not cosine >= least:
            return f"{case.image}: {what} differ from export's (cosine {cosine:.4f}, at least {least} expected)"
    return None


def _cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right) + 1e-12))
