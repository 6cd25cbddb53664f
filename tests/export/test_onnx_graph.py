"""The float graph: interface, operators, bytes, and the same answers as torch at every batch."""

import numpy as np
import onnx
import pytest
import torch

from sightline.export.onnx_graph import check_interface, export_onnx, remove_dead, serialize
from sightline.export.parity import check_batches, check_parity
from sightline.models import build_model
from sightline.runtime.errors import BundleError
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.session import open_session
from tests.export.nets import SPEC, images, small_graph, small_net


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_small"])
def test_graph_answers_as_torch_at_every_batch(name):
    session = open_session(serialize(small_graph(name)), "cpu", 1)
    for count in (1, 2, 5, 7):
        parity = check_parity(small_net(name), session, images(count, seed=count))
        assert parity.images == count and parity.logit_difference < 1e-4 and parity.least_cosine > 0.99999
    assert check_batches(session, images(5), "fp32").logit_difference < 1e-5


def test_interface_and_operators():
    graph = small_graph().graph
    kinds = {node.op_type for node in graph.node}
    assert [(value.name, value.type.tensor_type.elem_type) for value in graph.input] == [
        ("image", onnx.TensorProto.UINT8)
    ]
    assert [value.name for value in graph.output] == ["logits", "embedding"]
    assert "GlobalAveragePool" in kinds
    assert not kinds & {"ReduceMean", "BatchNormalization", "Expand", "Shape"}


def test_the_file_is_the_same_each_time_and_holds_no_path():
    first = serialize(small_graph())
    assert serialize(export_onnx(small_net(), SPEC)) == first
    assert b"site-packages" not in first and b"/recognition.py" not in first


def test_size_is_written_into_the_graph():
    model = export_onnx(build_model("resnet18", 3, 16).eval(), InputSpec(48, 64))
    shape = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape[1:] == [48, 64, 3] and isinstance(shape[0], str)


def _with(change):
    model = onnx.ModelProto()
    model.CopyFrom(small_graph())
    change(model)
    return model


def _older(model):
    model.opset_import[0].version = 18


def _newer_format(model):
    model.ir_version = 11


def _fixed_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _without_embedding(model):
    del model.graph.output[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [(_older, "opset"), (_newer_format, "IR version"), (_fixed_batch, "shape"), (_without_embedding, "embedding")],
)
def test_another_interface_is_refused(change, words):
    with pytest.raises(BundleError, match=words):
        check_interface(_with(change), SPEC)


def test_a_graph_that_drifts_from_torch_fails_the_export():
    with torch.no_grad():
        other = build_model("resnet18", 4, 32).eval()
        other.load_state_dict(small_net().state_dict())
        other.classifier.weight.mul_(1.01)
    session = open_session(serialize(small_graph()), "cpu", 1)
    with pytest.raises(BundleError, match="does not answer as torch does: on 3 photos"):
        check_parity(other, session, images(3))


def test_weights_that_are_not_finite_fail_the_export():
    broken = build_model("resnet18", 4, 32).eval()
    with torch.no_grad():
        broken.classifier.weight[0, 0] = torch.nan
    session = open_session(serialize(export_onnx(broken, SPEC)), "cpu", 1)
    with pytest.raises(BundleError, match="does not answer as torch does"):
        check_parity(broken, session, images(2))


def test_remove_dead_keeps_what_an_output_needs():
    model = _with(_without_embedding)
    before = len(model.graph.node)
    remove_dead(model)
    assert len(model.graph.node) < before
    assert not any("projection" in tensor.name for tensor in model.graph.initializer)
    came = open_session_logits(model)
    expected = open_session(serialize(small_graph()), "cpu", 1).run(images(2))[0]
    np.testing.assert_allclose(came, expected, rtol=1e-5, atol=1e-6)


def open_session_logits(model):
    from sightline.export.onnx_probe import Probe

    return Probe(model, ["logits"]).run(images(2))["logits"]
