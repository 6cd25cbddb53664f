"""ONNX Runtime the way a device needs it: no telemetry, no spinning, as many threads as there are cores.

A provider that was asked for and not obtained is an error; "auto" says what it tried, what it got and why.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# ONNX Runtime 1.31 writes a device id and an event database below the home directory and uploads it, unless
# this is set before its import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as pybind

from .errors import BundleError, InputError, ProviderError, first_line
from .preprocess import Image

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
# What "auto" tries before the CPU. The others need a model made for them and are asked for by name.
_AUTO = ("cuda",)
_MOST_THREADS = 4
# ONNX Runtime's errors (InvalidProtobuf, NoSuchFile, Fail ...) share no base but Exception.
ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(one for one in vars(pybind).values() if isinstance(one, type) and issubclass(one, Exception)),
)


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
        session: ort.InferenceSession,
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
        session, refusal = _try_provider(model, candidate, count)
        if session is not None:
            return Session(session, ProviderReport(provider, candidate, f"{candidate} was obtained"), count, interface)
        tried.append(f"{candidate}: {refusal}")
    if provider != "auto":
        raise ProviderError(f"provider '{provider}' is not to be had ({refusal}): install it or use --provider auto")
    reason = f"cpu, after trying {'; '.join(tried)}"
    return Session(_open(model, "cpu", count), ProviderReport(provider, "cpu", reason), count, interface)


def usable_cores(most: int | None = _MOST_THREADS) -> int:
    """Count the cores this process may use, by affinity and cgroup quota.

    Args:
        most: Not more than these: beyond four an operator gains little. None counts all.

    Returns:
        At least one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, most or cores, quota or cores))


def _cgroup_quota() -> int | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return None if quota == "max" else max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return None


def _try_provider(model: bytes, name: str, threads: int) -> tuple[ort.InferenceSession | None, str]:
    if PROVIDERS[name] not in ort.get_available_providers():
        return None, "this ONNX Runtime was built without it"
    session = _open(model, name, threads)
    # ONNX Runtime falls back to the CPU with only a log line.
    if session.get_providers()[0] != PROVIDERS[name]:
        return None, "ONNX Runtime could not start it (driver or library missing)"
    return session, ""


def _open(model: bytes, name: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Spinning threads burn whole cores between the frames of a camera for 0.05 ms a frame.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [PROVIDERS[name]] if name == "cpu" else [PROVIDERS[name], PROVIDERS["cpu"]]
    try:
        session = ort.InferenceSession(model, options, providers=providers)
    except ORT_ERRORS as error:
        raise BundleError(f"ONNX Runtime cannot open the model: {first_line(error)}") from error
    return session


def _check_interface(session: ort.InferenceSession, interface: Interface) -> None:
    inputs = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    if set(inputs) != set(interface.inputs) or not set(interface.outputs) <= set(outputs):
        wanted = ", ".join((*interface.inputs, *interface.outputs))
        raise BundleError(f"the model has inputs {inputs} and outputs {outputs}: expected {wanted}")
