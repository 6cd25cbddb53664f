"""Looks inside a graph while it runs: intermediate tensors as extra outputs."""

from collections.abc import Sequence
from tempfile import NamedTemporaryFile
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, helper

from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import Image

from .onnx_graph import INPUT_NAME, serialize
from .onnx_session import open_graph, session_options


class Probe:
    """A graph opened with some of its inner tensors as outputs.

    Attributes:
        names: The tensors that `run` gives.
    """

    def __init__(self, model: ModelProto, names: Sequence[str], integers: bool = True) -> None:
        """Open the graph; memory per image is that of the tensors named.

        Args:
            model: The graph.
            names: Tensors to give.
            integers: False keeps Quantize and Dequantize as they are written and computes in float between them,
                which gives the same answer on every CPU.

        Raises:
            InputError: The folder of temporary files cannot hold the graph.
        """
        self.names = tuple(names)
        known = {value.name for value in model.graph.output}
        more = ModelProto()
        more.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in known)
        options = session_options()
        # ResNet-50's inner tensors are 90 MB a photo; an arena would keep half as much again.
        options.enable_cpu_mem_arena = False
        if not integers:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            # By way of a file there is one copy of the weights less while it opens, and one less as long as it lives.
            with NamedTemporaryFile(suffix=".onnx") as file:
                # Protocol buffers merge by concatenation.
                file.write(serialize(model))
                file.write(serialize(more))
                file.flush()
                self._session = open_graph(file.name, options, "the graph")
        except OSError as error:
            raise InputError(f"no room for a temporary file of the graph: {error.strerror}") from error

    def run(self, images: Image) -> dict[str, NDArray[Any]]:
        """Run a batch, uint8 (batch, height, width, 3) RGB, and give each tensor by name."""
        return self.run_named({INPUT_NAME: images})

    def run_named(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run a graph with other inputs than the image, by name, and give each tensor by name."""
        values = self._session.run(list(self.names), inputs)
        return dict(zip(self.names, values, strict=True))
