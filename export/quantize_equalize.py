"""Cross-layer equalization for nets with depthwise convolutions (after Nagel et al. 2019, arXiv 1906.04721, 4.1).

A tensor has one scale for all its channels, so a quiet channel beside a loud one is rounded to few steps. Relu and
Clip from zero let a positive factor through: the first layer may make a channel louder and the second quieter
again, and the net computes the same. The paper evens out the weights of both layers; here every output channel
has its own weight scale anyway, so what the first layer's channels are seen to reach on calibration photos takes
the place of their weights. A ceiling (the 6 of ReLU6) stays where it is: no channel is made louder than the
loudest, so the ceiling cuts off only what calibration never showed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from sightline.runtime.preprocess import Image

from .onnx_probe import Probe
from .onnx_view import GraphView, attribute, copy_model, set_constants

# A channel that calibration hardly woke may be louder on other photos; beyond three more bits nothing is gained.
_MOST = 8.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two convolutions with nothing but a Relu or a Clip from zero between them.

    Attributes:
        first: Name of the node that makes the channels.
        second: Name of the only node that reads them.
        tensor: What the second one reads.
    """

    first: str
    second: str
    tensor: str


def find_pairs(model: ModelProto) -> tuple[Pair, ...]:
    """Find the pairs of which at least one is a depthwise convolution, in graph order."""
    view = GraphView(model)
    pairs = (_pair(view, node) for node in view.nodes if _is_convolution(view, node))
    return tuple(pair for pair in pairs if pair is not None)


def equalize(model: ModelProto, pairs: Sequence[Pair], images: Sequence[Image]) -> ModelProto:
    """Even out the channels between pairs of layers.

    Args:
        model: A float graph; left as it is.
        pairs: What `find_pairs` found in it.
        images: Batches of prepared calibration photos.

    Returns:
        A graph of the same names that computes the same on these photos.
    """
    reached = _reached(model, [pair.tensor for pair in pairs], images)
    equalized = copy_model(model)
    for pair in pairs:
        view = GraphView(equalized)
        first, second = (next(node for node in view.nodes if node.name == name) for name in (pair.first, pair.second))
        gain = _gain(reached[pair.tensor], view.constant(second.input[1]), _is_depthwise(view, second))
        _scale_outputs(equalized, view, first, gain)
        _scale_inputs(equalized, view, second, gain)
    return equalized


def _pair(view: GraphView, first: NodeProto) -> Pair | None:
    name = first.output[0]
    reader = view.only_consumer(name)
    if reader is not None and _lets_factors_through(view, reader):
        name = reader.output[0]
        reader = view.only_consumer(name)
    if reader is None or not _is_convolution(view, reader) or reader.input[0] != name:
        return None
    depthwise = _is_depthwise(view, first) or _is_depthwise(view, reader)
    plain = all(_is_depthwise(view, node) or attribute(node, "group", 1) == 1 for node in (first, reader))
    return Pair(first.name, reader.name, name) if depthwise and plain else None


def _is_convolution(view: GraphView, node: NodeProto) -> bool:
    return node.op_type == "Conv" and all(view.is_constant(name) for name in node.input[1:] if name)


def _is_depthwise(view: GraphView, node: NodeProto) -> bool:
    shape = view.constant(node.input[1]).shape
    return bool(shape[1] == 1 and attribute(node, "group", 1) == shape[0])


def _lets_factors_through(view: GraphView, node: NodeProto) -> bool:
    if node.op_type == "Relu":
        return True
    limits = [name for name in node.input[1:] if name]
    if node.op_type != "Clip" or not limits or not all(view.is_constant(name) for name in limits):
        return False
    return bool(node.input[1]) and float(view.constant(node.input[1])) == 0.0


def _reached(model: ModelProto, tensors: Sequence[str], images: Sequence[Image]) -> dict[str, NDArray[np.float64]]:
    probe = Probe(model, tensors)
    highest: dict[str, NDArray[np.float64]] = {}
    for batch in images:
        for name, value in probe.run(batch).items():
            here = np.abs(value).max(axis=(0, 2, 3)).astype(np.float64)
            highest[name] = np.maximum(highest.get(name, here), here)
    return highest


def _gain(reached: NDArray[np.float64], weight: NDArray[np.float32], depthwise: bool) -> NDArray[np.float64]:
    """How much louder each channel becomes, at least 1.

    A depthwise reader has a weight scale for each channel and loses nothing. In a dense one a channel's weights
    share their row's scale and become coarser as the channel becomes louder: the square root divides the cost.
    """
    room = reached.max() / np.maximum(reached, 1e-6)
    if depthwise:
        return np.asarray(np.clip(room, 1.0, _MOST))
    rows = np.abs(weight.astype(np.float64)).reshape(*weight.shape[:2], -1).max(axis=2)
    weighty = (rows / np.maximum(rows.max(axis=1, keepdims=True), 1e-12)).max(axis=0)
    return np.asarray(np.clip(np.sqrt(room * weighty / weighty.max()), 1.0, _MOST))


def _scale_outputs(model: ModelProto, view: GraphView, node: NodeProto, gain: NDArray[np.float64]) -> None:
    weight = view.constant(node.input[1])
    changed = {node.input[1]: _float(weight * gain.reshape(-1, *([1] * (weight.ndim - 1))))}
    if len(node.input) > 2 and node.input[2]:
        changed[node.input[2]] = _float(view.constant(node.input[2]) * gain)
    set_constants(model, changed)


def _scale_inputs(model: ModelProto, view: GraphView, node: NodeProto, gain: NDArray[np.float64]) -> None:
    weight = view.constant(node.input[1])
    shape = (-1, 1, 1, 1) if _is_depthwise(view, node) else (1, -1, 1, 1)
    set_constants(model, {node.input[1]: _float(weight / gain.reshape(shape))})


def _float(value: NDArray[np.float64]) -> NDArray[np.float32]:
    return value.astype(np.float32)
