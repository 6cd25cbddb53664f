"""Hard-swish and squeeze-and-excite in integers: the same function, no float islands, taken only where it pays."""

from collections import Counter

import numpy as np
import onnx
import pytest

from sightline.export import quantize_gates
from sightline.export.fusion import inspect_fusion
from sightline.export.onnx_graph import serialize
from sightline.export.onnx_probe import Probe
from sightline.export.quantize_choose import error, logits
from sightline.export.quantize_gates import choose_gates, integer_gates
from sightline.export.quantize_input import fold_normalization
from sightline.export.quantize_plan import make_plan
from sightline.export.quantize_ranges import find_ranges, observe
from sightline.export.quantize_writer import WeightFormat, write_qdq
from sightline.runtime.session import open_session
from tests.export.nets import images, small_graph

PHOTOS = [images(3, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def graphs():
    """The float graph and its int8 form with float islands."""
    model = fold_normalization(small_graph("mobilenet_v3_small"))
    plan = make_plan(model)
    ranges = find_ranges(observe(model, lambda: iter(PHOTOS), plan.rounded, plan.audible), "minmax")
    return model, write_qdq(model, plan, ranges, WeightFormat(64))


def test_bytes_of_a_clipped_line_are_the_gate():
    x = np.linspace(-5, 5, 2001)
    steps = np.clip(np.round(x / (6 / 255)) + 128, 0, 255)
    assert np.abs(steps / 255 - np.clip(x / 6 + 0.5, 0, 1)).max() < 0.5 / 255 + 0.5 / 255 + 1e-9


def test_no_float_island_is_left(graphs):
    _, written = graphs
    gated = integer_gates(written)
    kinds = Counter(node.op_type for node in gated.graph.node)
    assert kinds["HardSwish"] == kinds["HardSigmoid"] == 0 and kinds["LeakyRelu"] == 19 and kinds["Mul"] == 28
    before, after = (inspect_fusion(serialize(one)) for one in (written, gated))
    assert (after.int8_convolutions, after.float_convolutions) == (52, ())
    assert after.conversions <= 3 < 40 < before.conversions
    onnx.checker.check_model(gated)


def test_the_answers_are_as_near_to_float_as_with_islands(graphs):
    model, written = graphs
    expected = logits(model, PHOTOS)
    islands, gates = (error(expected, logits(one, PHOTOS)) for one in (written, integer_gates(written)))
    assert gates < 1.5 * islands + 0.01


def test_one_hard_swish_is_the_products_of_its_bytes(graphs):
    _, written = graphs
    gated = integer_gates(written)
    node = next(one for one in gated.graph.node if one.name.endswith(".product"))
    source, gate = node.input
    values = Probe(gated, [source, gate, node.output[0]]).run(images(2, 9))
    x, h = values[source], values[gate]
    np.testing.assert_allclose(values[node.output[0]], x * h, atol=1e-5)
    assert np.abs(h - np.clip(x / 6 + 0.5, 0, 1)).max() <= 1 / 255 + 1e-6


def test_a_graph_without_hard_swish_is_left_alone():
    model = fold_normalization(small_graph("resnet18"))
    plan = make_plan(model)
    ranges = find_ranges(observe(model, lambda: iter(PHOTOS[:1]), plan.rounded), "minmax")
    written = write_qdq(model, plan, ranges)
    assert integer_gates(written) is None and choose_gates(written, model, PHOTOS) is written


@pytest.mark.parametrize(("most_error", "taken"), [(10.0, True), (0.0, False)])
def test_gates_are_taken_where_they_are_as_exact_and_always_the_same(graphs, monkeypatch, most_error, taken):
    model, written = graphs
    monkeypatch.setattr(quantize_gates, "_MOST_ERROR", most_error)
    chosen = choose_gates(written, model, PHOTOS[:1])
    assert (chosen is not written) == taken
    assert serialize(choose_gates(written, model, PHOTOS[:1])) == serialize(chosen)
    assert open_session(serialize(chosen), "cpu", 1).run(PHOTOS[0])[0].shape == (3, 4)
