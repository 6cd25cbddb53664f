"""Graphs opened in ONNX Runtime on the workstation, for a look inside or to have them optimized."""

from sightline.runtime.cores import usable_cores
from sightline.runtime.errors import BundleError, SightlineError, first_line
from sightline.runtime.providers import ORT_ERRORS  # sets what ONNX Runtime reads at its import

import onnxruntime as ort  # isort: skip


def session_options() -> ort.SessionOptions:
    """Give the usual options: all cores, and no log lines, since failures are raised."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 4
    return options


def open_graph(
    model: bytes | str,
    options: ort.SessionOptions | None = None,
    name: str = "the model",
    failure: type[SightlineError] = BundleError,
) -> ort.InferenceSession:
    """Open a graph on the CPU.

    Args:
        model: The ONNX file, its bytes or its path. From bytes ONNX Runtime keeps a copy while the session lives.
        options: Of the session; None takes `session_options`.
        name: What the message calls it.
        failure: The class of the error.

    Raises:
        SightlineError: ONNX Runtime cannot open it; of class `failure`.
    """
    try:
        # Without its fallback, which prints to stdout and tries the CPU a second time.
        return ort.InferenceSession(
            model, options or session_options(), providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except ORT_ERRORS as error:
        raise failure(f"ONNX Runtime cannot open {name}: {first_line(error)}") from error
