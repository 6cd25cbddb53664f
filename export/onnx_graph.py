"""The float ONNX file: one torch model as a plain graph that every ONNX Runtime build can load.

    RecognitionModel -> torch.onnx (dynamo) -> tidy -> check -> ModelProto

What torch's exporter leaves awkward is mended here: pooling stays one GlobalAveragePool (torch takes it apart
into ReduceMean, which ONNX Runtime cannot run in int8), notes with the exporting machine's paths are removed,
and the promised opset is read back, because the exporter raises it with no more than a log line.
"""

import io
import logging
import warnings
from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper
from onnxscript import opset20
from torch import nn

from sightline.runtime.errors import BundleError
from sightline.runtime.preprocess import InputSpec

OPSET = 20
MAX_IR_VERSION = 10
INPUT_NAME = "image"
OUTPUT_NAMES = ("logits", "embedding")
PRODUCER = "sightline"


def export_onnx(model: nn.Module, spec: InputSpec, outputs: tuple[str, ...] = OUTPUT_NAMES) -> ModelProto:
    """Export a model as one float ONNX graph.

    Args:
        model: A recognition model, or another that takes pixels; put into evaluation mode.
        spec: The input size that is written into the graph; the batch stays free.
        outputs: Names of what it gives, in order.

    Returns:
        A checked model: input `image` uint8 [batch, height, width, 3] RGB, outputs as named: `logits` float32
        [batch, classes] and `embedding` float32 [batch, dim]; weights inside, no notes.

    Raises:
        BundleError: The exporter gave another opset, another interface or an invalid graph.
    """
    example = torch.zeros((2, spec.height, spec.width, 3), dtype=torch.uint8)
    with _quiet_exporter():
        program = torch.onnx.export(
            model.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=[INPUT_NAME],
            output_names=list(outputs),
            dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch")}},
            custom_translation_table={torch.ops.aten.adaptive_avg_pool2d.default: _average_pool},
            verbose=False,
        )
    assert program is not None
    exported = tidy(program.model_proto)
    check_interface(exported, spec, outputs)
    return exported


def trace_onnx(model: nn.Module, spec: InputSpec, outputs: tuple[str, ...]) -> bytes:
    """Export a model by torch's older exporter, for use at once on this machine and not for a bundle.

    It follows one run of the model and took 0.8 s of a MobileNetV2 where `export_onnx` took 10.

    Args:
        model: In evaluation mode, takes pixels.
        spec: The input size.
        outputs: Names of what it gives.

    Returns:
        The bytes of an ONNX file whose input is `image`.

    Raises:
        RuntimeError: It has no form in ONNX.
    """
    stream = io.BytesIO()
    with _quiet_exporter():
        torch.onnx.export(
            model,
            (torch.zeros((2, spec.height, spec.width, 3), dtype=torch.uint8),),
            stream,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in (INPUT_NAME, *outputs)},
        )
    return stream.getvalue()


def tidy(model: ModelProto) -> ModelProto:
    """Remove the exporter's notes, dead nodes and the expansion of the embedding's norm.

    The notes hold the source paths of the exporting machine: with them the same model would have another hash
    on every machine.
    """
    tidied = ModelProto()
    tidied.CopyFrom(model)
    _drop_expanded_norm(tidied)
    remove_dead(tidied)
    _drop_notes(tidied)
    return tidied


def check_interface(model: ModelProto, spec: InputSpec, outputs: tuple[str, ...] = OUTPUT_NAMES) -> None:
    """Raise BundleError unless the graph is what the device expects."""
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets != {"": OPSET}:
        raise BundleError(f"the exporter was asked for opset {OPSET} and wrote {opsets}")
    if model.ir_version > MAX_IR_VERSION:
        raise BundleError(f"the exporter wrote IR version {model.ir_version}, above {MAX_IR_VERSION}")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"the exported graph is not valid ONNX: {error}") from error
    image = model.graph.input[0]
    shape = [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim]
    if shape[1:] != [spec.height, spec.width, 3] or not isinstance(shape[0], str):
        raise BundleError(f"the exported input has shape {shape}, not [batch, {spec.height}, {spec.width}, 3]")
    if image.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        raise BundleError("the exported input is not uint8")
    if tuple(value.name for value in model.graph.output) != outputs:
        raise BundleError(f"the exported graph does not give {' and '.join(outputs)}")


def remove_dead(model: ModelProto) -> None:
    """Remove nodes and initializers that no output needs, in place."""
    wanted = {value.name for value in model.graph.output}
    kept: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    replace_nodes(model, reversed(kept))
    weights = [tensor for tensor in model.graph.initializer if tensor.name in wanted]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    alive = {name for node in model.graph.node for name in node.output}
    shapes = [value for value in model.graph.value_info if value.name in alive]
    del model.graph.value_info[:]
    model.graph.value_info.extend(shapes)


def replace_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    """Give the graph another list of nodes, in place."""
    kept = [_copy(node) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def serialize(model: ModelProto) -> bytes:
    """Give the bytes of the file; the same model always gives the same bytes."""
    return bytes(model.SerializeToString(deterministic=True))


def _average_pool(x: Any, output_size: Any) -> Any:
    if set(output_size) == {1}:
        return opset20.GlobalAveragePool(x)
    came = [int(side) for side in x.shape[2:]]
    if came == list(output_size):
        return opset20.Identity(x)
    # Windows of unequal width are no ONNX pooling; the mean over rows and columns is a product on each side.
    rows, columns = (_windows(inside, out) for inside, out in zip(came, output_size, strict=True))
    left, right = (opset20.Constant(value=numpy_helper.from_array(value)) for value in (rows, columns.T))
    return opset20.MatMul(opset20.MatMul(left, x), right)


def _windows(inside: int, out: int) -> NDArray[np.float32]:
    """Give the weight of each of `inside` cells in each of `out` means, as torch's adaptive pooling lays them."""
    weights = np.zeros((out, inside), np.float32)
    for row in range(out):
        start, end = row * inside // out, -(-(row + 1) * inside // out)
        weights[row, start:end] = 1 / (end - start)
    return weights


@contextmanager
def _quiet_exporter() -> Any:
    # The exporter reports to stdout and its own logger what is checked here anyway, and torch 2.13 warns about
    # a pytree class that torch itself uses.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _drop_expanded_norm(model: ModelProto) -> None:
    # Division broadcasts by itself; the Expand costs a Shape and a Concat that some converters refuse.
    producer = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        expand = producer.get(node.input[1]) if node.op_type == "Div" else None
        if expand is not None and expand.op_type == "Expand":
            node.input[1] = expand.input[0]


def _drop_notes(model: ModelProto) -> None:
    model.producer_name, model.producer_version, model.doc_string = PRODUCER, "", ""
    model.graph.name, model.graph.doc_string = PRODUCER, ""
    del model.metadata_props[:], model.graph.metadata_props[:]
    noted: list[Any] = [*model.graph.node, *model.graph.value_info, *model.graph.initializer]
    for item in [*noted, *model.graph.input, *model.graph.output]:
        item.doc_string = ""
        del item.metadata_props[:]


def _copy(node: NodeProto) -> NodeProto:
    copied = NodeProto()
    copied.CopyFrom(node)
    return copied
