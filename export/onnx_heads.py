"""Where a foreign classifier keeps its logits and the features before them."""

from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from sightline.runtime.errors import InputError

from .onnx_view import GraphView

# Squashing at the end only hides the logits: thresholds and temperature want them.
_SQUASHING = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_PASSING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Add", "Dropout", "Cast"})
_PRODUCTS = frozenset({"Gemm", "MatMul", "Conv"})
# A classifier's last product may stand before its pooling (SqueezeNet).
_POOLING = frozenset({"GlobalAveragePool", "AveragePool", "ReduceMean", "Relu"})


@dataclass(frozen=True, slots=True)
class Heads:
    """Tensors of a foreign graph.

    Attributes:
        output: The graph's output.
        logits: The scores before any softmax or sigmoid.
        squashed: The operator that was taken off, or "".
        features: What the last product reads; the logits themselves where there is none.
    """

    output: str
    logits: str
    squashed: str
    features: str


def find_heads(model: ModelProto, widths: dict[str, int], labels: int, path: object) -> Heads:
    """Find the logits for a number of labels.

    Args:
        model: The graph.
        widths: Values a photo of each output, by the output's name.
        labels: How many classes there are.
        path: What messages call the file.

    Raises:
        InputError: No output, or more than one, has a value a label.
    """
    fitting = [name for name, width in widths.items() if width == labels]
    if not fitting:
        there_are = ", ".join(f"'{name}' {width}" for name, width in widths.items())
        raise InputError(
            f"model '{path}' gives {there_are} values a photo, the labels are {labels}: give the label list that "
            f"belongs to the model, one name a line in the order of its outputs, or --embedding where it gives none"
        )
    if len(fitting) > 1:
        raise InputError(
            f"model '{path}' has {len(fitting)} outputs with {labels} values ({', '.join(fitting)}): export it with one"
        )
    view = GraphView(model)
    logits, squashed = _unsquashed(view, fitting[0])
    return Heads(fitting[0], logits, squashed, _features(view, logits))


def _unsquashed(view: GraphView, name: str) -> tuple[str, str]:
    inner = _behind(view, name, frozenset({"Reshape", "Flatten", "Squeeze", "Identity", "Cast"}))
    node = view.producer.get(inner)
    if node is not None and node.op_type in _SQUASHING:
        return node.input[0], node.op_type
    return name, ""


def _behind(view: GraphView, name: str, passing: frozenset[str]) -> str:
    while (node := view.producer.get(name)) is not None and node.op_type in passing:
        name = next(iter(view.activations(node)), "")
    return name


def _features(view: GraphView, logits: str) -> str:
    inner = _behind(view, logits, _PASSING)
    node: NodeProto | None = view.producer.get(inner)
    if node is None or node.op_type not in _PRODUCTS:
        node = view.producer.get(_behind(view, inner, _PASSING | _POOLING))
    return node.input[0] if node is not None and node.op_type in _PRODUCTS else logits
