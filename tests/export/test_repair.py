"""Equalization, the two forms of bias correction, and that only what helps is kept."""

import numpy as np
import pytest

from sightline.export.calibration import choose_calibration
from sightline.export.onnx_probe import Probe
from sightline.export.onnx_view import GraphView, attribute, copy_model, set_constants
from sightline.export.quantize import QuantizationOptions, Quantizer
from sightline.export.quantize_choose import (
    EQUALIZED,
    PLAIN,
    REPAIRS,
    UNREPAIRED,
    Choice,
    Form,
    choose_ranges,
    choose_repair,
    error,
    logits,
)
from sightline.export.quantize_equalize import equalize, find_pairs
from sightline.export.quantize_input import fold_normalization
from sightline.export.quantize_plan import make_plan
from sightline.export.quantize_ranges import find_ranges, observe
from sightline.export.quantize_repair import correct_bias, correct_bias_fast
from sightline.export.quantize_writer import WeightFormat, write_qdq
from tests.export.nets import SPEC, conv_graph, draw_folder, images, lively_graph

RANDOM = np.random.default_rng(0)


def batches(count: int = 4, seed: int = 1) -> list[np.ndarray]:
    return [images(2, seed + number) for number in range(count)]


def folded(name: str):
    return fold_normalization(lively_graph(name))


def uneven(model):
    """The same function with channels between depthwise pairs made quieter or louder by up to sixteen times."""
    changed = copy_model(model)
    for pair in find_pairs(model):
        view = GraphView(changed)
        first, second = (next(node for node in view.nodes if node.name == name) for name in (pair.first, pair.second))
        weight, bias = view.constant(first.input[1]), view.constant(first.input[2])
        factor = np.exp2(RANDOM.uniform(-4, 0, len(weight))).astype(np.float32)
        reader = view.constant(second.input[1])
        shape = (-1, 1, 1, 1) if reader.shape[1] == 1 else (1, -1, 1, 1)
        set_constants(
            changed,
            {
                first.input[1]: weight * factor.reshape(-1, 1, 1, 1),
                first.input[2]: bias * factor,
                second.input[1]: reader / factor.reshape(shape),
            },
        )
    return changed


def test_pairs_are_those_of_depthwise_blocks():
    model = folded("mobilenet_v2")
    pairs, view = find_pairs(model), GraphView(model)
    # Each of 16 blocks expands, filters and projects; the first one only filters and projects.
    assert len(pairs) == 16 * 2 + 2
    for pair in pairs:
        reader = view.only_consumer(pair.tensor)
        assert reader is not None and reader.name == pair.second
    groups = [attribute(next(n for n in view.nodes if n.name == pair.second), "group", 1) > 1 for pair in pairs]
    assert sum(groups) == 17
    assert find_pairs(folded("resnet18")) == ()


def test_equalizing_changes_nothing_on_the_photos_it_saw():
    model, photos = folded("mobilenet_v2"), batches()
    evened = equalize(model, find_pairs(model), photos)
    assert error(logits(model, photos), logits(evened, photos)) < 1e-8
    reached = []
    for one in (model, evened):
        value = Probe(one, [find_pairs(model)[0].tensor]).run(np.concatenate(photos))
        reached.append(next(iter(value.values())).max(axis=(0, 2, 3)))
    assert reached[1].max() == pytest.approx(reached[0].max(), rel=1e-5)
    awake = reached[0] > 1e-3 * reached[0].max()
    assert (reached[1][awake] / reached[1].max()).min() > (reached[0][awake] / reached[0].max()).min()


def test_equalizing_is_chosen_where_channels_are_uneven():
    model = uneven(folded("mobilenet_v2"))
    plan, photos, held = make_plan(model), batches(), batches(2, 50)
    forms = [
        Form(name, one, observe(one, lambda: photos, plan.rounded, plan.audible))
        for name, one in ((PLAIN, model), (EQUALIZED, equalize(model, find_pairs(model), photos)))
    ]
    choice = choose_ranges(forms, plan, WeightFormat(), held, ("minmax",))
    assert [trial.method for trial in choice.trials] == ["minmax, equalized", "minmax"]
    assert choice.trials[0].error < choice.trials[1].error and choice.model is forms[1].model


def test_fast_correction_takes_back_the_mean_of_one_layer():
    weight = RANDOM.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    model = fold_normalization(conv_graph(weight, np.zeros(8, np.float32)))
    plan, photos = make_plan(model), batches()
    coarse = WeightFormat(4)
    ranges = find_ranges(observe(model, lambda: photos, plan.rounded), "minmax")

    def mean(one) -> np.ndarray:
        return np.mean([Probe(one, ["conv"]).run(batch)["conv"].mean(axis=(0, 2, 3)) for batch in photos], axis=0)

    # The convolution's float output behind rounded weights, before the clipping of its Relu.
    name = next(node.output[0] for node in model.graph.node if node.op_type == "Conv")
    shift = {}
    for key, one in (("before", model), ("after", correct_bias_fast(model, plan, ranges, coarse, photos))):
        written = write_qdq(one, plan, ranges, coarse)
        made = next(node.output[0] for node in written.graph.node if node.op_type == "Conv")
        probe = Probe(written, [made], integers=False)
        rounded = np.mean([probe.run(batch)[made].mean(axis=(0, 2, 3)) for batch in photos], axis=0)
        shift[key] = np.abs(rounded - mean(model)).max()
    assert name == "conv" and shift["after"] < 0.05 * shift["before"]


def test_the_repair_that_helps_most_is_kept_and_none_where_none_helps():
    model = folded("resnet18")
    plan, photos, held = make_plan(model), batches(8), batches(4, 50)
    ranges = find_ranges(observe(model, lambda: photos, plan.rounded), "minmax")
    choice = Choice(model, ranges, ())
    mended = choose_repair(choice, plan, WeightFormat(8), photos, held)
    assert {trial.method for trial in mended.trials} == {UNREPAIRED, *REPAIRS}
    errors = [trial.error for trial in mended.trials]
    assert errors == sorted(errors) and mended.trials[0].method != UNREPAIRED
    written = write_qdq(mended.model, plan, mended.ranges, WeightFormat(8))
    assert error(logits(model, held), logits(written, held)) == pytest.approx(errors[0])
    # Corrected on a photo that looks like nothing else, biases go wrong, and that is seen.
    black = [np.zeros((1, 32, 32, 3), np.uint8)]
    assert choose_repair(choice, plan, WeightFormat(64), black, held).trials[0].method == UNREPAIRED


def test_without_photos_to_try_on_the_sequential_correction_is_taken():
    model = folded("resnet18")
    plan, photos = make_plan(model), batches(2)
    ranges = find_ranges(observe(model, lambda: photos, plan.rounded), "minmax")
    mended = choose_repair(Choice(model, ranges, ()), plan, WeightFormat(), photos, [])
    assert mended.trials == ()
    expected = correct_bias(model, plan, ranges, WeightFormat(), photos)
    assert mended.model.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


def test_the_quantizer_tries_all_of_it_and_says_so(tmp_path):
    calibration = choose_calibration(draw_folder(tmp_path, 6), [])
    quantizer = Quantizer(lively_graph("mobilenet_v2"), calibration, SPEC, QuantizationOptions(("minmax", "mse")))
    made = quantizer.make(WeightFormat())
    assert len(made.choice.trials) == 4 and len(made.repairs) == 3
    assert {trial.method for trial in made.choice.trials} == {
        f"{method}{form}" for method in ("minmax", "mse") for form in ("", f", {EQUALIZED}")
    }
    assert quantizer.largest_activation > 0
    assert any(name.startswith("trunk.features") for name in made.names.values())
    plain = Quantizer(
        lively_graph("mobilenet_v2"), calibration, SPEC, QuantizationOptions(("minmax", "mse"), equalize=False)
    )
    assert len(plain.make(WeightFormat()).choice.trials) == 2
