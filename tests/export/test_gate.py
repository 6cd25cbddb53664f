"""Calibration choice, rates, the gate, thresholds, the bundle writer: figures against references."""

import resource
import signal
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sightline.export.calibration import choose_calibration, in_turn, split_for_calibration
from sightline.export.decision import KNOWN_ACCEPTANCE, choose_threshold, fit_decision, fit_temperature
from sightline.export.evaluate import Drift, Outputs, drift, nearest, rate, recall_at_1, top_k
from sightline.export.figures import confusions, reliability
from sightline.export.gate import Candidate, Limits, judge
from sightline.export.writer import check_place, file_entries, write_bundle
from sightline.runtime.bundle import Bundle
from sightline.runtime.errors import BundleError, InputError
from sightline.runtime.manifest import Embedding, Manifest, Variant
from sightline.runtime.recognition import softmax
from tests.export.nets import SPEC, draw_folder
from tests.factories import unit

# --- calibration -------------------------------------------------------------------------------------------


def test_calibration_takes_the_classes_in_turn_and_repeats(tmp_path):
    photos = draw_folder(tmp_path, 6)
    chosen = choose_calibration(photos, [], count=10)
    counts = [sum(image.label == label for image in chosen.images) for label in {image.label for image in photos}]
    assert len(chosen.images) == 10 and chosen.classes == 4 and max(counts) - min(counts) <= 1
    assert choose_calibration(photos, [], count=10).sha256 == chosen.sha256
    assert choose_calibration(photos, [], count=10, seed=1).sha256 != chosen.sha256


@pytest.mark.parametrize("copy", [False, True])
def test_a_photo_on_both_sides_is_refused_by_file_and_by_content(tmp_path, copy):
    photos = draw_folder(tmp_path, 4)
    judged = photos[3]
    if copy:
        other = tmp_path / "elsewhere.png"
        other.write_bytes(judged.path.read_bytes())
        judged = replace(judged, path=other)
    with pytest.raises(InputError, match="is both a calibration and an evaluation photo"):
        choose_calibration(photos, [judged])


def test_splitting_uses_every_photo_once(tmp_path):
    photos = draw_folder(tmp_path, 5)
    calibration, evaluation = split_for_calibration(photos, count=8)
    assert len(calibration) == 8 and len(evaluation) == 12
    assert {image.path for image in [*calibration, *evaluation]} == {image.path for image in photos}
    assert {image.label for image in calibration} == {image.label for image in photos}
    assert len(split_for_calibration(photos, count=300)[0]) == 10
    assert in_turn(reversed(photos), 0)[0].label == in_turn(photos, 0)[0].label


# --- figures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    # Wilson intervals as given by Newcombe 1998, table I (81 of 263, 15 of 148, 0 of 20, 1 of 29).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_interval_is_wilsons(right, images, low, high):
    measured = rate(np.arange(images) < right)
    assert measured.value == pytest.approx(right / images)
    assert (measured.low, measured.high) == pytest.approx((low, high), abs=1e-4)


def outputs(logits, embeddings=None) -> Outputs:
    logits = np.asarray(logits, np.float32)
    given = np.eye(len(logits), 8) if embeddings is None else embeddings
    return Outputs(logits, unit(np.asarray(given, np.float64)))


def test_drift_counts_what_is_lost_and_won():
    reference = outputs([[2, 1, 0], [2, 1, 0], [0, 1, 2], [0, 3, 2]])
    other = outputs([[2, 1, 0], [1, 2, 0], [0, 1, 2], [0, 2, 3]])
    truth = np.array([0, 0, 2, 2])
    found = drift(reference, other, truth)
    assert (found.agreement, found.lost, found.won) == (0.5, 1, 1)
    assert found.mean_cosine == pytest.approx(1) and found.neighbour_overlap == 1
    assert drift(reference, reference, truth).agreement == 1
    assert top_k(reference.logits, truth, 2).tolist() == [True, True, True, True]


def test_nearest_same_and_other_label_is_brute_force():
    random = np.random.default_rng(0)
    queries, gallery = (unit(random.normal(size=(count, 5))) for count in (300, 40))
    mine, theirs = random.integers(0, 4, 300), random.integers(0, 5, 40)
    same, other = nearest(queries, mine, gallery, theirs)
    for row in (0, 17, 299):
        cosine = gallery @ queries[row]
        assert same[row] == pytest.approx(cosine[theirs == mine[row]].max(), abs=1e-6)
        assert other[row] == pytest.approx(cosine[theirs != mine[row]].max(), abs=1e-6)
    assert np.isneginf(nearest(queries, np.full(300, 9), gallery, theirs)[0]).all()


def test_recall_leaves_out_labels_that_the_gallery_lacks():
    gallery = unit(np.eye(4))
    queries = unit(np.eye(4)[[0, 1, 2, 3]] + 0.1)
    found = recall_at_1(queries, np.array([0, 1, 9, 0]), gallery, np.array([0, 1, 2, 3]))
    assert (found.value, found.images) == (pytest.approx(2 / 3), 3)


def test_confusions_and_reliability():
    answers = outputs([[3, 0, 0]] * 4 + [[0, 3, 0]] * 2)
    truth = np.array([0, 0, 1, 1, 1, 2])
    pairs = confusions(answers, truth, ("a", "b", "c"))
    assert [(one.truth, one.answer, one.count) for one in pairs] == [("b", "a", 2), ("c", "b", 1)]
    figures = reliability(answers, truth, 1.0)
    sure = np.exp(3) / (np.exp(3) + 2)
    assert sum(figures.count) == 6 and figures.count[9] == 6
    assert figures.accuracy[9] == pytest.approx(0.5)
    assert figures.error == pytest.approx(sure - 0.5, abs=1e-6)


# --- the gate ----------------------------------------------------------------------------------------------


def candidate(name: str, right: int, images: int, speedup: float, size: int = 4_000_000) -> Candidate:
    return Candidate(name, rate(np.arange(images) < right), Drift(0.99, 0.99, 0.98, 0.9, 3, 1), speedup, size)


@pytest.mark.parametrize(
    ("right", "speedup", "limits", "passed", "default", "words"),
    [
        (810, 1.8, Limits(0.5), True, "int8", "loses 0.00 points of top-1 on 1000 photos"),
        (805, 1.8, Limits(0.5), True, "int8", "1.80 times as fast"),
        (804, 1.8, Limits(0.5), False, "fp32", "loses 0.60 points"),
        (820, 1.8, Limits(0.5), True, "int8", "gains 1.00 points"),
        (810, 0.8, Limits(0.5), True, "fp32", "fp32 is the default, because nothing is faster"),
        (810, 1.8, Limits(0.5, min_speedup=2.0), False, "fp32", "less than the 2 asked by --min-speedup"),
        (810, 1.8, Limits(0.5, max_bytes=3_000_000), False, "fp32", "4,000,000 bytes, more than the 3,000,000"),
        (810, 1.8, Limits(-0.1), False, "fp32", "more than the -0.1 points allowed"),
    ],
)
def test_gate(right, speedup, limits, passed, default, words):
    result = judge(candidate("fp32", 810, 1000, 1.0, 9_000_000), [candidate("int8", right, 1000, speedup)], limits)
    assert (result.passed, result.default_variant, result.images) == (passed, default, 1000)
    assert words in " ".join(result.reasons)
    assert result.drop == pytest.approx((810 - right) / 10)


def test_gate_takes_the_first_that_is_fit_and_never_one_that_was_not_timed():
    reference = candidate("fp32", 810, 1000, 1.0)
    slow, fast = candidate("int8", 810, 1000, 0.9), candidate("int8-vnni", 810, 1000, 1.5)
    elsewhere = replace(candidate("int8-arm64", 810, 1000, 3.0), timed=False)
    assert judge(reference, [elsewhere, slow, fast], Limits()).default_variant == "int8-vnni"
    assert judge(reference, [elsewhere], Limits(min_speedup=4)).default_variant == "fp32"
    assert judge(reference, [elsewhere], Limits(min_speedup=4)).passed
    lossy = candidate("int8", 700, 1000, 2.0)
    both = judge(reference, [lossy, fast], Limits())
    assert not both.passed and both.default_variant == "int8-vnni" and both.drop == pytest.approx(11)


def test_gate_says_when_one_photo_is_more_than_the_limit():
    result = judge(candidate("fp32", 20, 40, 1.0), [candidate("int8", 19, 40, 2.0)], Limits(0.5))
    assert not result.passed and "one photo is 2.50 points, so give more evaluation photos" in result.reasons[0]


# --- thresholds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_temperature_is_recovered(true_temperature):
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (6000, 5))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([random.choice(5, p=share) for share in shares])
    found = fit_temperature((logits * true_temperature).astype(np.float32), truth)
    assert found == pytest.approx(true_temperature, rel=0.06)


def test_temperature_stays_sane_where_every_answer_is_right():
    truth = np.arange(100) % 5
    found = fit_temperature((6.0 * np.eye(5)[truth]).astype(np.float32), truth)
    # One doubt in 102 among five classes: 6 / T = log(101 * 4).
    assert found == pytest.approx(6 / np.log(101 * 4), rel=1e-3)


def test_threshold_keeps_the_false_accept_rate_where_it_can():
    random = np.random.default_rng(0)
    known, unknown = random.normal(0.635, 0.05, 1000), random.normal(0.5, 0.05, 1000)
    cut = choose_threshold(known.astype(np.float32), unknown.astype(np.float32))
    assert cut is not None and not cut.balanced
    assert cut.false_accept_rate == pytest.approx((unknown >= cut.value).mean(), abs=1e-3)
    assert 0.04 <= cut.false_accept_rate <= 0.05 and 0.05 < cut.false_reject_rate <= 0.2


def test_threshold_is_raised_while_the_known_are_spared():
    random = np.random.default_rng(0)
    known, unknown = random.normal(0.8, 0.05, 1000), random.normal(0.4, 0.05, 1000)
    cut = choose_threshold(known.astype(np.float32), unknown.astype(np.float32))
    assert cut is not None and not cut.balanced
    assert cut.value == pytest.approx(np.quantile(known, 0.05), abs=1e-3)
    assert 0.04 <= cut.false_reject_rate <= 0.055 and cut.false_accept_rate == 0


def test_threshold_is_balanced_where_the_aim_rejects_too_many():
    random = np.random.default_rng(0)
    known, unknown = random.normal(0.55, 0.1, 2000), random.normal(0.45, 0.1, 2000)
    cut = choose_threshold(known.astype(np.float32), unknown.astype(np.float32))
    assert cut is not None and cut.balanced
    assert cut.false_accept_rate == pytest.approx(cut.false_reject_rate, abs=0.01)
    assert choose_threshold(known[:5].astype(np.float32), unknown.astype(np.float32)) is None


def test_policy_says_how_it_was_measured():
    random = np.random.default_rng(0)
    truth, gallery_truth = random.integers(0, 4, 200), random.integers(0, 4, 300)
    centres = random.normal(size=(4, 16))
    logits = 6.0 * np.eye(4)[truth] + random.normal(size=(200, 4))
    queries = outputs(logits, centres[truth] + random.normal(0, 0.3, (200, 16)))
    gallery = outputs(np.zeros((300, 4)), centres[gallery_truth] + random.normal(0, 0.3, (300, 16)))
    policy = fit_decision(queries, truth, gallery, gallery_truth).policy
    assert policy.images == 200 and "striking the true class" in policy.method
    assert policy.gallery_false_accept_rate is not None and policy.gallery_false_accept_rate <= 0.05
    assert 0 < policy.min_probability < 1 and policy.unknown_logit is not None and policy.similarity_weight >= 0
    assert policy.false_reject_rate == pytest.approx(1 - KNOWN_ACCEPTANCE, abs=0.01)
    assert "aimed at 90% of the known" in policy.method


def test_unknown_takes_the_photos_in_which_no_logit_stands_out():
    random = np.random.default_rng(1)
    truth = random.integers(0, 6, 300)
    logits = 6.0 * np.eye(6)[truth] + random.normal(0, 0.7, (300, 6))
    same = outputs(logits, np.eye(8)[truth])
    policy = fit_decision(same, truth, same, truth).policy
    # All logits alike but low: the usual softmax is sure of the first, for it stands out among the others.
    foreign = np.float32([[2.0, -4, -4, -4, -4, -4], [2.0, 2.0, 2.0, 2.0, 2.0, 2.0]])
    assert softmax(foreign, policy.temperature)[0].max() > policy.min_probability
    said = softmax(foreign, policy.temperature, policy.unknown_logit)
    assert said.max() < policy.min_probability and said.sum(axis=1).max() < 1


def test_the_gallery_weighs_more_where_it_knows_more():
    random = np.random.default_rng(2)
    truth = random.integers(0, 5, 250)
    logits = 1.5 * np.eye(5)[truth] + random.normal(0, 1.0, (250, 5))

    def most_gain(clusters: np.ndarray, of_gallery: np.ndarray) -> float:
        queries, gallery = (
            outputs(logits, np.eye(5, 12)[where] + random.normal(0, 0.1, (250, 12))) for where in (clusters, of_gallery)
        )
        policy = fit_decision(queries, truth, gallery, truth).policy
        return policy.similarity_weight * (1 - policy.supporting_similarity)

    blind = random.integers(0, 5, (2, 250))
    assert most_gain(truth, truth) > 2 * most_gain(*blind) >= 0


def test_without_two_photos_of_a_class_the_gallery_threshold_is_the_default():
    truth = np.arange(30)
    queries = outputs(np.eye(30) * 5, np.eye(30))
    fit = fit_decision(queries, truth, outputs(np.eye(30)[:, :30], np.eye(30)), truth + 100)
    assert fit.policy.gallery_false_accept_rate is None and fit.policy.min_similarity == 0.7
    assert "the threshold is the default" in fit.policy.method


# --- the writer --------------------------------------------------------------------------------------------


def content(size: int = 1000) -> tuple[Manifest, dict[str, bytes]]:
    files = {"model.fp32.onnx": b"m" * size, "golden/golden.json": b"[]"}
    entries = file_entries(files)
    model = entries["model.fp32.onnx"]
    variant = Variant("fp32", "fp32", "any", "model.fp32.onnx", model.sha256, model.bytes)
    return Manifest("tiny", ("a", "b"), SPEC, Embedding(4, "id"), (variant,), "fp32", entries), files


@pytest.mark.parametrize("name", ["kiosk.bundle", "kiosk.sightline"])
def test_bundle_as_folder_and_as_archive(tmp_path, name):
    manifest, files = content()
    written = write_bundle(tmp_path / name, manifest, files)
    loaded = Bundle.load(tmp_path / name)
    assert loaded.bundle_id == written.bundle_id and {one: loaded.read(one) for one in files} == files
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_archive_is_uncompressed_and_the_same_each_time(tmp_path):
    for name in ("a.sightline", "b.sightline"):
        write_bundle(tmp_path / name, *content())
    assert (tmp_path / "a.sightline").read_bytes() == (tmp_path / "b.sightline").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.sightline") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("name", ["kiosk.bundle", "kiosk.sightline"])
def test_a_full_disk_leaves_the_old_bundle_whole(tmp_path, name):
    place = tmp_path / name
    before = write_bundle(place, *content()).bundle_id
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(BundleError, match=r"could not be written .*what stood there before is untouched"):
            write_bundle(place, *content(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    assert Bundle.load(place).bundle_id == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_place_that_is_no_bundle_is_never_replaced(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"x")
    (tmp_path / "notes.sightline").write_text("mine")
    for place in (photos, photos / "cat.jpg", tmp_path / "notes.sightline"):
        with pytest.raises(BundleError, match="name another place with --out"):
            write_bundle(place, *content())
    assert (photos / "cat.jpg").read_bytes() == b"x"
    with pytest.raises(BundleError, match="cannot be written"):
        check_place(photos / "cat.jpg" / "below" / "bundle")
    assert check_place(tmp_path / "new" / "kiosk.bundle") == Path(tmp_path / "new" / "kiosk.bundle")
