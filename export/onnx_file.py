"""An ONNX file from anywhere: read, and refused in one sentence where it cannot become a bundle.

Nothing of the file is believed before it is looked at: weights are taken from the file alone (never from paths
that it names), every operator must be of the ONNX standard, every weight finite.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
from onnx import ModelProto, NodeProto, TensorProto, defs, inliner, numpy_helper

from sightline.runtime.errors import InputError, first_line

# What ONNX Runtime 1.22, the oldest that a device may have, opens; and the oldest that onnx converts upwards.
OLDEST_OPSET, NEWEST_OPSET = 7, 22
# int8 weights with a scale a channel need 13, HardSwish 14.
WORKING_OPSET = 17
_STANDARD = ("", "ai.onnx")
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear"})
_MAX_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A float ONNX file that passed every check.

    Attributes:
        path: Where it was read.
        original: The graph as it came, functions inlined, constants as initializers.
        model: The same at opset 17 or newer.
        image: Name of its one input.
        shape: The input's four dimensions; None where the file leaves one open.
        pixels: Whether the input is uint8; float32 else.
        metadata: The notes inside the file.
    """

    path: Path
    original: ModelProto
    model: ModelProto
    image: str
    shape: tuple[int | None, ...]
    pixels: bool
    metadata: dict[str, str]


def read_onnx_file(path: str | Path) -> OnnxFile:
    """Read and check an ONNX file.

    Raises:
        InputError: It is missing, no ONNX, already quantized, of an opset that cannot be used, has several inputs,
            weights outside the file, operators outside the standard, or weights that are not finite.
    """
    model = read_graph(path)
    image, shape, pixels = _image_input(model, path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return OnnxFile(Path(path), model, _working_opset(model, path), image, shape, pixels, metadata)


def read_graph(path: str | Path) -> ModelProto:
    """Read a graph of any inputs, functions inlined, constants as initializers; refuses what `read_onnx_file` does.

    Raises:
        InputError: It is missing, no ONNX, already quantized, of an opset that cannot be used, has weights outside the
            file or that are not finite, or operators outside the standard.
    """
    model = _load(Path(path))
    _refuse_external_data(model, path)
    model = inliner.inline_local_functions(model) if model.functions else model
    _constants_to_weights(model)
    _refuse_operators(model, path)
    _refuse_weights(model, path)
    return model


def _load(path: Path) -> ModelProto:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"model '{path}' is larger than 2 GB: no device of this kind runs it")
        model = onnx.load_model(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"model '{path}' cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise InputError(f"model '{path}' is no ONNX file, or a damaged one: export it again") from error
    if not model.graph.node or not model.graph.output:
        raise InputError(f"model '{path}' is no ONNX file, or an empty one: export it again")
    return model


def _refuse_external_data(model: ModelProto, path: str | Path) -> None:
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "?")
            raise InputError(
                f"model '{path}' keeps its weights in a second file ('{place}'): save it as one file "
                f"(onnx.save(onnx.load('{Path(path).name}'), 'whole.onnx'))"
            )


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in nodes:
            for entry in node.attribute:
                yield from [entry.t] if entry.HasField("t") else []
                yield from entry.tensors


def _constants_to_weights(model: ModelProto) -> None:
    kept: list[NodeProto] = []
    for node in model.graph.node:
        value = node.attribute[0] if node.op_type == "Constant" and len(node.attribute) == 1 else None
        if value is not None and value.name == "value":
            value.t.name = node.output[0]
            model.graph.initializer.append(value.t)
        else:
            kept.append(node)
    if len(kept) < len(model.graph.node):
        nodes = [NodeProto.FromString(node.SerializeToString()) for node in kept]
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def _refuse_operators(model: ModelProto, path: str | Path) -> None:
    opset = next((entry.version for entry in model.opset_import if entry.domain in _STANDARD), 0)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise InputError(
            f"model '{path}' is of ONNX opset {opset}, expected {OLDEST_OPSET} to {NEWEST_OPSET}: export it again "
            f"with opset 18"
        )
    for node in model.graph.node:
        kind = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        if node.domain not in _STANDARD or not defs.has(node.op_type, opset, ""):
            raise InputError(
                f"model '{path}' uses '{kind}', an operator outside the ONNX standard that devices do not have: "
                f"export it again without custom operators and without optimizations for one runtime"
            )
        if node.op_type in _QUANTIZED:
            raise InputError(f"model '{path}' is quantized already ({kind}): give the float file it was made from")
        if any(entry.HasField("g") or entry.graphs for entry in node.attribute):
            raise InputError(
                f"model '{path}' branches while it runs ({kind}), which int8 cannot be proven for: export it again "
                f"for inference with fixed shapes"
            )


def _refuse_weights(model: ModelProto, path: str | Path) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE):
            kind = TensorProto.DataType.Name(tensor.data_type).lower()
            raise InputError(f"model '{path}' has {kind} weights ('{tensor.name}'): export it in float32")
        try:
            value = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"model '{path}' is damaged at weight '{tensor.name}': export it again") from error
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            bad = int((~np.isfinite(value)).sum())
            raise InputError(
                f"model '{path}' has weights that are not finite ({bad} of {value.size} in '{tensor.name}'): its "
                f"training went wrong or the file is damaged"
            )


def _image_input(model: ModelProto, path: str | Path) -> tuple[str, tuple[int | None, ...], bool]:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(f"'{value.name}'" for value in inputs) or "none"
        raise InputError(f"model '{path}' has {len(inputs)} inputs ({names}), expected one image")
    kind = inputs[0].type.tensor_type
    if kind.elem_type not in (TensorProto.FLOAT, TensorProto.UINT8):
        known = kind.elem_type in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(kind.elem_type).lower() if known else f"of type {kind.elem_type}"
        raise InputError(f"the input of model '{path}' is {name}, expected float32 or uint8")
    if not kind.HasField("shape") or len(kind.shape.dim) != 4:
        came = f"{len(kind.shape.dim)} dimensions" if kind.HasField("shape") else "no shape"
        raise InputError(
            f"the input of model '{path}' has {came}, expected [batch, 3, height, width] or [batch, height, width, "
            f"3]: export it with a fixed image size"
        )
    shape = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)
    return inputs[0].name, shape, kind.elem_type == TensorProto.UINT8


def _working_opset(model: ModelProto, path: str | Path) -> ModelProto:
    opset = next(entry.version for entry in model.opset_import if entry.domain in _STANDARD)
    if opset < WORKING_OPSET:
        try:
            model = onnx.version_converter.convert_version(model, WORKING_OPSET)
        # The converter answers what it cannot do with whatever its C++ part throws.
        except Exception as error:
            raise InputError(
                f"model '{path}' of opset {opset} cannot be brought to {WORKING_OPSET} "
                f"({first_line(error)}): export it again with opset 18"
            ) from error
    return model
