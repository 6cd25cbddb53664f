"""What may take a default's place: variants that the bundle allows on this machine, with providers that run them."""

import platform
from collections.abc import Iterator, Sequence

from .bundle import Bundle
from .manifest import Manifest, Variant
from .processor import cpu_flags
from .tuned import Choice

# Providers that compute in half precision; the others gain nothing by it.
_HALF = ("cuda", "tensorrt", "directml", "coreml")
# ONNX Runtime has no int8 convolutions for NVIDIA's GPUs (its issue 12229).
_NO_INT8 = ("cuda", "directml")


def list_candidates(bundle: Bundle, default: Choice, providers: Sequence[str], cores: int) -> list[Choice]:
    """List the candidates, those likely to win first.

    Args:
        bundle: The bundle.
        default: What runs where nothing is chosen; it is not listed.
        providers: What can be asked for here.
        cores: Threads at most.
    """
    variants = [one for one in bundle.manifest.variants if _allowed(bundle.manifest, one, default.variant)]
    variants.sort(key=lambda one: (one.name != default.variant, one.precision == "fp32"))
    found = [
        Choice(variant.name, provider, threads)
        for variant in variants
        for provider in sorted(_suited(variant, providers), key=lambda name: name == "cpu")
        for threads in _threads(provider, cores)
    ]
    return [one for one in found if one != default]


def _threads(provider: str, cores: int) -> list[int]:
    if provider in ("cuda", "tensorrt", "directml", "coreml", "qnn"):
        return [cores]
    return sorted({cores, *(count for count in (1, 2) if count <= cores)}, reverse=True)


def _suited(variant: Variant, providers: Sequence[str]) -> Iterator[str]:
    for provider in providers:
        if variant.precision == "fp16":
            suits = provider in _HALF
        else:
            suits = variant.precision != "int8" or provider not in _NO_INT8
        if suits:
            yield provider


def _allowed(manifest: Manifest, variant: Variant, default: str) -> bool:
    """Whether the gate let it pass and its target is this machine."""
    if variant.name == default:
        return True
    return _made_for_here(variant.target) and (variant.precision == "fp32" or _passed(manifest, variant))


def _passed(manifest: Manifest, variant: Variant) -> bool:
    gate = manifest.gate
    reference = next((one for one in manifest.variants if one.precision == "fp32"), None)
    if gate is None or gate.max_drop is None or reference is None or reference.top1 is None or variant.top1 is None:
        return False
    # As the gate computes it: the shares are ratios of small integers.
    return 100 * (reference.top1 - variant.top1) <= gate.max_drop + 1e-9


def _made_for_here(target: str) -> bool:
    if target == "x86-vnni":
        return bool(cpu_flags() & {"avx512_vnni", "avx_vnni"})
    if target == "arm64":
        return platform.machine() in ("aarch64", "arm64")
    return True
