"""torchvision's nets that find objects or name pixels: random, from a file, or with the published COCO weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .weights import WeightsError, download_state, read_state

COCO = "coco"


@dataclass(frozen=True, slots=True)
class PublishedNet:
    """One of torchvision's nets.

    Attributes:
        name: torchvision's name of it.
        make: Makes it with random weights and so many outputs, the background among them.
        weights: The published weights (`WeightsEnum` member), with their address, hash and categories.
        image_size: Height and width of the input, pixels.
        outputs: The entry of its state dict that is as long as its outputs are many, times `anchors`.
        anchors: See `outputs`.
        left_out: Beginnings of entries that serve its training alone.
    """

    name: str
    make: Callable[[int], nn.Module]
    weights: Any
    image_size: int
    outputs: str
    anchors: int = 1
    left_out: tuple[str, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the published weights' outputs, the background first; some are "N/A"."""
        return tuple(self.weights.meta["categories"])

    def load(self, weights: str, names: Sequence[str] | None) -> tuple[nn.Module, tuple[str, ...]]:
        """Make it with weights.

        Args:
            weights: A state dict's file, or "coco" for the published ones.
            names: Of all its outputs, the background first; None takes the published ones.

        Returns:
            The net in evaluation mode, and the names of its outputs.

        Raises:
            WeightsError: The weights cannot be had, are of another net, or have another number of outputs.
        """
        if weights == COCO:
            state = download_state(self.weights, f"COCO weights of {self.name}")
        else:
            state = read_state(Path(weights), f"or '{COCO}'")
        state = {key: value for key, value in state.items() if not key.startswith(self.left_out or ("/",))}
        if self.outputs not in state:
            raise WeightsError(f"weights '{weights}' are not of {self.name}: they lack '{self.outputs}'")
        outputs = len(state[self.outputs]) // self.anchors
        chosen = tuple(names) if names is not None else self.categories
        if len(chosen) != outputs:
            given = "the labels name" if names is not None else "the published labels are"
            raise WeightsError(
                f"weights '{weights}' have {outputs} outputs, the background among them, and {given} {len(chosen)}: "
                f"give one name a line with --labels"
            )
        net = self.make(outputs)
        try:
            net.load_state_dict({key: value.float() for key, value in state.items()})
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1].strip()
            raise WeightsError(f"weights '{weights}' are not of {self.name}: {last}") from error
        return net.eval(), chosen
