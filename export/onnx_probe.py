"""Looks inside a graph while it runs: intermediate tensors as extra outputs."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, helper

from sightline.runtime.errors import BundleError
from sightline.runtime.preprocess import Image
from sightline.runtime.session import usable_cores  # sets what ONNX Runtime reads at its import

from .onnx_graph import INPUT_NAME, serialize
from .onnx_view import copy_model

import onnxruntime as ort  # isort: skip


class Probe:
    """A graph opened with some of its inner tensors as outputs.

    Attributes:
        names: The tensors that `run` gives.
    """

    def __init__(self, model: ModelProto, names: Sequence[str]) -> None:
        """Open the graph; memory per image is that of the tensors named."""
        self.names = tuple(names)
        opened = copy_model(model)
        known = {value.name for value in opened.graph.output}
        opened.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in known)
        options = ort.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(serialize(opened), options, providers=["CPUExecutionProvider"])
        except (RuntimeError, ValueError) as error:
            raise BundleError(f"ONNX Runtime cannot open the graph: {str(error).splitlines()[0]}") from error

    def run(self, images: Image) -> dict[str, NDArray[Any]]:
        """Run a batch, uint8 (batch, height, width, 3) RGB, and give each tensor by name."""
        return self.run_named({INPUT_NAME: images})

    def run_named(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run a graph with other inputs than the image, by name, and give each tensor by name."""
        values = self._session.run(list(self.names), inputs)
        return dict(zip(self.names, values, strict=True))
