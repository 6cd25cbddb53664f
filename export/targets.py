"""The kinds of machines that a variant is made for."""

from collections.abc import Iterable
from dataclasses import dataclass

from sightline.runtime.errors import InputError

from .quantize_writer import WeightFormat


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of machine.

    Attributes:
        name: What `--target` calls it.
        variant: The name of its variant in the bundle.
        precision: "int8" or "fp16".
        weights: How int8 weights are rounded; None for fp16.
        timed: Whether a latency measured on a workstation's CPU says anything of it.
        provider: What its machines run it with, see `providers.PROVIDERS`.
    """

    name: str
    variant: str
    precision: str
    weights: WeightFormat | None
    timed: bool
    provider: str = "cpu"


PORTABLE = "portable"
# Full-range weights overflow 16-bit sums on x86 CPUs without VNNI; ARM sums in 32 bits.
# Unsigned activations run fully in int8 on both. CUDA has no int8 convolutions in ONNX Runtime (issue 12229 there), so
# GPUs get fp16.
TARGETS = {
    target.name: target
    for target in (
        Target(PORTABLE, "int8", "int8", WeightFormat(127, unsaturated=True), timed=True),
        Target("x86-vnni", "int8-vnni", "int8", WeightFormat(127), timed=True),
        Target("arm64", "int8-arm64", "int8", WeightFormat(127), timed=False),
        Target("cuda", "fp16", "fp16", None, timed=False, provider="cuda"),
    )
}


def find_targets(names: Iterable[str]) -> tuple[Target, ...]:
    """Look targets up, each once and in the order of the table.

    Raises:
        InputError: A name is unknown.
    """
    wanted = set(names)
    unknown = sorted(wanted - set(TARGETS))
    if unknown:
        raise InputError(f"unknown target '{unknown[0]}': choose one of {', '.join(TARGETS)}")
    return tuple(target for name, target in TARGETS.items() if name in wanted)
