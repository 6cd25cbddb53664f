"""Which layer costs how much: each int8 node alone in int8, and the costliest ones alone in float."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log10

from onnx import ModelProto, NodeProto

from sightline.runtime.preprocess import Image

from .onnx_view import GraphView
from .quantize_choose import error, logits
from .quantize_plan import MOVING, QuantizationPlan, make_plan
from .quantize_ranges import Range
from .quantize_writer import WeightFormat, write_qdq

# Leaving a layer in float is tried for as many of the costliest as a rescue may take, and some more.
_LEFT_OUT = 12


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """What rounding one node alone does to the logits.

    Attributes:
        node: The node's name in the graph.
        layer: The torch module that its weights come from, or the operator and the node's name.
        error: Squared error of the logits, as a part of their variance, with this node alone in int8.
        rest: The same with all in int8 but this node; None beyond the costliest twelve.
    """

    node: str
    layer: str
    error: float
    rest: float | None = None

    @property
    def signal_to_noise_db(self) -> float:
        """Variance of the logits over the error that this node alone brings, decibels."""
        return -10 * log10(max(self.error, 1e-12))


def rank_layers(
    model: ModelProto,
    plan: QuantizationPlan,
    ranges: Mapping[str, Range],
    weights: WeightFormat,
    images: Sequence[Image],
    done: Callable[[], None] = lambda: None,
) -> tuple[LayerSensitivity, ...]:
    """Rank the int8 nodes of a plan, the costliest first.

    Args:
        model: The float graph.
        plan: What becomes int8.
        ranges: The ranges of all tensors of the plan.
        weights: How weights are rounded.
        images: Batches of prepared calibration photos.
        done: Called after each node.
    """
    view = GraphView(model)
    every = {node.name for node in view.nodes}
    expected = logits(model, images)
    found = []
    for node in ranked_nodes(model, plan):
        alone = make_plan(model, every - {node.name})
        came = logits(write_qdq(model, alone, dict(ranges), weights), images)
        found.append(LayerSensitivity(node.name, layer_name(view, node), error(expected, came)))
        done()
    found.sort(key=lambda one: -one.error)

    def rest(one: LayerSensitivity) -> LayerSensitivity:
        others = write_qdq(model, make_plan(model, {one.node}), dict(ranges), weights)
        return replace(one, rest=error(expected, logits(others, images)))

    return (*map(rest, found[:_LEFT_OUT]), *found[_LEFT_OUT:])


def ranked_nodes(model: ModelProto, plan: QuantizationPlan) -> list[NodeProto]:
    """The nodes that can be kept in float by themselves, in graph order."""
    return [node for node in model.graph.node if node.name in plan.int8 and node.op_type not in MOVING]


def layer_name(view: GraphView, node: NodeProto) -> str:
    """Give a node the name of its torch module, e.g. `trunk.features.3.conv.0.0`."""
    constants = [name for name in node.input if name and view.is_constant(name)]
    named = next((name.removesuffix(".weight") for name in constants if name.endswith(".weight")), "")
    return named or f"{node.op_type} {node.name}"
