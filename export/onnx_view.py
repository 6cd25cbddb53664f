"""An index over one ONNX graph: who makes a tensor, who reads it, what is constant."""

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper


class GraphView:
    """What can be asked of a graph; made anew after the graph changes.

    Attributes:
        model: The model it was made from.
        producer: The node that makes a tensor, by the tensor's name.
        consumers: The nodes that read a tensor, by the tensor's name, in graph order.
        outputs: Names of the graph's outputs.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.producer: dict[str, NodeProto] = {}
        self.consumers: dict[str, list[NodeProto]] = defaultdict(list)
        self.outputs = tuple(value.name for value in model.graph.output)
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            self.producer.update(dict.fromkeys(node.output, node))
            for name in dict.fromkeys(node.input):
                self.consumers[name].append(node)

    @property
    def nodes(self) -> list[NodeProto]:
        """The nodes in graph order."""
        return list(self.model.graph.node)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is an initializer."""
        return name in self._tensors

    def constant(self, name: str) -> NDArray[Any]:
        """The value of an initializer."""
        return numpy_helper.to_array(self._tensors[name])

    def activations(self, node: NodeProto) -> list[str]:
        """The inputs of a node that are computed, not constant."""
        return [name for name in node.input if name and not self.is_constant(name)]

    def only_consumer(self, name: str) -> NodeProto | None:
        """The single reader of a tensor that is no graph output; None where there are several or none."""
        readers = self.consumers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def ancestors(self, name: str) -> set[str]:
        """Names of all nodes that a tensor depends on."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            node = self.producer.get(waiting.pop())
            if node is not None and node.name not in found:
                found.add(node.name)
                waiting.extend(node.input)
        return found


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """Give a node's attribute or the default."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def tensor(name: str, value: NDArray[Any]) -> TensorProto:
    """Make an initializer."""
    return numpy_helper.from_array(np.asarray(value, order="C"), name)


def copy_model(model: ModelProto) -> ModelProto:
    """Give an independent copy."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def set_constants(model: ModelProto, values: dict[str, NDArray[Any]]) -> None:
    """Replace or add initializers by name, in place and in a stable order."""
    known = {entry.name: entry for entry in model.graph.initializer}
    for name, value in values.items():
        if name in known:
            known[name].CopyFrom(tensor(name, value))
        else:
            model.graph.initializer.append(tensor(name, value))
