"""Scales by which every CPU rounds an integer addition to the same byte.

Of two bytes ONNX Runtime makes round(a · scale_a / scale_c + b · scale_b / scale_c): on x86 in float with ties to
even, on ARM in fixed point of 22 bits with ties away from zero (QLinearAdd of its MLAS library). Where a sum falls on
a tie or beside one the two differ by one, and the layers behind make more of it: in a MobileNetV2 all convolutions
gave the same bytes on both, the sixth addition other ones in 4 of 12,544 places, and 2 of 200 photos another answer.

If both ratios are fractions p / 511, a sum is a multiple of 1 / 511 and no nearer to a tie than 1 / 1022 = 9.8e-4.
Fixed point errs by 2.5e-4 at most while the ratios are below 4, float by 2e-4.
"""

from math import ceil

import numpy as np
from onnx import ModelProto

from .onnx_view import GraphView
from .quantize_plan import QuantizationPlan, result_name
from .quantize_ranges import Range

# Odd, so that no multiple of its inverse is a half.
_DENOMINATOR = 511


def settle_additions(model: ModelProto, plan: QuantizationPlan, ranges: dict[str, Range]) -> dict[str, Range]:
    """Widen what integer additions read until the ratios fit: each scale by less than a 511th of the sum's.

    A tensor that two additions read suits the later one alone.

    Args:
        model: The float graph that the plan was made for.
        plan: What becomes int8.
        ranges: Of every tensor that the plan rounds.

    Returns:
        All ranges, some of them widened.
    """
    view, settled, done = GraphView(model), dict(ranges), set[str]()
    # From the last to the first: a sum's own scale is settled before those of what it is made of.
    for node in reversed(view.nodes):
        if node.op_type != "Add" or node.name not in plan.int8:
            continue
        total = settled.get(plan.moved_from(result_name(view, node, plan.absorbed)))
        for name in map(plan.moved_from, node.input):
            if total is not None and name in settled and name not in done:
                settled[name] = _widened(settled[name], total.scale)
                done.add(name)
    return settled


def _widened(found: Range, total: np.float32) -> Range:
    # What fits already stays: a ratio that is a whole number but for float's rounding is not raised by one.
    share = max(1, ceil(float(found.scale) / float(total) * _DENOMINATOR - 1e-3))
    scale, zero = float(np.float32(float(total) * share / _DENOMINATOR)), int(found.zero_point)
    return Range(-zero * scale, (255 - zero) * scale)
