import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score, top_k_accuracy_score

from sightline.runtime.evaluation import area_under_curve, leave_one_out, per_class, top_k
from tests.factories import unit


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
