"""From float to int8: against integer arithmetic written out in numpy, and on whole nets."""

import hashlib

import numpy as np
import onnx
import pytest

from sightline.export.calibration import choose_calibration
from sightline.export.fusion import check_fusion, inspect_fusion
from sightline.export.onnx_graph import serialize
from sightline.export.onnx_probe import Probe
from sightline.export.onnx_view import GraphView, attribute, copy_model, set_constants
from sightline.export.quantize import QuantizationOptions, quantize
from sightline.export.quantize_additions import settle_additions
from sightline.export.quantize_choose import PLAIN, Form, choose_ranges
from sightline.export.quantize_input import fold_normalization
from sightline.export.quantize_plan import make_plan
from sightline.export.quantize_ranges import METHODS, Observation, Range, find_ranges, observe
from sightline.export.quantize_repair import correct_bias
from sightline.export.quantize_sensitivity import rank_layers, ranked_nodes
from sightline.export.quantize_writer import Steps, WeightFormat, quantize_weight, write_qdq
from sightline.export.saturation import PairedWeights
from sightline.export.saturation_audit import Walk
from sightline.export.targets import PORTABLE, find_targets
from sightline.runtime.errors import BundleError, InputError
from sightline.runtime.session import open_session
from tests.export.nets import SPEC, conv_graph, draw_folder, images, small_graph

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
BIAS = RANDOM.normal(0, 0.5, 8).astype(np.float32)


def batches(count: int = 4, size: int = 2, seed: int = 1):
    return lambda: (images(size, seed + number) for number in range(count))


def ranges_of(model, tensors, method: str = "minmax") -> dict[str, Range]:
    return find_ranges(observe(model, batches(), tensors), method)


# --- the pixels as quantized input -------------------------------------------------------------------------


def test_folding_the_normalization_changes_nothing_without_padding():
    model = conv_graph(WEIGHT, BIAS)
    folded = fold_normalization(model)
    kinds = [node.op_type for node in folded.graph.node]
    assert "Cast" not in kinds and kinds.count("DequantizeLinear") == 1
    x = images(3)
    np.testing.assert_allclose(
        Probe(folded, ["conv"]).run(x)["conv"], Probe(model, ["conv"]).run(x)["conv"], rtol=1e-4, atol=2e-5
    )


def test_folding_changes_only_the_border_where_the_convolution_pads():
    model, x = conv_graph(WEIGHT, BIAS, pads=1), images(3)
    difference = np.abs(
        Probe(fold_normalization(model), ["conv"]).run(x)["conv"] - Probe(model, ["conv"]).run(x)["conv"]
    )
    assert difference[:, :, 1:-1, 1:-1].max() < 2e-5
    # At most ten of 255 levels in a channel, through the weights that lie over the padding.
    assert 1e-4 < difference.max() < 10 / 255 / 0.224 * np.abs(WEIGHT).sum(axis=(1, 2, 3)).max()


def test_a_graph_that_begins_otherwise_is_left_alone():
    model = conv_graph(WEIGHT, BIAS)
    next(node for node in model.graph.node if node.name == "normal").input[1] = "float"
    assert serialize(fold_normalization(model)) == serialize(model)


# --- what becomes int8 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "convolutions"), [("resnet18", 20), ("mobilenet_v2", 52), ("mobilenet_v3_small", 52)])
def test_plan_takes_every_convolution_and_leaves_the_embedding(name, convolutions):
    model = fold_normalization(small_graph(name))
    plan = make_plan(model)
    kinds = [node.op_type for node in plan.weighted(model)]
    assert kinds.count("Conv") == convolutions
    only_embedding = GraphView(model).ancestors("embedding") - GraphView(model).ancestors("logits")
    assert len(only_embedding) >= 4 and not plan.int8 & only_embedding
    if name != "mobilenet_v3_small":
        clipping = {node.name for node in model.graph.node if node.op_type in ("Relu", "Clip")}
        assert plan.absorbed == clipping - only_embedding


def test_plan_keeps_named_nodes_in_float():
    model = fold_normalization(small_graph())
    name = next(node.name for node in model.graph.node if node.op_type == "Conv")
    assert name in make_plan(model).int8 and name not in make_plan(model, [name]).int8


# --- ranges ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-3.1, 0.7), (-1e-9, 0.0), (-2.0, 5.0), (0.0, 0.0)])
def test_zero_is_exact_in_every_range(low, high):
    measured = Range(low, high)
    step = (0 - float(measured.zero_point)) * float(measured.scale) + float(measured.zero_point) * float(measured.scale)
    assert step == 0 and 0 <= measured.zero_point <= 255
    reach = float(measured.scale) * 255
    assert reach == pytest.approx(max(high - low, 1e-8), rel=1e-6)


def test_minmax_is_the_extreme_over_all_batches():
    model = conv_graph(WEIGHT, BIAS)
    x = np.concatenate(list(batches()()))
    value = Probe(model, ["conv"]).run(x)["conv"]
    found = ranges_of(model, ["conv", "relu"])
    assert (found["conv"].low, found["conv"].high) == pytest.approx((value.min(), value.max()))
    assert found["relu"].low == 0.0


def test_mse_has_no_more_error_than_minmax():
    weight = WEIGHT.copy()
    weight[0] *= 40  # one channel far louder than the rest
    model = conv_graph(weight, BIAS)
    value = Probe(model, ["relu"]).run(np.concatenate(list(batches()())))["relu"]
    found = {method: ranges_of(model, ["relu"], method)["relu"] for method in METHODS}
    errors = {method: _rounding_error(value, one) for method, one in found.items()}
    assert errors["mse"] <= errors["minmax"] * 1.001


def _rounding_error(value, to):
    steps = np.clip(np.rint(value / to.scale) + to.zero_point, 0, 255)
    return float(np.mean(((steps - to.zero_point) * to.scale - value) ** 2))


@pytest.mark.parametrize(("method", "words"), [("best", "choose one of mse")])
def test_unknown_method_is_named(method, words):
    with pytest.raises(InputError, match=words):
        ranges_of(conv_graph(WEIGHT, BIAS), ["conv"], method)


def test_all_but_minmax_drop_a_far_outlier():
    counts = np.zeros(2048, np.int64)
    counts[:200] = 10_000
    counts[-1] = 1
    seen = Observation(Range(0.0, 100.0), counts)
    for method in ("mse", "entropy", "percentile"):
        assert find_ranges({"x": seen}, method)["x"].high < 100.0
    assert find_ranges({"x": seen}, "minmax")["x"].high == 100.0


def test_what_a_reader_does_not_hear_gets_no_steps():
    model = fold_normalization(small_graph("mobilenet_v3_small"))
    plan = make_plan(model)
    view = GraphView(model)
    heard = {name for name in plan.rounded if {one.op_type for one in view.consumers[name]} == {"HardSwish"}}
    assert len(heard) >= 18 and all(plan.audible[name] == (-3.0, np.inf) for name in heard)
    name = sorted(heard)[0]
    louder = copy_model(model)
    bias = view.producer[name].input[2]
    set_constants(louder, {bias: GraphView(model).constant(bias) - 50})
    found = find_ranges(observe(louder, batches(), [name], plan.audible), "minmax")
    assert found[name].low == -3.0
    sigmoids = {name for name in plan.rounded if {one.op_type for one in view.consumers[name]} == {"HardSigmoid"}}
    assert sigmoids and all(plan.audible[name] == pytest.approx((-3.0, 3.0)) for name in sigmoids)


def test_the_best_method_is_chosen_on_photos_it_did_not_see():
    model = fold_normalization(small_graph())
    plan = make_plan(model)
    seen = observe(model, batches(), plan.rounded)
    choice = choose_ranges([Form(PLAIN, model, seen)], plan, WeightFormat(), list(batches(2, seed=50)()))
    assert {trial.method for trial in choice.trials} == set(METHODS)
    assert [trial.error for trial in choice.trials] == sorted(trial.error for trial in choice.trials)
    assert choice.ranges == settle_additions(model, plan, find_ranges(seen, choice.trials[0].method))


def test_the_layer_that_is_hurt_is_ranked_first():
    model = copy_model(fold_normalization(small_graph()))
    plan = make_plan(model)
    node = plan.weighted(model)[7]
    weight = GraphView(model).constant(node.input[1]).copy()
    weight[:, 0] *= 300  # one input channel so loud that the others vanish in its steps
    set_constants(model, {node.input[1]: weight})
    ranges = find_ranges(observe(model, batches(), plan.rounded), "minmax")
    ranking = rank_layers(model, plan, ranges, WeightFormat(), list(batches(2)()))
    assert len(ranking) == len(ranked_nodes(model, plan)) and ranking[0].error > 0
    assert next(one.layer for one in ranking if one.node == node.name) == "trunk.layer2.0.downsample.0"
    assert node.name in {one.node for one in ranking[:3]}


def test_no_image_and_values_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="no calibration image"):
        observe(conv_graph(WEIGHT, BIAS), lambda: [], ["conv"])
    broken = WEIGHT.copy()
    broken[0, 0, 0, 0] = np.inf
    with pytest.raises(InputError, match="not finite"):
        observe(conv_graph(broken, BIAS), batches(), ["conv"])


# --- the writer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [64, 127])
def test_written_convolution_is_integer_arithmetic(steps):
    folded = fold_normalization(conv_graph(WEIGHT, BIAS))
    plan = make_plan(folded)
    ranges = ranges_of(folded, plan.rounded)
    written = write_qdq(folded, plan, ranges, WeightFormat(steps))
    x = images(2, seed=9)
    came = Probe(written, ["relu.q"]).run(x)["relu.q"]
    expected = _integer_convolution(folded, x, ranges["relu"], steps)
    # One step where float32 and float64 round a tie differently.
    assert np.abs(came.astype(int) - expected).max() <= 1
    assert (came != expected).mean() < 0.002


def _integer_convolution(folded, x, out, steps):
    view = GraphView(folded)
    conv = next(node for node in folded.graph.node if node.op_type == "Conv")
    dequantize = view.producer[conv.input[0]]
    scale, zero = (view.constant(name) for name in dequantize.input[1:])
    weight, bias = view.constant(conv.input[1]), view.constant(conv.input[2])
    weight_scale = (np.abs(weight).max(axis=(1, 2, 3)) / steps).astype(np.float32)
    integers = np.clip(np.rint(weight / weight_scale[:, None, None, None]), -steps, steps).astype(np.int64)
    bias_integers = np.rint(bias.astype(np.float64) / (weight_scale.astype(np.float64) * scale)).astype(np.int64)
    pixels = x.transpose(0, 3, 1, 2).astype(np.int64) - int(zero)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), axis=(2, 3))
    total = np.einsum("ncyxij,ocij->noyx", windows, integers) + bias_integers[None, :, None, None]
    real = total * (weight_scale.astype(np.float64) * float(scale))[None, :, None, None]
    return np.clip(np.rint(real / float(out.scale)) + int(out.zero_point), 0, 255).astype(int)


def test_portable_weights_cannot_saturate_a_sum_of_two_products():
    quantized = quantize_weight(WEIGHT, 0, np.zeros(8), Steps(64))
    assert quantized.values.dtype == np.int8 and np.abs(quantized.values.astype(int)).max() == 64
    assert 2 * 255 * int(np.abs(quantized.values.astype(int)).max()) < np.iinfo(np.int16).max
    np.testing.assert_allclose(
        quantized.values * quantized.scale[:, None, None, None], WEIGHT, atol=float(quantized.scale.max()) * 0.501
    )


@pytest.mark.parametrize("shape", [(40, 33, 1, 1), (40, 8)])
def test_two_neighbours_of_one_sign_fit_sixteen_bits_and_no_more_is_lost_than_needed(shape):
    random = np.random.default_rng(0)
    weight = random.normal(0, 1, shape).astype(np.float32)
    weight[0] = 1.0  # each pair reaches the most exactly
    weight[1] = -np.where(np.arange(shape[1]) % 2, 129, 127).reshape(-1, *weight.shape[2:]) / 2  # both end in a half
    found = quantize_weight(weight, 0, np.zeros(40), Steps(127, 128))
    paired = PairedWeights(found.values)
    assert not paired.can_overflow and paired.largest_sum == 128 * 255
    seven = quantize_weight(weight, 0, np.zeros(40), Steps(64))
    assert (found.scale <= seven.scale * (1 + 1e-5)).all() and np.median(found.scale / seven.scale) < 0.8
    error = np.abs(found.values * found.scale.reshape(-1, *[1] * (weight.ndim - 1)) - weight)
    assert (error <= 0.501 * found.scale.reshape(-1, *[1] * (weight.ndim - 1))).all()


def test_the_portable_form_uses_eight_bits_where_it_can_and_nothing_saturates():
    model = fold_normalization(small_graph("mobilenet_v2"))
    plan = make_plan(model)
    weights = find_targets([PORTABLE])[0].weights
    written = write_qdq(model, plan, ranges_of(model, plan.rounded), weights)
    found = {"depthwise": set[int](), "pointwise": set[int](), "first": set[int]()}
    for node in plan.weighted(model):
        values = GraphView(written).constant(f"{node.name}.weight.q").astype(int)
        wide = values.ndim == 4 and values.shape[2] > 1
        kind = "depthwise" if attribute(node, "group", 1) > 1 else "first" if wide else "pointwise"
        found[kind].add(int(np.abs(values).max()))
    assert found["depthwise"] == {127} and found["first"] == {64} and max(found["pointwise"]) > 100
    assert not any(layer.paired.can_overflow for layer in Walk(written).layers)


def test_bias_of_a_channel_without_weight_fits_32_bits():
    weight = WEIGHT.copy()
    weight[3] *= 1e-12
    folded = fold_normalization(conv_graph(weight, BIAS + 1))
    plan = make_plan(folded)
    ranges = ranges_of(folded, plan.rounded)
    written = write_qdq(folded, plan, ranges)
    x = images(2, seed=3)
    step = float(ranges["relu"].scale)
    came = Probe(written, ["relu.dq"]).run(x)["relu.dq"]
    expected = np.clip(Probe(folded, ["relu"]).run(x)["relu"], 0, ranges["relu"].high)
    assert np.abs(came[:, 3] - expected[:, 3]).max() <= step


# --- whole nets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "convolutions"), [("resnet18", 20), ("mobilenet_v2", 52), ("mobilenet_v3_small", 52)])
def test_every_convolution_runs_in_int8(name, convolutions, tmp_path):
    photos = draw_folder(tmp_path, 5)
    made = quantize(small_graph(name), choose_calibration(photos, []), SPEC)
    onnx.checker.check_model(made.model, full_check=True)
    assert made.fusion.int8_convolutions == convolutions and not made.fusion.float_convolutions
    assert made.fusion.int8_products >= 1 and len(made.fusion.float_products) == 1
    assert inspect_fusion(serialize(small_graph(name))).int8_convolutions == 0
    session = open_session(serialize(made.model), "cpu", 1)
    for count in (1, 2, 5):
        logits, embedding = session.run(images(count))
        assert logits.shape == (count, 4) and np.isfinite(logits).all()
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


def test_the_same_photos_give_the_same_bytes(tmp_path):
    calibration = choose_calibration(draw_folder(tmp_path, 5), [])
    digests = {
        hashlib.sha256(serialize(quantize(small_graph(), calibration, SPEC).model)).hexdigest() for _ in range(2)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("position", [0, 3])
def test_a_convolution_kept_in_float_stays_float_and_one_left_is_found(position):
    model = fold_normalization(small_graph())
    name = [node.name for node in model.graph.node if node.op_type == "Conv"][position]
    plan = make_plan(model, [name])
    written = write_qdq(model, plan, ranges_of(model, plan.rounded))
    fusion = inspect_fusion(serialize(written))
    assert fusion.int8_convolutions == 19 and len(fusion.float_convolutions) == 1
    check_fusion(fusion, 19, fusion.int8_products, float_convolutions=1)
    with pytest.raises(BundleError, match="runs 19 convolutions in int8 and 1 in float"):
        check_fusion(fusion, 20, fusion.int8_products)
    with pytest.raises(BundleError, match="2 were meant to"):
        check_fusion(fusion, 19, fusion.int8_products + 1, float_convolutions=1)


@pytest.mark.parametrize("name", ["resnet18"])
def test_bias_correction_removes_the_mean_shift(name):
    model = fold_normalization(small_graph(name))
    plan = make_plan(model)
    weights = WeightFormat(8)  # so coarse that the shift is large
    ranges = ranges_of(model, plan.rounded)
    chosen = list(batches(8)())
    before = write_qdq(model, plan, ranges, weights)
    after = write_qdq(correct_bias(model, plan, ranges, weights, chosen), plan, ranges, weights)
    expected = np.mean([Probe(model, ["logits"]).run(batch)["logits"].mean(0) for batch in chosen], axis=0)
    shift = [
        np.abs(
            np.mean([Probe(one, ["logits"]).run(batch)["logits"].mean(0) for batch in chosen], axis=0) - expected
        ).max()
        for one in (before, after)
    ]
    assert shift[1] < 0.05 * shift[0]


def test_options_choose_method_and_repair(tmp_path):
    calibration = choose_calibration(draw_folder(tmp_path, 5), [])
    made = {
        options: serialize(quantize(small_graph(), calibration, SPEC, options).model)
        for options in (
            QuantizationOptions(("minmax",), correct_bias=False),
            QuantizationOptions(("minmax",)),
            QuantizationOptions(("mse",)),
        )
    }
    assert len(set(made.values())) == 3
