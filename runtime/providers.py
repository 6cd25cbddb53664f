"""What ONNX Runtime can run a model on, on this machine, and a session opened there.

Most providers are built into the ONNX Runtime that is installed. OpenVINO's also comes as a package of its own, which
works beside any ONNX Runtime from 1.23 on and is registered when it is first asked for:
`pip install onnxruntime-ep-openvino`.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from numpy.typing import NDArray

# ONNX Runtime 1.31 writes a device id and an event database below the home directory and uploads it, unless
# this is set before its import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as pybind

from .cores import usable_cores
from .errors import BundleError, ProviderError, first_line

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
# ONNX Runtime's errors (InvalidProtobuf, NoSuchFile, Fail ...) share no base but Exception.
ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(one for one in vars(pybind).values() if isinstance(one, type) and issubclass(one, Exception)),
)
_LOAD_ERRORS: tuple[type[Exception], ...] = (ImportError, AttributeError, OSError, *ORT_ERRORS)
_PLUGIN, _PLUGIN_PACKAGE = "onnxruntime_ep_openvino", "onnxruntime-ep-openvino"
_BATCH = "batch"
# The first ONNX Runtime that can be told how long a thread spins.
_BOUNDED_SPINNING = (1, 26)
_SPIN_US = 50


class Engine(Protocol):
    """What runs a model: an `ort.InferenceSession`, or what stands for several of one model."""

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run it."""

    def get_inputs(self) -> list[Any]:
        """Its inputs, each with name and shape."""

    def get_outputs(self) -> list[Any]:
        """Its outputs, each with name and shape."""

    def get_providers(self) -> list[str]:
        """What runs it, by ONNX Runtime's names, the first first."""


def available_providers() -> tuple[str, ...]:
    """Name the providers that can be asked for here, keys of `PROVIDERS`; nothing is loaded."""
    built = ort.get_available_providers()
    return tuple(name for name, long in PROVIDERS.items() if long in built or (name == "openvino" and _has_plugin()))


def provider_versions() -> dict[str, str]:
    """The versions of ONNX Runtime and of the packages that bring providers of their own."""
    versions = {"onnxruntime": str(ort.__version__)}
    if _has_plugin():
        from importlib.metadata import PackageNotFoundError, version

        try:
            versions[_PLUGIN_PACKAGE] = version(_PLUGIN_PACKAGE)
        except PackageNotFoundError:
            versions[_PLUGIN_PACKAGE] = "unknown"
    return versions


def open_engine(model: bytes, name: str, threads: int) -> Engine:
    """Open a model with one provider.

    Args:
        model: The bytes of an ONNX file.
        name: A key of `PROVIDERS`.
        threads: Threads within an operator.

    Raises:
        ProviderError: The provider is not to be had; the message is a clause that says why.
        BundleError: ONNX Runtime cannot open the file.
    """
    if name not in available_providers():
        raise ProviderError("this ONNX Runtime was built without it")
    engine: Engine
    if name == "openvino":
        engine = _OpenVino(model, threads)
    else:
        providers = [PROVIDERS[name]] if name == "cpu" else [PROVIDERS[name], PROVIDERS["cpu"]]
        engine = _open(model, _options(threads), providers)
    # ONNX Runtime falls back to the CPU with only a log line.
    if engine.get_providers()[0] != PROVIDERS[name]:
        raise ProviderError("ONNX Runtime could not start it (driver or library missing)")
    return engine


class _OpenVino:
    """A model that OpenVINO has compiled for one picture; for several callers at once and for batches when they come.

    Compiled for any number of pictures it takes 1.1 times as long for one, and compiled for several callers as well
    (MobileNetV2 in int8 on an x86 with AMX).
    """

    def __init__(self, model: bytes, threads: int) -> None:
        self._model, self._threads = model, threads
        # Several callers of a session of few threads run at once, as with ONNX Runtime's own kernels.
        self._streams = max(1, usable_cores(most=None) // threads) if _has_plugin() else 1
        self._one = self._compile()
        self._later: dict[str, Engine] = {}
        self._compiling, self._alone = threading.Lock(), threading.Lock()
        self.get_inputs: Callable[[], list[Any]] = self._one.get_inputs
        self.get_outputs: Callable[[], list[Any]] = self._one.get_outputs
        self.get_providers: Callable[[], list[str]] = self._one.get_providers

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        if any(value.ndim > 0 and len(value) != 1 for value in input_feed.values()):
            return self._other("batches").run(output_names, input_feed)
        if self._streams == 1:
            return self._one.run(output_names, input_feed)
        if self._alone.acquire(blocking=False):
            try:
                return self._one.run(output_names, input_feed)
            finally:
                self._alone.release()
        return self._other("callers").run(output_names, input_feed)

    def _other(self, purpose: str) -> Engine:
        if purpose not in self._later:
            with self._compiling:
                if purpose not in self._later:
                    self._later[purpose] = self._compile(one=purpose == "callers", streams=self._streams)
        return self._later[purpose]

    def _compile(self, one: bool = True, streams: int = 1) -> Engine:
        options = _options(self._threads)
        if one:
            options.add_free_dimension_override_by_name(_BATCH, 1)
        settings = {"INFERENCE_NUM_THREADS": str(self._threads * streams), "NUM_STREAMS": str(streams)}
        # bfloat16, OpenVINO's own choice where the processor has it, moves fp32's embeddings by up to 0.02. What stays
        # float in an int8 file it moves less than int8 has moved it (embeddings by 0.005), and ResNet-18 takes 2.6 ms
        # in place of 4.2.
        if b"QuantizeLinear" not in self._model:
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        if PROVIDERS["openvino"] in ort.get_available_providers() and not _has_plugin():
            chosen = {"device_type": "CPU", "precision": "FP32", "num_of_threads": str(self._threads)}
            return _open(self._model, options, [(PROVIDERS["openvino"], chosen), PROVIDERS["cpu"]])
        options.add_provider_for_devices([_openvino_cpu()], {"load_config": json.dumps({"CPU": settings})})
        return _open(self._model, options, None)


def _has_plugin() -> bool:
    return find_spec(_PLUGIN) is not None


@cache
def _openvino_cpu() -> Any:
    """Load the plugin, once a process, and give OpenVINO's CPU."""
    try:
        plugin = import_module(_PLUGIN)
        ort.register_execution_provider_library(_PLUGIN, plugin.get_library_path())
    except _LOAD_ERRORS as error:
        raise ProviderError(f"{_PLUGIN_PACKAGE} cannot be loaded: {first_line(error)}") from error
    for device in ort.get_ep_devices():
        if device.ep_name == PROVIDERS["openvino"] and device.ep_metadata.get("ov_device") == "CPU":
            return device
    raise ProviderError(f"{_PLUGIN_PACKAGE} finds no processor that it can use")


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Threads that spin without end burn whole cores between the frames of a camera; threads that sleep between two
    # operators are woken some sixty times a frame. Spinning for 0.05 ms bridges operators and no more: MobileNetV2 in
    # int8 on two threads takes 2.2 ms in place of 3.6, and 4.6 ms of processor time in place of 6.2.
    bounded = _ort_version() >= _BOUNDED_SPINNING
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if bounded else "0")
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
    return options


def _ort_version() -> tuple[int, ...]:
    return tuple(int(part) for part in str(ort.__version__).split(".")[:2])


def _open(model: bytes, options: ort.SessionOptions, providers: list[Any] | None) -> Engine:
    try:
        engine: Engine = ort.InferenceSession(model, options, providers=providers)
    except ORT_ERRORS as error:
        raise BundleError(f"ONNX Runtime cannot open the model: {first_line(error)}") from error
    return engine
