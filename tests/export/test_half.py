"""The fp16 form: types, parity with float, and what stays float."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sightline.export.half import to_half
from sightline.export.onnx_graph import check_interface, serialize
from sightline.export.onnx_view import GraphView
from sightline.runtime.session import open_session
from tests.export.nets import SPEC, images, lively_graph


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_small"])
def test_half_answers_as_float_does_and_is_half_as_large(name):
    model = lively_graph(name)
    half = to_half(model)
    onnx.checker.check_model(half, full_check=True)
    check_interface(half, SPEC)
    assert len(serialize(half)) < 0.56 * len(serialize(model))
    x = images(5)
    expected, came = (open_session(serialize(one), "cpu", 1).run(x) for one in (model, half))
    assert came[0].dtype == np.float32 and came[1].dtype == np.float32
    assert np.abs(came[0] - expected[0]).max() < 2e-2 * np.ptp(expected[0])
    np.testing.assert_allclose(np.einsum("nd,nd->n", came[1], expected[1]), 1, atol=1e-3)
    assert (came[0].argmax(axis=1) == expected[0].argmax(axis=1)).all()
    names = [node.name for node in half.graph.node]
    assert len(names) == len(set(names))


def test_convolutions_are_half_and_pooling_and_the_norm_are_float():
    half = to_half(lively_graph("mobilenet_v3_small"))
    view = GraphView(half)
    kinds = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(half).graph.value_info
    }
    convolutions = [node for node in view.nodes if node.op_type == "Conv"]
    assert len(convolutions) == 52
    assert all(view.constant(node.input[1]).dtype == np.float16 for node in convolutions)
    assert {kinds[node.output[0]] for node in convolutions} == {TensorProto.FLOAT16}
    pools = [node for node in view.nodes if node.op_type == "GlobalAveragePool"]
    assert pools and {kinds[node.output[0]] for node in pools} == {TensorProto.FLOAT}
    norm = next(node for node in view.nodes if node.op_type == "ReduceL2")
    assert kinds[norm.output[0]] == TensorProto.FLOAT


def test_a_weight_beyond_half_precision_stays_float():
    constants = {"big": np.full((1, 4), 1e6, np.float32), "small": np.full((1, 4), 2, np.float32)}
    nodes = [
        helper.make_node("Mul", ["image", "small"], ["doubled"], name="doubled"),
        helper.make_node("Add", ["doubled", "big"], ["moved"], name="moved"),
        helper.make_node("Mul", ["moved", "small"], ["logits"], name="logits"),
    ]
    graph = helper.make_graph(
        nodes,
        "big",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    half = to_half(model)
    onnx.checker.check_model(half, full_check=True)
    view = GraphView(half)
    kinds = {
        node.name: [view.constant(name).dtype for name in node.input if view.is_constant(name)] for node in view.nodes
    }
    assert kinds["moved"] == [np.float32] and kinds["doubled"] == [np.float16]
