import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score, roc_curve, top_k_accuracy_score

from sightline.runtime import Bundle
from sightline.runtime.evaluation import decision_scores, leave_one_out, per_class, top_k
from sightline.runtime.manifest import DecisionPolicy
from sightline.runtime.rates import area_under_curve, false_accepts
from sightline.runtime.recognition import Candidate, Decision, Latency, Match, Recognition
from tests.factories import tiny_bundle, unit


def test_top_k_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    scores, truth = random.random((200, 12)).astype(np.float32), random.integers(0, 12, 200)
    for k in (1, 5):
        assert top_k(scores, truth, k) == pytest.approx(top_k_accuracy_score(truth, scores, k=k, labels=range(12)))


def test_per_class_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(1)
    truth, said = random.choice(list("abcd"), 300).tolist(), random.choice(list("abcde"), 300).tolist()
    ours = per_class(said, truth)
    theirs = precision_recall_fscore_support(truth, said, labels=list("abcd"), zero_division=0)
    for index, label in enumerate("abcd"):
        one = ours[label]
        assert (one.precision, one.recall, one.f1, one.images) == pytest.approx([row[index] for row in theirs])


def test_area_under_curve_agrees_with_scikit_learn_ties_included() -> None:
    random = np.random.default_rng(2)
    positive, negative = random.integers(2, 9, 80).astype(float), random.integers(0, 7, 50).astype(float)
    truth = np.r_[np.ones(80), np.zeros(50)]
    expected = roc_auc_score(truth, np.r_[positive, negative])
    assert area_under_curve(positive, negative) == pytest.approx(expected)
    assert area_under_curve(positive, np.array([])) is None


def test_leave_one_out_never_finds_the_image_itself() -> None:
    embeddings = unit(np.array([[1, 0.0], [1, 0.1], [0, 1.0], [0.1, 1], [1, 1.0]]))
    result = leave_one_out(embeddings, ["a", "a", "b", "b", "alone"])
    assert result is not None
    assert (result.recall_at_1, result.images) == (1.0, 4)
    assert leave_one_out(embeddings, list("abcde")) is None


def test_leave_one_out_with_more_copies_than_are_looked_at() -> None:
    result = leave_one_out(np.tile(unit(np.array([[1.0, 2.0]])), (20, 1)), ["a"] * 10 + ["b"] * 10)
    assert result is not None and result.images == 20


def answer(probability: float, similarity: float, threshold: float) -> Recognition:
    match = Match(1, "taught", similarity, {}, threshold)
    nothing = np.zeros(1, np.float32)
    said = Decision(None, False, 0.0, None)
    return Recognition(said, (Candidate("known", probability),), (match,), nothing, nothing, Latency(0, 0, 0))


@pytest.mark.parametrize("threshold", [-0.02, 0.0, 0.5, 1.0])
def test_scores_rise_with_the_similarity_whatever_the_threshold(tmp_path, threshold: float) -> None:
    manifest = Bundle.load(tiny_bundle(tmp_path / "b", policy=DecisionPolicy(min_probability=0.5))).manifest
    scores = decision_scores([answer(0.0, one, threshold) for one in (-1.0, -0.5, threshold, 1.0)], manifest)
    assert (np.diff(scores) >= 0).all() and (scores[:2] < 1).all() and scores[2] >= 1 and scores[3] <= 2


def test_a_threshold_of_zero_is_met_by_every_probability(tmp_path) -> None:
    manifest = Bundle.load(tiny_bundle(tmp_path / "b", policy=DecisionPolicy(min_probability=0.0))).manifest
    assert (decision_scores([answer(one, -1, 0.9) for one in (0.0, 0.7)], manifest) >= 1).all()


def test_false_accepts_are_those_of_the_roc_curve() -> None:
    random = np.random.default_rng(3)
    known, unknown = random.integers(2, 30, 200).astype(float), random.integers(0, 25, 90).astype(float)
    fpr, tpr, _ = roc_curve(np.r_[np.ones(200), np.zeros(90)], np.r_[known, unknown], drop_intermediate=False)
    for accepted in (0.9, 0.95, 1.0):
        assert false_accepts(known, unknown, accepted) == pytest.approx(fpr[tpr >= accepted].min())
    assert false_accepts(known, np.array([]), 0.95) is None
