"""ONNX Runtime the way a device needs it: no telemetry, no threads that spin on, as many of them as there are cores.

A provider that was asked for and not obtained is an error; "auto" says what it tried, what it got and why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cores import usable_cores
from .errors import BundleError, InputError, ProviderError
from .preprocess import Image
from .providers import PROVIDERS, Engine, available_providers, open_engine

# What "auto" tries before the CPU. The others are asked for by name, or by what `sightline tune` measured.
_AUTO = ("cuda",)


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """Which provider runs the model and why.

    Attributes:
        requested: What was asked for, e.g. "auto".
        obtained: What runs it, e.g. "cpu".
        reason: One sentence for a person.
    """

    requested: str
    obtained: str
    reason: str


@dataclass(frozen=True, slots=True)
class Interface:
    """The names that a model's file has: all of its inputs, and the outputs that are asked for."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


RECOGNITION = Interface(("image",), ("logits", "embedding"))


class Session:
    """One model in ONNX Runtime.

    Attributes:
        provider: What runs it and why.
        threads: Threads within an operator.
    """

    def __init__(
        self,
        session: Engine,
        provider: ProviderReport,
        threads: int,
        interface: Interface = RECOGNITION,
    ) -> None:
        """Take an open model.

        Raises:
            BundleError: It has not the names of the interface.
        """
        _check_interface(session, interface)
        self._session, self._interface = session, interface
        self.provider = provider
        self.threads = threads

    def run(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run a batch.

        Args:
            images: uint8, shape (batch, height, width, 3), RGB.

        Returns:
            Logits float32 (batch, classes) and embeddings float32 (batch, dim) of unit length.
        """
        logits, embedding = self.fetch({"image": images})
        return logits, embedding

    def because(self, requested: str, reason: str) -> "Session":
        """The same session, with another account of how its provider came about."""
        return Session(
            self._session, ProviderReport(requested, self.provider.obtained, reason), self.threads, self._interface
        )

    def fetch(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run a model of any interface: its inputs by name in, its outputs in the interface's order out."""
        outputs: list[NDArray[Any]] = self._session.run(list(self._interface.outputs), feed)
        return outputs


def open_session(
    model: bytes, provider: str = "auto", threads: int | None = None, interface: Interface = RECOGNITION
) -> Session:
    """Open a model.

    Args:
        model: The bytes of an ONNX file.
        provider: A key of `PROVIDERS`, or "auto".
        threads: Threads within an operator; None takes the cores this process may use, four at most.
        interface: The inputs and outputs that it has.

    Raises:
        InputError: `provider` or `threads` is none that exists.
        ProviderError: The provider asked for is not to be had.
        BundleError: The file is no such model.
    """
    if provider != "auto" and provider not in PROVIDERS:
        raise InputError(f"unknown provider '{provider}': choose auto or one of {', '.join(PROVIDERS)}")
    if threads is not None and not 1 <= threads <= 256:
        raise InputError(f"threads must lie in 1 to 256, not {threads}")
    count = threads or usable_cores()
    tried: list[str] = []
    for candidate in _AUTO if provider == "auto" else (provider,):
        try:
            engine = open_engine(model, candidate, count)
        except ProviderError as refusal:
            tried.append(f"{candidate}: {refusal}")
        else:
            return Session(engine, ProviderReport(provider, candidate, f"{candidate} was obtained"), count, interface)
    if provider != "auto":
        there = ", ".join(available_providers())
        raise ProviderError(
            f"provider '{provider}' is not to be had ({'; '.join(tried)}): install it, or use one of auto, {there}"
        )
    reason = f"cpu, after trying {'; '.join(tried)}"
    return Session(open_engine(model, "cpu", count), ProviderReport(provider, "cpu", reason), count, interface)


def _check_interface(session: Engine, interface: Interface) -> None:
    inputs = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    if set(inputs) != set(interface.inputs) or not set(interface.outputs) <= set(outputs):
        wanted = ", ".join((*interface.inputs, *interface.outputs))
        raise BundleError(f"the model has inputs {inputs} and outputs {outputs}: expected {wanted}")
