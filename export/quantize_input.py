"""Lets the first convolution read the camera's bytes: normalization folded into its weights.

The float graph turns pixels p into a·p + b for each channel before the first convolution. In int8 that costs a
float pass over the frame and a rounding of every pixel. Written as s·(p − z) with one scale s and one zero
point z, the bytes are the quantized input as they are; what differs between the channels moves into the
convolution's weights and bias. That is exact but for the padded border, where p = z stands for black-is-mean
with one z for all channels (for ImageNet's figures at most 10 of 255 levels off).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from .onnx_graph import remove_dead, replace_nodes
from .onnx_view import GraphView, attribute, copy_model, set_constants

PIXELS = "image_pixels"


@dataclass(frozen=True, slots=True)
class _Affine:
    pixels: str
    slope: NDArray[np.float64]
    offset: NDArray[np.float64]


def fold_normalization(model: ModelProto) -> ModelProto:
    """Rewrite `uint8 -> normalize -> Conv` as `uint8 -> DequantizeLinear -> Conv`.

    Args:
        model: A float graph; left as it is.

    Returns:
        The rewritten copy, or a plain copy where the graph does not begin that way.
    """
    folded = copy_model(model)
    view = GraphView(folded)
    for node in view.nodes:
        affine = _affine_input(view, node) if node.op_type == "Conv" and attribute(node, "group", 1) == 1 else None
        if affine is not None:
            _fold(folded, view, node, affine)
            remove_dead(folded)
            break
    return folded


def _affine_input(view: GraphView, conv: NodeProto) -> _Affine | None:
    channels = view.constant(conv.input[1]).shape[1] if view.is_constant(conv.input[1]) else 0
    slope, offset, name = np.ones(channels), np.zeros(channels), conv.input[0]
    while (node := view.producer.get(name)) is not None:
        if node.op_type == "Cast":
            return _Affine(node.input[0], slope, offset) if _is_uint8(view, node.input[0]) and channels else None
        if node.op_type not in ("Mul", "Div", "Add", "Sub") or not view.is_constant(node.input[1]):
            return None
        value = view.constant(node.input[1]).astype(np.float64)
        if value.size not in (1, channels) or (value.size > 1 and value.shape[-2:] != (1, 1)):
            return None
        value = np.broadcast_to(value.reshape(-1), channels)
        if node.op_type in ("Mul", "Div"):
            slope = slope * (value if node.op_type == "Mul" else 1 / value)
        else:
            offset = offset + slope * (value if node.op_type == "Add" else -value)
        name = node.input[0]
    return None


def _is_uint8(view: GraphView, name: str) -> bool:
    while (node := view.producer.get(name)) is not None and node.op_type == "Transpose":
        name = node.input[0]
    kinds = {value.name: value.type.tensor_type.elem_type for value in view.model.graph.input}
    return kinds.get(name) == TensorProto.UINT8


def _fold(model: ModelProto, view: GraphView, conv: NodeProto, affine: _Affine) -> None:
    scale = np.float32(affine.slope.mean())
    zero = np.clip(np.round((-affine.offset / affine.slope).mean()), 0, 255)
    weight = view.constant(conv.input[1]).astype(np.float64)
    rest = affine.slope * zero + affine.offset
    bias = np.einsum("ocij,c->o", weight, rest)
    if len(conv.input) > 2 and conv.input[2]:
        bias = bias + view.constant(conv.input[2])
    spread = weight * (affine.slope / float(scale))[None, :, None, None]
    names = [f"{conv.name}.pixel_{what}" for what in ("weight", "bias", "scale", "zero_point")]
    values = (spread.astype(np.float32), bias.astype(np.float32), scale, np.uint8(zero))
    set_constants(model, dict(zip(names, map(np.asarray, values), strict=True)))
    dequantize = helper.make_node(
        "DequantizeLinear", [affine.pixels, *names[2:]], [PIXELS], name=f"{PIXELS}_dequantize"
    )
    nodes: list[NodeProto] = []
    for node in view.nodes:
        if node.name == conv.name:
            nodes.append(dequantize)
            node.input[:] = [PIXELS, *names[:2]]
        nodes.append(node)
    replace_nodes(model, nodes)
