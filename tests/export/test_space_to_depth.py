"""The first convolution over blocks of pixels gives the same bytes as over pixels."""

import numpy as np
import onnx
import pytest
from onnx import helper

from sightline.export.fusion import inspect_fusion
from sightline.export.onnx_graph import serialize
from sightline.export.onnx_probe import Probe
from sightline.export.onnx_view import GraphView, attribute
from sightline.export.quantize_input import fold_normalization
from sightline.export.quantize_plan import make_plan
from sightline.export.quantize_ranges import find_ranges, observe
from sightline.export.quantize_writer import write_qdq
from sightline.export.space_to_depth import read_blocks
from tests.export.nets import conv_graph, images, lively_graph


def written(model, keep_float=()):
    """The int8 form of a float graph."""
    folded = fold_normalization(model)
    plan = make_plan(folded, keep_float)
    return write_qdq(folded, plan, find_ranges(observe(folded, lambda: [images(2)], plan.rounded), "minmax"))


def one_convolution(window: int, pads: tuple[int, ...], stride: int = 2):
    """A graph that begins with one convolution."""
    random = np.random.default_rng(window)
    weight = random.normal(0, 0.3, (8, 3, window, window)).astype(np.float32)
    model = conv_graph(weight, random.normal(0, 0.5, 8).astype(np.float32))
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    del conv.attribute[:]
    settings = {"pads": pads, "strides": [stride] * 2, "kernel_shape": [window] * 2}
    conv.attribute.extend(helper.make_attribute(name, value) for name, value in settings.items())
    return model


@pytest.mark.parametrize(
    ("window", "pads", "blocks"),
    [
        (7, (3, 3, 3, 3), 4),
        (7, (2, 2, 3, 3), 4),
        (5, (2, 1, 2, 3), 3),
        (4, (0, 0, 0, 0), 2),
        (4, (1, 1, 1, 1), 3),
    ],
)
def test_every_byte_is_the_same(window, pads, blocks):
    plain = written(one_convolution(window, pads))
    blocked = read_blocks(plain)
    onnx.checker.check_model(blocked, full_check=True)
    conv = next(node for node in blocked.graph.node if node.op_type == "Conv")
    weight = GraphView(blocked).producer[conv.input[1]].input[0]
    assert GraphView(blocked).constant(weight).shape == (8, 12, blocks, blocks)
    assert attribute(conv, "strides", None) == [1, 1]
    for size in (1, 3):
        x = images(size, seed=7)
        np.testing.assert_array_equal(
            Probe(blocked, ["relu.q"]).run(x)["relu.q"], Probe(plain, ["relu.q"]).run(x)["relu.q"]
        )


def test_a_whole_net_answers_alike_and_stays_in_int8():
    plain = written(lively_graph("resnet18"))
    blocked = read_blocks(plain)
    assert serialize(blocked) != serialize(plain) and serialize(read_blocks(plain)) == serialize(blocked)
    fusion = inspect_fusion(serialize(blocked))
    assert fusion.int8_convolutions == 20 and not fusion.float_convolutions
    x, names = images(4, seed=5), ["logits", "embedding"]
    for left, right in zip(Probe(plain, names).run(x).values(), Probe(blocked, names).run(x).values(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_other_beginnings_are_left_alone():
    float_graph, small = one_convolution(7, (3, 3, 3, 3)), one_convolution(3, (1, 1, 1, 1))
    whole, kept_float = one_convolution(7, (3, 3, 3, 3), stride=1), written(float_graph, ["conv"])
    for plain in (float_graph, kept_float, written(small), written(whole)):
        assert serialize(read_blocks(plain)) == serialize(plain)
