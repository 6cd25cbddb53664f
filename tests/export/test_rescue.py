"""Rescue: layers are left in float by photos that neither calibration nor the gate reads."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sightline.export import rescue
from sightline.export.calibration import choose_calibration, split_for_choosing
from sightline.export.evaluate import Rate, run_variants
from sightline.export.onnx_graph import export_onnx
from sightline.export.qat import Schedule
from sightline.export.quantize import QuantizationOptions, Quantizer
from sightline.export.quantize_sensitivity import LayerSensitivity
from sightline.export.quantize_writer import WeightFormat
from sightline.export.rescue import Drop, Rescuer, choosing_photos, expected_drop, margins, rescue_refused
from sightline.export.targets import Target
from sightline.export.variants import Built, build_float, build_variant
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.errors import BundleError
from sightline.runtime.reporter import QuietReporter
from tests.export.nets import LABELS, SPEC, trained_source


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of 64 training photos, 24 of them to calibrate on, whose evaluation photos cannot be read."""
    made = trained_source(tmp_path_factory.mktemp("photos"), per_class=16)
    gone = tuple(LabelledImage(Path("gone") / one.path.name, one.label) for one in made.evaluation)
    return replace(made, calibration=choose_calibration(made.gallery, (), count=24), evaluation=gone)


@pytest.fixture(scope="module")
def fp32(source):
    return build_float(export_onnx(source.model, SPEC))


def coarse(steps: int) -> Target:
    return Target("coarse", "int8", "int8", WeightFormat(steps), timed=True)


def test_margin_is_the_truth_over_the_best_other():
    logits = np.array([[1.0, 3.0, 2.0], [5.0, 1.0, 4.0]], np.float32)
    assert margins(logits, np.array([1, 2])).tolist() == [1.0, -1.0]
    assert logits[0, 1] == 3.0


def test_expected_drop_of_unchanged_answers_is_nothing():
    logits = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    assert expected_drop(logits, logits, np.zeros(40, np.int64)) == Drop(0.0, 0.0)


def test_expected_drop_is_nearer_to_the_truth_than_counting():
    random, counted, expected = np.random.default_rng(0), [], []
    truth = np.zeros(50, np.int64)

    def draw(photos):
        before = random.normal(2, 4, photos)
        return before, before * random.normal(0.9, 0.1, photos) + random.normal(-0.3, 0.3, photos)

    before, after = draw(1_000_000)
    drop = 100 * float((before > 0).mean() - (after > 0).mean())
    for _ in range(300):
        before, after = draw(50)
        pairs = [np.stack([one, np.zeros(50)], 1).astype(np.float32) for one in (before, after)]
        counted.append(100 * float((before > 0).mean() - (after > 0).mean()) - drop)
        expected.append(expected_drop(pairs[0], pairs[1], truth))
    points = np.array([one.points for one in expected])
    assert abs(points.mean() - drop) < 0.7 and points.std() < 0.6 * np.std(counted)
    assert np.mean([one.error for one in expected]) == pytest.approx(points.std(), rel=0.3)


@pytest.mark.parametrize(("points", "error", "exceeds"), [(0.4, 0.0, False), (0.9, 0.5, False), (1.1, 0.5, True)])
def test_a_limit_is_exceeded_by_more_than_the_error(points, error, exceeds):
    assert Drop(points, error).exceeds(0.5) == exceeds


def test_photos_to_choose_on_are_held_out_and_never_judged_on(source, fp32):
    quantizer = Quantizer(fp32.model, source.calibration, SPEC, QuantizationOptions(("mse",)))
    chosen = {one.path for one in choosing_photos(source, quantizer)}
    calibrated = {one.path for one in source.calibration.images}
    assert chosen & calibrated == set(quantizer.held_out_paths) and len(quantizer.held_out_paths) == 4
    assert len(chosen) == 64 - 24 + 4 and not chosen & {one.path for one in source.evaluation}


def test_of_a_run_layers_are_chosen_by_photos_that_it_set_apart(source, fp32):
    apart = tuple(LabelledImage(Path(f"apart{number}"), "circle") for number in range(3))
    quantizer = Quantizer(fp32.model, source.calibration, SPEC, QuantizationOptions(("mse",)))
    assert choosing_photos(replace(source, choosing=apart), quantizer) == list(apart)
    assert choosing_photos(replace(source, choosing=()), quantizer) == []


def test_layers_are_not_chosen_by_photos_that_int8_was_trained_on(source, fp32):
    learned = [image.path for image in source.gallery]
    options = QuantizationOptions(("mse",), train=Schedule(1))
    quantizer = Quantizer(fp32.model, source.calibration, SPEC, options, photos=learned)
    assert {one.path for one in choosing_photos(source, quantizer)} == set(quantizer.held_out_paths)
    assert quantizer.training_paths == set(learned) - set(quantizer.held_out_paths)


@pytest.mark.parametrize(("photos", "apart"), [(2, 0), (11, 0), (12, 16), (30, 40), (300, 300)])
def test_set_apart_photos_are_parted_once_into_choosing_and_judging(photos, apart):
    images = [LabelledImage(Path(f"{label}/{number}"), label) for label in LABELS for number in range(photos)]
    choosing, judging = split_for_choosing(images)
    assert len(choosing) == apart and sorted(choosing + judging, key=str) == sorted(images, key=str)
    counts = [sum(one.label == label for one in choosing) for label in LABELS]
    assert max(counts) - min(counts) <= 1 and split_for_choosing(images) == (choosing, judging)


def test_costly_layers_are_left_in_float_until_the_accuracy_is_kept(source, fp32, monkeypatch):
    monkeypatch.setattr(rescue, "_RESCUES", (16, 64))
    quantizer = Quantizer(fp32.model, source.calibration, SPEC, QuantizationOptions(("mse",)))
    built = build_variant(coarse(3), quantizer)
    photos = choosing_photos(source, quantizer)
    truth = np.array([LABELS.index(image.label) for image in photos])

    def drop(one):
        outputs = run_variants({"fp32": fp32.session, "one": one.session}, photos, SPEC)
        return expected_drop(outputs["fp32"].logits, outputs["one"].logits, truth)

    limit = 0.5 * drop(built).points
    assert drop(built).exceeds(limit)
    rescuer = Rescuer(quantizer, fp32, source, limit, QuietReporter())
    rescued = rescuer.rescue(coarse(3), built)
    assert rescued.quantized is not None and not drop(rescued).exceeds(limit)
    kept = rescued.quantized.kept_float
    assert kept and set(kept) == {layer.node for layer in rescuer.rank(WeightFormat(3))[: len(kept)]}
    assert 0 < len(rescued.quantized.fusion.float_convolutions) <= len(kept)


def test_a_variant_that_no_rescue_helps_is_given_back(source, fp32, monkeypatch):
    monkeypatch.setattr(rescue, "_RESCUES", (1,))
    quantizer = Quantizer(fp32.model, source.calibration, SPEC, QuantizationOptions(("mse",), correct_bias=False))
    built = build_variant(coarse(1), quantizer)
    assert Rescuer(quantizer, fp32, source, 0.0, QuietReporter()).rescue(coarse(1), built) is built


def test_each_form_of_weights_is_rescued_by_its_own_ranking(source, fp32, monkeypatch):
    quantizer = Quantizer(fp32.model, source.calibration, SPEC, QuantizationOptions(("mse",), correct_bias=False))
    first, second = coarse(1), coarse(2)
    built = build_variant(first, quantizer)
    ranked, kept, said = [], [], []
    reporter = QuietReporter()

    def rank(weights: WeightFormat) -> tuple[LayerSensitivity, ...]:
        ranked.append(weights)
        return tuple(LayerSensitivity(f"{one} with {weights.steps}", "", 1.0) for one in ("costly", "cheap"))

    def build(target: Target, _quantizer: Quantizer, nodes: list[str]) -> Built:
        kept.append((target, nodes))
        return built

    monkeypatch.setattr(rescue, "_RESCUES", (1,))
    monkeypatch.setattr(rescue, "build_variant", build)
    monkeypatch.setattr(quantizer, "rank", rank)
    monkeypatch.setattr(reporter, "say", said.append)
    rescuer = Rescuer(quantizer, fp32, source, 0.0, reporter)
    for target in (first, second, first):
        rescuer.rescue(target, built)
    assert kept == [(first, ["costly with 1"]), (second, ["costly with 2"]), (first, ["costly with 1"])]
    assert ranked == [WeightFormat(1), WeightFormat(2)] == list(rescuer.rankings)
    assert len(said) == 3 and all(line.endswith("by 44 photos held out for this choice") for line in said)


@pytest.mark.parametrize(("shares", "kept", "told"), [([0.9], 0, 0), ([0.7, 0.79], 1, 1), ([0.7, 0.7, 0.7], 0, 0)])
def test_where_the_gate_refuses_the_next_forms_are_tried_and_counted(source, monkeypatch, shares, kept, told):
    def form(layers: int) -> SimpleNamespace:
        return SimpleNamespace(name="int8", session=layers, quantized=SimpleNamespace(kept_float=("costly",) * layers))

    def run(sessions, *_):
        return {"int8": SimpleNamespace(logits=sessions["int8"])}

    monkeypatch.setattr(rescue, "run_variants", run)
    monkeypatch.setattr(rescue, "accuracy", lambda layers, _: rate_of(shares[layers]))
    rescuer = SimpleNamespace(max_drop=1.0, forms=lambda target, one: map(form, range(1, len(shares))))
    figures = [SimpleNamespace(top1=rate_of(share)) for share in (0.8, shares[0])]
    built = [form(0), form(0)]
    remarks = rescue_refused(built, [coarse(3)], figures, source, rescuer, QuietReporter())
    assert len(built[1].quantized.kept_float) == kept and len(remarks) == told
    assert all("1 layer in float" in one and "2 forms" in one for one in remarks)


def rate_of(share: float) -> Rate:
    return Rate(share, 0.0, 1.0, 100)


def test_a_form_that_cannot_be_made_is_passed_over_and_one_without_int8_is_none(source, fp32, monkeypatch):
    def build(target, _quantizer, nodes):
        if len(nodes) == 1:
            raise BundleError("it does not run in int8")
        return nodes

    quantizer = Quantizer(fp32.model, source.calibration, SPEC, QuantizationOptions(("mse",), correct_bias=False))
    built = build_variant(coarse(2), quantizer)
    layers = tuple(LayerSensitivity(str(number), "", 1.0) for number in range(4))
    monkeypatch.setattr(rescue, "build_variant", build)
    monkeypatch.setattr(quantizer, "rank", lambda weights: layers)
    forms = Rescuer(quantizer, fp32, source, 0.5, QuietReporter()).forms(coarse(2), built)
    assert list(forms) == [["0", "1"]]


def test_a_refused_form_has_more_layers_in_float_each_time(source, fp32, monkeypatch):
    monkeypatch.setattr(rescue, "_RESCUES", (1, 3))
    quantizer = Quantizer(fp32.model, source.calibration, SPEC, QuantizationOptions(("mse",), correct_bias=False))
    built = build_variant(coarse(2), quantizer)
    forms = list(Rescuer(quantizer, fp32, source, 0.5, QuietReporter()).forms(coarse(2), built))
    assert [len(one.quantized.kept_float) for one in forms] == [1, 3]
    assert list(Rescuer(quantizer, fp32, source, -1.0, QuietReporter()).forms(coarse(2), built)) == []
