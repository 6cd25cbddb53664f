"""The whole export on a small real net: the bundle, its proof, its report, and the command line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from sightline.edge_app.cli import run
from sightline.export.evaluate import Rate
from sightline.export.gate import Limits
from sightline.export.pipeline import ExportOptions, ExportResult, export_bundle
from sightline.export.qat import Schedule
from sightline.export.quantize import QuantizationOptions
from sightline.export.quantize_choose import TRAINED
from sightline.runtime import Bundle, Recognizer, read_image
from sightline.runtime.errors import BundleError, InputError
from sightline.runtime.golden import check_golden
from sightline.runtime.session import open_session
from tests.export.nets import LABELS, SPEC, draw_folder, trained_source

SIGHTLINE = Path(sys.executable).parent / "sightline"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return trained_source(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory) -> ExportResult:
    options = ExportOptions(Limits(max_drop=10.0))
    return export_bundle(source, tmp_path_factory.mktemp("bundles") / "kiosk.bundle", options)


def test_bundle_holds_what_the_contract_names(exported):
    bundle = Bundle.load(exported.path)
    files = set(bundle.manifest.files)
    assert {"model.fp32.onnx", "model.int8.onnx", "report.html", "report.json", "golden/golden.json"} <= files
    assert sum(name.startswith("golden/") for name in files) == 9
    assert bundle.labels == LABELS and bundle.input_spec == SPEC
    assert [one.name for one in bundle.manifest.variants] == ["fp32", "int8"]
    assert bundle.bundle_id == exported.manifest.bundle_id
    assert bundle.manifest.tool_versions["torch"].startswith("2.")


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_the_device_gives_the_answers_that_export_measured(exported, source, variant):
    bundle = Bundle.load(exported.path)
    recognizer = Recognizer(bundle, "cpu", variant, 1)
    golden = check_golden(recognizer)
    assert golden.images == 8 and not golden.failures
    answers = [recognizer.recognize(read_image(image.path)).top[0].label for image in source.evaluation]
    right = np.mean([label == image.label for label, image in zip(answers, source.evaluation, strict=True)])
    assert bundle.variant(variant).top1 == pytest.approx(right)
    assert right > 0.5


def test_torch_and_the_shipped_float_file_agree_on_real_photos(exported, source):
    recognizer = Recognizer(Bundle.load(exported.path), "cpu", "fp32", 1)
    from sightline.runtime.preprocess import prepare_batch

    images = prepare_batch([read_image(image.path) for image in source.evaluation[:6]], SPEC)
    with torch.inference_mode():
        logits, embeddings = source.model(torch.from_numpy(images))
    came = recognizer.run(images)
    np.testing.assert_allclose(came[0], logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(came[1], embeddings.numpy(), atol=1e-5)


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_the_single_file_is_usable_without_its_bundle(exported, variant):
    model = onnx.load(exported.path / f"model.{variant}.onnx")
    notes = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert tuple(notes["sightline.labels"]) == LABELS
    assert notes["sightline.input"] == {"height": 32, "width": 32, "crop": 1.0, "stretch": False}
    assert notes["sightline.embedding"]["model_id"] == exported.manifest.embedding.model_id
    policy = exported.manifest.decision
    assert notes["sightline.decision"]["temperature"] == policy.temperature
    assert notes["sightline.decision"]["min_probability"] == policy.min_probability
    session = open_session(model.SerializeToString(), "cpu", 1)
    assert session.run(np.zeros((3, 32, 32, 3), np.uint8))[0].shape == (3, 4)


def test_report_data_is_what_the_manifest_says(exported):
    data = json.loads((exported.path / "report.json").read_text())
    int8 = next(one for one in data["variants"] if one["name"] == "int8")
    assert int8["fusion"]["int8_convolutions"] == 20 and int8["fusion"]["float_convolutions"] == []
    assert int8["bytes"] < 0.4 * next(one for one in data["variants"] if one["name"] == "fp32")["bytes"]
    assert data["gate"]["default_variant"] == exported.manifest.default_variant
    assert data["evaluation_images"] == 32 and data["calibration"]["images"] == 48
    assert data["calibration"]["sha256"] == exported.manifest.calibration["sha256"]
    low, value, high = (int8["top1"][key] for key in ("low", "value", "high"))
    assert low <= value <= high and int8["top1"]["images"] == 32


def test_report_opens_offline_and_needs_no_script(exported):
    page = (exported.path / "report.html").read_text()
    assert "<script" not in page and "{{" not in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert not re.findall(r"https?://", page)
    assert "20 of 20" in page and all(reason in page for reason in exported.report.gate.reasons)
    assert page.count("<svg") >= 3 and 'lang="en"' in page
    for name in re.findall(r"<img [^>]*>", page):
        assert 'alt="' in name


def test_models_are_the_same_bytes_in_every_export(exported, source, tmp_path):
    again = export_bundle(source, tmp_path / "again.sightline", ExportOptions(Limits(max_drop=10.0)))
    entries = exported.manifest.files
    if again.manifest.default_variant == exported.manifest.default_variant:
        for name in ("model.fp32.onnx", "model.int8.onnx"):
            assert again.manifest.files[name] == entries[name]
    assert again.manifest.embedding.model_id == exported.manifest.embedding.model_id
    assert Bundle.load(tmp_path / "again.sightline").bundle_id == again.manifest.bundle_id


def test_a_failed_gate_writes_the_bundle_with_fp32_as_default(source, tmp_path):
    result = export_bundle(source, tmp_path / "kiosk.bundle", ExportOptions(Limits(max_drop=-100)))
    manifest = Bundle.load(tmp_path / "kiosk.bundle").manifest
    assert not result.report.gate.passed and manifest.default_variant == "fp32"
    assert manifest.gate is not None and "more than the -100 points allowed by --max-drop" in manifest.gate.reasons[0]
    assert "Gate failed: devices run fp32" in (tmp_path / "kiosk.bundle" / "report.html").read_text()


@pytest.fixture(scope="module")
def several(source, tmp_path_factory) -> ExportResult:
    targets = ("x86-vnni", "portable", "arm64", "cuda")
    options = ExportOptions(Limits(max_drop=20), targets=targets, rank_layers=True)
    return export_bundle(source, tmp_path_factory.mktemp("several") / "kiosk.bundle", options)


def test_several_targets_and_the_ranking_are_shipped(several):
    shipped = {one.name: one for one in several.manifest.variants}
    assert list(shipped) == ["fp32", "int8", "int8-vnni", "int8-arm64", "fp16"]
    assert [one.target for one in shipped.values()] == ["any", "portable", "x86-vnni", "arm64", "cuda"]
    assert several.report.sensitivity[0].error >= several.report.sensitivity[-1].error
    page = (several.path / "report.html").read_text()
    assert "Which layer costs how much" in page and "int8-arm64" in page
    assert several.report.ranked == ("int8",) and "Of int8. Error of the logits" in page
    assert shipped["int8-arm64"].latency_ms is None
    assert all(one.rest is not None for one in several.report.sensitivity[:8])
    for variant in ("int8-vnni", "fp16"):
        assert not check_golden(Recognizer(Bundle.load(several.path), "cpu", variant, 1)).failures


def test_half_precision_says_what_it_is_for_and_is_never_the_default(several):
    half = next(one for one in several.report.variants if one.name == "fp16")
    assert half.precision == "fp16" and half.target == "cuda" and half.saturation is None
    assert half.drift.agreement == 1.0 and half.drift.least_cosine > 0.999
    assert half.bytes < 0.56 * several.report.variants[0].bytes and several.manifest.default_variant != "fp16"
    assert half.elsewhere is not None and half.elsewhere.provider == "cuda"
    if half.elsewhere.timing is None:
        said = next(reason for reason in several.report.gate.reasons if reason.startswith("fp16"))
        assert said.endswith("its speed is not measured here: this machine has no cuda provider")
        assert "not measured here" in (several.path / "report.html").read_text()


def test_the_report_says_what_a_cpu_without_vnni_answers(several):
    audits = {one.name: one.saturation for one in several.report.audited}
    assert list(audits) == ["int8", "int8-vnni", "int8-arm64"]
    assert audits["int8"] is not None and not audits["int8"].possible and audits["int8"].largest_sum <= 32_640
    full = audits["int8-vnni"]
    assert full is not None and full.possible and full.images == 48 and full == audits["int8-arm64"]
    assert full.largest_sum > 32_767 and full.without_vnni is not None and full.without_vnni.images == 48
    page = (several.path / "report.html").read_text()
    assert "The same answer on every CPU?" in page and "cannot saturate: its weights allow no sum" in page
    data = json.loads((several.path / "report.json").read_text())
    assert data["variants"][2]["saturation"]["agreement"] == full.agreement


def test_training_for_int8_goes_through_the_whole_export(source, tmp_path):
    quantization = QuantizationOptions(("mse", "minmax"), train=Schedule(3, 4))
    result = export_bundle(source, tmp_path / "kiosk.bundle", ExportOptions(Limits(20), quantization))
    assert TRAINED in {trial.method for trial in result.report.variants[1].repairs}
    assert TRAINED in (tmp_path / "kiosk.bundle" / "report.html").read_text()
    assert Bundle.load(tmp_path / "kiosk.bundle").manifest.variants[1].precision == "int8"


def test_unknown_target_is_named(source, tmp_path):
    with pytest.raises(InputError, match="unknown target 'tpu': choose one of portable, x86-vnni, arm64"):
        export_bundle(source, tmp_path / "kiosk.bundle", ExportOptions(targets=("tpu",)))


def test_a_calibration_photo_among_the_evaluation_leaves_no_bundle(source, tmp_path):
    from sightline.export.calibration import choose_calibration

    with pytest.raises(InputError, match="both a calibration and an evaluation photo"):
        choose_calibration([*source.gallery, source.evaluation[0]], source.evaluation)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "keep.txt").write_text("mine")
    with pytest.raises(BundleError, match="neither empty nor a bundle"):
        export_bundle(source, photos)
    assert (photos / "keep.txt").read_text() == "mine"


def test_an_empty_rate_spans_everything():
    from sightline.export.evaluate import rate

    assert rate(np.array([], bool)) == Rate(pytest.approx(float("nan"), nan_ok=True), 0.0, 1.0, 0)


# --- the command line ---------------------------------------------------------------------------------------


def sightline(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SIGHTLINE, *map(str, words)], capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A torchvision state dict with four outputs, its labels, and photos labelled by index."""
    folder = tmp_path_factory.mktemp("ready")
    source = trained_source(folder / "fit", per_class=12)
    state = {key.removeprefix("trunk."): value for key, value in source.model.state_dict().items() if "trunk." in key}
    state |= {f"fc.{key}": value for key, value in source.model.classifier.state_dict().items()}
    torch.save(state, folder / "weights.pth")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    photos = draw_folder(folder / "photos", 16, first_seed=500)
    rows = [f"{image.path.relative_to(folder)},{LABELS.index(image.label)}" for image in photos]
    (folder / "photos.csv").write_text("\n".join(["file,class_index", *rows]) + "\n")
    return folder


def words(ready: Path, **changes: object) -> list[object]:
    given = {
        "arch": "resnet18",
        "weights": ready / "weights.pth",
        "labels": ready / "labels.txt",
        "data": ready / "photos.csv",
        "label-column": "class_index",
        "dim": 32,
    } | changes
    return [part for key, value in given.items() for part in (f"--{key}", value)]


def test_ready_weights_become_a_bundle_without_training(ready, tmp_path):
    out = tmp_path / "kiosk.bundle"
    chosen = ("--target", "portable", "--target", "cuda", "--qat", "--qat-steps", 2)
    done = sightline("export", *words(ready), "--max-drop", 20, "--out", out, "--json", *chosen)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["gate"]["passed"] and printed["bundle_id"] == Bundle.load(out).bundle_id
    assert printed["calibration"]["images"] == 32 and printed["variants"][0]["top1"]["images"] == 32
    assert [one["name"] for one in printed["variants"]] == ["fp32", "int8", "fp16"]
    assert "trained for int8" in {one["method"] for one in printed["variants"][1]["repairs"]}
    assert sightline("verify", out).returncode == 0


def test_a_failed_gate_ends_with_one_and_a_sentence_of_figures(ready, tmp_path, capsys):
    out = tmp_path / "kiosk.bundle"
    assert run(["export", *map(str, words(ready)), "--max-drop", "-100", "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert re.search(r"sightline: the gate failed, so fp32 is the default of .* points of top-1", said)
    assert Bundle.load(out).manifest.default_variant == "fp32"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"arch": "resnet19"}, "unknown architecture 'resnet19': choose one of"),
        ({"arch": "mobilenet_v2"}, "are not of mobilenet_v2"),
        ({"weights": "missing.pth"}, "do not exist"),
        ({"label-column": "name"}, "has no column 'name'"),
        ({"data": "missing.csv"}, "does not exist"),
        ({"labels": "missing.txt"}, "cannot be read"),
    ],
)
def test_bad_input_is_one_sentence_and_no_bundle(ready, tmp_path, capsys, changes, sentence):
    code = run(["export", *map(str, words(ready, **changes)), "--out", str(tmp_path / "kiosk.bundle")])
    assert code == 1 and sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [[], ["run", "--arch", "resnet18"], ["--arch", "resnet18"]])
def test_wrong_usage_is_two(tmp_path, capsys, arguments):
    assert run(["export", *arguments, "--out", str(tmp_path / "kiosk.bundle")]) == 2
    assert "--weights" in capsys.readouterr().err
