"""Integer additions: with settled scales x86's float and ARM's fixed point round every pair of bytes alike."""

import numpy as np
import pytest
from onnx import numpy_helper

from sightline.export.onnx_view import GraphView
from sightline.export.quantize_additions import settle_additions
from sightline.export.quantize_input import fold_normalization
from sightline.export.quantize_plan import make_plan
from sightline.export.quantize_ranges import Range, find_ranges, observe
from sightline.export.quantize_writer import WeightFormat, write_qdq
from tests.export.nets import images, lively_graph

A, B = (one.astype(np.int64).ravel() for one in np.mgrid[0:256, 0:256])


def in_float(a: Range, b: Range, c: Range) -> np.ndarray:
    """Every pair of bytes as x86 adds them: float32, ties to even."""
    by_a, by_b = a.scale / c.scale, b.scale / c.scale
    fixed = np.float32(c.zero_point) - (by_a * np.float32(a.zero_point) + by_b * np.float32(b.zero_point))
    total = A.astype(np.float32) * by_a + (B.astype(np.float32) * by_b + fixed)
    return np.clip(np.rint(total), 0, 255)


def in_fixed_point(a: Range, b: Range, c: Range) -> np.ndarray:
    """Every pair of bytes as ARM adds them: multipliers of 22 bits, ties away from zero."""
    ratios = a.scale / c.scale, b.scale / c.scale
    shift = 21 - int(np.floor(np.log2(max(ratios))))
    by_a, by_b = (int(np.rint(float(ratio) * 2.0**shift)) for ratio in ratios)
    total = (A - int(a.zero_point)) * by_a + (B - int(b.zero_point)) * by_b
    total = (total - (total < 0) + (1 << (shift - 1))) >> shift
    return np.clip(total + int(c.zero_point), 0, 255)


def ratios(name: str, settled: bool) -> list[tuple[Range, Range, Range]]:
    """The ranges of each addition of a net."""
    model = fold_normalization(lively_graph(name))
    plan = make_plan(model)
    photos = [images(2, seed) for seed in range(3)]
    ranges = find_ranges(observe(model, lambda: photos, plan.rounded), "mse")
    ranges = settle_additions(model, plan, ranges) if settled else ranges
    written = write_qdq(model, plan, ranges, WeightFormat())
    view = GraphView(written)
    constants = {one.name: numpy_helper.to_array(one) for one in written.graph.initializer}

    def read(name: str) -> Range:
        scale, zero = (constants[one] for one in view.producer[name].input[1:3])
        return Range(-float(zero) * float(scale), (255 - float(zero)) * float(scale))

    additions = [node for node in view.nodes if node.op_type == "Add" and node.name in plan.int8]
    return [(*map(read, node.input), read(view.consumers[node.output[0]][0].output[0])) for node in additions]


@pytest.mark.parametrize(("name", "additions"), [("resnet18", 8), ("mobilenet_v2", 10)])
def test_every_addition_of_a_net_is_the_same_on_x86_and_on_arm(name, additions):
    found = ratios(name, True)
    assert len(found) == additions
    for one in found:
        assert np.array_equal(in_float(*one), in_fixed_point(*one))
    for before, after in zip(ratios(name, False), found, strict=True):
        # Where a small tensor is added to a large one its steps grow by at most a 511th of the sum's.
        for old, new in zip(before, after, strict=True):
            assert new.zero_point == old.zero_point
            assert 0.999 * old.scale <= new.scale <= 1.01 * old.scale + after[2].scale / 511


def test_scales_as_they_are_found_are_not():
    random, differ = np.random.default_rng(0), 0
    for _ in range(20):
        one = [Range(-float(low), float(high)) for low, high in random.uniform(0.5, 2, (3, 2))]
        differ += int((in_float(*one) != in_fixed_point(*one)).sum())
    halves = Range(-1.0, 1.0), Range(-1.0, 1.0), Range(-2.0, 2.0)
    assert differ > 0 and (in_float(*halves) != in_fixed_point(*halves)).mean() > 0.1
