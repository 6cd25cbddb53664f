"""Hard-swish and squeeze-and-excite in integers: the form of MobileNetV3 that int8 makes faster.

ONNX Runtime has no int8 kernel for HardSwish or HardSigmoid. Each becomes a float island (Dequantize, HardSigmoid,
Mul, Quantize), and MobileNetV3 in int8 is slower than in float. But a hard sigmoid is a straight line between two
clips, and clipping is what rounding to bytes does:

    h(x) = clip(x / 6 + 1/2, 0, 1):   x rounded with scale 6/255 and zero point 128 gives the bytes 0 to 255,
                                      which read with scale 1/255 and zero point 0 are h (within 1/510)

So where a hard sigmoid alone reads a convolution, its gate is the convolution's own bytes under another name. For
hard-swish, x · h(x), the bytes of x are mapped to those of h by a LeakyRelu of slope one, which does nothing but
round again and which ONNX Runtime runs as a table of 256 bytes; the products are integer products.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from sightline.runtime.preprocess import Image
from sightline.runtime.reporter import QuietReporter, Reporter

from .onnx_graph import remove_dead, replace_nodes
from .onnx_view import GraphView, attribute, copy_model, set_constants
from .quantize_choose import error, logits

_STEP_IN, _ZERO_IN = np.float32(6 / 255), np.uint8(128)
_STEP_OUT, _ZERO_OUT = np.float32(1 / 255), np.uint8(0)
_CONSTANTS: dict[str, NDArray[Any]] = {
    "gate.in.scale": np.asarray(_STEP_IN),
    "gate.in.zero_point": np.asarray(_ZERO_IN),
    "gate.out.scale": np.asarray(_STEP_OUT),
    "gate.out.zero_point": np.asarray(_ZERO_OUT),
}
# MobileNetV3-small: 1.10 times the error of the float islands, in 0.83 of their time. The time is no part of the
# choice: it would make the same export write other bytes on another day. Whether int8 is the default is measured.
_MOST_ERROR = 1.25
_IN, _OUT = ["gate.in.scale", "gate.in.zero_point"], ["gate.out.scale", "gate.out.zero_point"]


def choose_gates(
    written: ModelProto, model: ModelProto, images: Sequence[Image], reporter: Reporter | None = None
) -> ModelProto:
    """Take the form with integer gates where it is hardly less exact; the same arguments give the same bytes.

    Args:
        written: What `write_qdq` wrote.
        model: The float graph.
        images: Batches of prepared calibration photos, at least one.
        reporter: Hears what was found.

    Returns:
        One of both forms.
    """
    candidate = integer_gates(written)
    if candidate is None or not images:
        return written
    expected = logits(model, images)
    before, after = (error(expected, logits(one, images)) for one in (written, candidate))
    taken = after <= _MOST_ERROR * before
    (reporter or QuietReporter()).say(
        f"hard-swish in integers brings {after:.2%} error of the logits, in float islands {before:.2%}: "
        f"{'taken' if taken else 'left'}"
    )
    return candidate if taken else written


def integer_gates(written: ModelProto) -> ModelProto | None:
    """Rewrite the hard-swishes and squeeze-and-excite products of an int8 graph in integers.

    Args:
        written: What `write_qdq` wrote; left as it is.

    Returns:
        The rewritten copy; None where there is nothing to rewrite.
    """
    model = copy_model(written)
    # Products first: until they read bytes, a hard-swish before them has a float reader.
    found = [_apply(model, find(model)) for find in (_excitations, _hard_swishes)]
    if not any(found):
        return None
    set_constants(model, _CONSTANTS)
    remove_dead(model)
    return model


def _apply(model: ModelProto, made: dict[str, list[NodeProto]]) -> int:
    replace_nodes(model, [one for node in model.graph.node for one in made.get(node.name, [node])])
    return len(made)


def _hard_swishes(model: ModelProto) -> dict[str, list[NodeProto]]:
    view, found = GraphView(model), dict[str, list[NodeProto]]()
    for node in view.nodes:
        if node.op_type == "HardSwish" and _dequantized(view, node.input[0]) and _only_rounded(view, node.output[0]):
            found[node.name] = _hard_swish(node)
    return found


def _hard_swish(node: NodeProto) -> list[NodeProto]:
    name, source = node.name, node.input[0]
    return [
        helper.make_node("LeakyRelu", [source], [f"{name}.same"], name=f"{name}.same", alpha=1.0),
        helper.make_node("QuantizeLinear", [f"{name}.same", *_IN], [f"{name}.gate.q"], name=f"{name}.gate.quantize"),
        helper.make_node("DequantizeLinear", [f"{name}.gate.q", *_OUT], [f"{name}.gate"], name=f"{name}.gate.read"),
        helper.make_node("Mul", [source, f"{name}.gate"], list(node.output), name=f"{name}.product"),
    ]


def _excitations(model: ModelProto) -> dict[str, list[NodeProto]]:
    view, found = GraphView(model), dict[str, list[NodeProto]]()
    for node in view.nodes:
        product = view.only_consumer(node.output[0]) if node.op_type == "HardSigmoid" and _is_usual(node) else None
        quantize = _quantizer_behind(view, node.input[0])
        if product is None or product.op_type != "Mul" or quantize is None:
            continue
        excited = next((name for name in product.input if name != node.output[0]), "")
        read = excited if _dequantized(view, excited) else f"{excited}.dq"
        if read in view.producer and _only_rounded(view, product.output[0]):
            quantize.input[1:] = _IN
            gate = f"{node.name}.gate"
            dequantize = helper.make_node("DequantizeLinear", [quantize.output[0], *_OUT], [gate], name=gate)
            found[node.name] = [dequantize]
            found[product.name] = [helper.make_node("Mul", [read, gate], list(product.output), name=product.name)]
    return found


def _is_usual(node: NodeProto) -> bool:
    return bool(np.isclose(attribute(node, "alpha", 0.2), 1 / 6, rtol=1e-4)) and attribute(node, "beta", 0.5) == 0.5


def _dequantized(view: GraphView, name: str) -> bool:
    producer = view.producer.get(name)
    return producer is not None and producer.op_type == "DequantizeLinear"


def _only_rounded(view: GraphView, name: str) -> bool:
    # A float reader would get the exact product, which an integer product does not give.
    readers = view.consumers[name]
    return bool(readers) and name not in view.outputs and all(one.op_type == "QuantizeLinear" for one in readers)


def _quantizer_behind(view: GraphView, name: str) -> NodeProto | None:
    # The bytes may be renamed where nothing else reads them.
    dequantize = view.producer.get(name)
    if dequantize is None or dequantize.op_type != "DequantizeLinear" or view.only_consumer(name) is None:
        return None
    quantize = view.producer.get(dequantize.input[0])
    alone = quantize is not None and view.only_consumer(dequantize.input[0]) is not None
    return quantize if quantize is not None and alone and quantize.op_type == "QuantizeLinear" else None
