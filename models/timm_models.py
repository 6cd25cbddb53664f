"""timm's networks, by `timm:NAME`, where timm is installed (`pip install 'sightline[timm]'`).

timm says itself where a network's head is and what it wants to see (`pretrained_cfg`), so nothing is listed here.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from . import operators  # noqa: F401  (must come before torchvision, which timm imports)
from .architecture import Architecture, UnknownArchitectureError, child_blocks

PREFIX = "timm:"


@dataclass(frozen=True, slots=True)
class TimmWeights:
    """The published weights of a timm network, downloaded by timm from its model hub.

    Attributes:
        name: timm's name.
    """

    name: str

    @property
    def url(self) -> str:
        """Where they come from."""
        return f"https://huggingface.co/timm/{self.name}"

    def get_state_dict(self, progress: bool, check_hash: bool) -> Mapping[str, Tensor]:
        """Give the published weights, as torchvision's weights do.

        Raises:
            OSError: They are not on this machine and cannot be downloaded.
        """
        import timm

        state: Mapping[str, Tensor] = timm.create_model(self.name, pretrained=True).state_dict()
        return state

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}"


def find_timm(name: str) -> Architecture:
    """Describe a timm network.

    Args:
        name: "timm:" and timm's name.

    Raises:
        UnknownArchitectureError: timm is not installed, has no such network, or its head is not linear.
    """
    if importlib.util.find_spec("timm") is None:
        raise UnknownArchitectureError(f"'{name}' needs timm: pip install 'sightline[timm]'")
    import timm

    short = name.removeprefix(PREFIX)
    if short not in timm.list_models():
        near = ", ".join(timm.list_models(f"*{short[:8]}*")[:5]) or "see timm.list_models()"
        raise UnknownArchitectureError(f"timm {timm.__version__} has no network '{short}' (near: {near})")
    facts = timm.get_pretrained_cfg(short)
    assert facts is not None
    settings: dict[str, Any] = asdict(facts)
    head = settings.get("classifier")
    if not isinstance(head, str):
        raise UnknownArchitectureError(f"'{name}' has no single linear head: choose another network")
    fixed = bool(settings.get("fixed_input_size"))
    return Architecture(
        name,
        partial(_make, short, fixed),
        TimmWeights(short) if facts.has_weights else None,
        head,
        child_blocks,
        int(settings["input_size"][-1]),
        float(settings["crop_pct"]),
        tuple(settings["mean"]),
        tuple(settings["std"]),
        fixed,
    )


def _make(name: str, fixed: bool, image_size: int | None = None) -> nn.Module:
    import timm

    size: dict[str, Any] = {"img_size": image_size} if fixed else {}
    net: nn.Module = timm.create_model(name, pretrained=False, num_classes=1000, **size)
    return net
