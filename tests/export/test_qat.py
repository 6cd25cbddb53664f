"""Quantization-aware training: the module computes what the file computes, and training brings int8 nearer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.export import quantize
from sightline.export.calibration import CalibrationSet, choose_calibration
from sightline.export.onnx_probe import Probe
from sightline.export.onnx_view import GraphView, copy_model, set_constants
from sightline.export.photos import prepared as photo_batches
from sightline.export.qat import Schedule, Trained, train_quantized
from sightline.export.qat_graph import TrainedGraph
from sightline.export.qat_rounding import RoundedTensor, RoundedWeight
from sightline.export.quantize import QuantizationOptions
from sightline.export.quantize_choose import TRAINED, UNREPAIRED, error, logits
from sightline.export.quantize_input import fold_normalization
from sightline.export.quantize_plan import QuantizationPlan, make_plan
from sightline.export.quantize_ranges import Range, find_ranges, observe
from sightline.export.quantize_repair import correct_bias
from sightline.export.quantize_writer import Steps, WeightFormat, quantize_weight, write_qdq
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.errors import InputError
from tests.export.nets import SPEC, draw_folder, images, lively_graph

NOTHING = QuantizationPlan(frozenset(), (), frozenset(), {}, {})


def prepared(name: str, method: str = "minmax"):
    model = fold_normalization(lively_graph(name))
    plan = make_plan(model)
    photos = [images(2, seed) for seed in range(1, 5)]
    return model, plan, find_ranges(observe(model, lambda: photos, plan.rounded, plan.audible), method)


def test_rounding_is_quantize_linear_and_its_gradient_is_lsqs():
    step = RoundedTensor(Range(-1.0, 3.0))
    x = torch.tensor([-2.0, -0.505, 0.3, 2.99, 5.0], requires_grad=True)
    y = step(x)
    scale, zero = float(Range(-1.0, 3.0).scale), int(Range(-1.0, 3.0).zero_point)
    expected = (np.clip(np.rint(x.detach().numpy() / scale) + zero, 0, 255) - zero) * scale
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-5)
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 1, 0]
    # d y / d scale by differences, with the rounded steps held: what LSQ's gradient is.
    inside = (y.detach() - x.detach())[1:4].sum().item() / scale
    by_scale = (inside - zero + (255 - zero)) / (5 * 255) ** 0.5
    assert step.log_scale.grad is not None
    assert step.log_scale.grad.item() == pytest.approx(by_scale * scale, rel=1e-4)
    assert step.range.zero_point == zero and step.range.scale == pytest.approx(scale, rel=1e-6)


def test_weights_are_rounded_as_the_writer_rounds_them():
    for shape, steps in (((6, 4, 3, 3), Steps(64)), ((6, 4, 3, 3), Steps(127)), ((6, 5, 1, 1), Steps(127, 128))):
        weight = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
        written = quantize_weight(weight, 0, np.zeros(6), steps)
        rounded = RoundedWeight(torch.from_numpy(weight), 0, steps)
        expected = written.values * written.scale.reshape(-1, 1, 1, 1)
        np.testing.assert_allclose(rounded().detach().numpy(), expected, atol=1e-6)
        rounded().sum().backward()
        assert rounded.value.grad is not None and (rounded.value.grad == 1).float().mean() > 0.99


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_small"])
def test_the_module_computes_what_the_file_computes(name):
    model, plan, ranges = prepared(name)
    x = images(4, 9)
    with torch.inference_mode():
        float_form = TrainedGraph(model, NOTHING, {}, WeightFormat())(torch.from_numpy(x))
        module = TrainedGraph(model, plan, ranges, WeightFormat())
        heard: list[torch.Tensor] = []
        first_rounding = next(one for one in module.modules() if isinstance(one, RoundedTensor))
        first_rounding.register_forward_hook(lambda _module, _inputs, value: heard.append(value))
        rounded = module(torch.from_numpy(x))
    for output in ("logits", "embedding"):
        expected = Probe(model, [output]).run(x)[output]
        np.testing.assert_allclose(float_form[output].numpy(), expected, atol=2e-4 * np.abs(expected).max())
    first = plan.rounded[0]
    file = Probe(write_qdq(model, plan, ranges, WeightFormat()), ["logits", f"{first}.dq"], integers=False).run(x)
    # Ties of the rounding fall differently here and there, and each goes its own way through the layers behind.
    steps = np.abs(heard[0].numpy() - file[f"{first}.dq"]) / ranges[first].scale
    assert steps.max() < 1.01 and (steps > 0.01).mean() < 0.005
    loss = error(Probe(model, ["logits"]).run(x)["logits"], file["logits"])
    assert error(file["logits"], rounded["logits"].numpy()) < 2 * loss


def test_what_was_learned_is_what_is_written():
    model, plan, ranges = prepared("mobilenet_v2")
    module = TrainedGraph(model, plan, ranges, WeightFormat())
    same, found = module.learned()
    assert (
        write_qdq(same, plan, found, WeightFormat()).ByteSize()
        == write_qdq(model, plan, ranges, WeightFormat()).ByteSize()
    )
    for name in plan.rounded:
        source = plan.same_range.get(name, name)
        assert found[name].scale == pytest.approx(ranges[source].scale, rel=1e-5)
    with torch.no_grad():
        for one in module.layers():
            one.mul_(1.5)
    moved, _ = module.learned()
    x = images(2, 3)
    assert error(Probe(model, ["logits"]).run(x)["logits"], Probe(moved, ["logits"]).run(x)["logits"]) > 0.01


def test_training_brings_coarse_weights_nearer_to_float(tmp_path: Path):
    photos = [image.path for image in draw_folder(tmp_path / "photos", 6)]
    model, plan, ranges = prepared("resnet18")
    coarse = WeightFormat(6)
    others = [image.path for image in draw_folder(tmp_path / "others", 4, first_seed=900)]
    held = list(photo_batches(others, SPEC, 4))
    schedule = Schedule(steps=16, batch_size=8, lr=2e-4)
    trained = train_quantized(model, plan, ranges, coarse, photos, SPEC, schedule)
    again = train_quantized(model, plan, ranges, coarse, photos, SPEC, schedule)
    assert trained.last_loss < 0.8 * trained.first_loss
    assert trained.model.SerializeToString(deterministic=True) == again.model.SerializeToString(deterministic=True)
    assert trained.ranges == again.ranges
    expected = logits(model, held)
    before = error(expected, logits(write_qdq(model, plan, ranges, coarse), held))
    after = error(expected, logits(write_qdq(trained.model, plan, trained.ranges, coarse), held))
    assert after < before


@pytest.mark.parametrize("better", [True, False])
def test_the_quantizer_keeps_training_only_where_held_out_photos_say_so(tmp_path: Path, monkeypatch, better):
    # What training gave is replaced by a form of known worth: biases corrected, or lost.
    def trained(model, plan, ranges, *_rest: object) -> Trained:
        return Trained(
            correct_bias(model, plan, ranges, WeightFormat(6), seen) if better else wrecked(model), ranges, 1, 0
        )

    def wrecked(model):
        broken, view = copy_model(model), GraphView(model)
        biases = [node.input[2] for node in plan.weighted(model)]
        set_constants(broken, {name: np.zeros_like(view.constant(name)) for name in biases})
        return broken

    calibration = choose_calibration(draw_folder(tmp_path, 6), [])
    seen = list(photo_batches([image.path for image in calibration.images], SPEC, 4))
    plan = make_plan(fold_normalization(lively_graph("resnet18")))
    monkeypatch.setattr(quantize, "train_quantized", trained)
    options = QuantizationOptions(("minmax", "mse"), correct_bias=False, train=Schedule(1))
    made = quantize.Quantizer(lively_graph("resnet18"), calibration, SPEC, options).make(WeightFormat(6))
    assert made.fusion.int8_convolutions == 20
    assert {trial.method for trial in made.repairs} == {TRAINED, UNREPAIRED}
    assert (made.repairs[0].method == TRAINED) == better


@pytest.mark.parametrize(("photos", "loss"), [(8, 0.3), (8, np.inf), (24, np.inf)])
def test_a_training_that_diverged_is_none_and_a_loss_is_no_error_of_the_logits(tmp_path, monkeypatch, photos, loss):
    def trained(model, _plan, ranges, *_rest: object) -> Trained:
        moved, view = copy_model(model), GraphView(model)
        biases = [node.input[2] for node in make_plan(model).weighted(model)]
        set_constants(moved, {name: 2 * view.constant(name) for name in biases})
        return Trained(moved, ranges, loss, loss)

    monkeypatch.setattr(quantize, "train_quantized", trained)
    calibration = choose_calibration(draw_folder(tmp_path, photos // 4), [])
    options = QuantizationOptions(("minmax",), correct_bias=False)
    graph = lively_graph("resnet18")
    made = [
        quantize.Quantizer(graph, calibration, SPEC, one).make(WeightFormat())
        for one in (options, replace(options, train=Schedule(1)))
    ]
    assert made[1].repairs == ()
    assert (made[0].model == made[1].model) == np.isinf(loss)


def test_an_operator_that_cannot_be_trained_is_named_before_a_photo_is_read():
    model = copy_model(fold_normalization(lively_graph("resnet18")))
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Erf"
    with pytest.raises(InputError, match="does not know the operator Erf: export without --qat"):
        TrainedGraph(model, NOTHING, {}, WeightFormat())
    gone = CalibrationSet((LabelledImage(Path("gone.png"), "circle"),), 1, "")
    with pytest.raises(InputError, match="does not know the operator Erf"):
        quantize.Quantizer(model, gone, SPEC, QuantizationOptions(train=Schedule(1)))
    with pytest.raises(InputError, match=r"gone\.png"):
        quantize.Quantizer(model, gone, SPEC, QuantizationOptions())
