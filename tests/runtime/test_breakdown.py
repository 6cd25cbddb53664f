"""Figures against scikit-learn's, and groups against counting."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    normalized_mutual_info_score,
    precision_recall_fscore_support,
)

from sightline.runtime.breakdown import break_down, check_columns
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.errors import InputError
from sightline.runtime.ranking import average_precision, cluster_agreement, mutual_information, retrieval_precision
from sightline.runtime.rates import rate, reliability
from sightline.runtime.recognition import Decision, Latency, Recognition
from tests.factories import unit

LABELS = tuple("abcd")


def answers(probabilities: np.ndarray, embeddings: np.ndarray) -> list[Recognition]:
    decision, latency = Decision(None, False, 0.0, None), Latency(0, 0, 0)
    return [
        Recognition(decision, (), (), row.astype(np.float32), vector, latency)
        for row, vector in zip(probabilities, embeddings, strict=True)
    ]


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_agrees_with_scikit_learn(ties: bool) -> None:
    random = np.random.default_rng(0)
    scores = (random.integers(0, 6, 200) if ties else random.random(200)).astype(np.float32)
    relevant = random.random(200) < 0.2
    assert average_precision(scores, relevant) == pytest.approx(average_precision_score(relevant, scores))


def test_mutual_information_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(1)
    first, second = random.integers(0, 5, 300).tolist(), random.integers(0, 4, 300).tolist()
    assert mutual_information(first, second) == pytest.approx(normalized_mutual_info_score(first, second))
    assert mutual_information(first, first) == pytest.approx(1)


def test_embeddings_in_tight_clusters_are_perfect_and_random_ones_are_not() -> None:
    random = np.random.default_rng(2)
    labels = [label for label in "abcdef" for _ in range(12)]
    tight = unit(np.repeat(random.normal(size=(6, 16)), 12, axis=0) + 0.01 * random.normal(size=(72, 16)))
    assert retrieval_precision(tight, labels) == pytest.approx(1) and cluster_agreement(tight, labels) == pytest.approx(
        1
    )
    loose = unit(random.normal(size=(72, 16)))
    assert retrieval_precision(loose, labels) < 0.35 and cluster_agreement(loose, labels) < 0.5
    assert retrieval_precision(loose, [str(row) for row in range(72)]) is None
    assert cluster_agreement(loose, ["a"] * 72) is None


def test_calibration_error_is_the_weighted_gap() -> None:
    found = reliability(np.array([0.95, 0.95, 0.65, 1.0], np.float32), np.array([True, False, True, True]))
    assert found.error == pytest.approx((3 * abs((0.95 + 0.95 + 1) / 3 - 2 / 3) + 0.35) / 4)
    assert found.count[9] == 3 and found.count[6] == 1 and found.confidence[0] is None


@pytest.mark.parametrize(("hits", "images", "low", "high"), [(81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611)])
def test_intervals_are_wilsons(hits: int, images: int, low: float, high: float) -> None:
    # The first case is Newcombe (1998), table I, method 3.
    found = rate(np.arange(images) < hits)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_averages_confusions_and_groups() -> None:
    random = np.random.default_rng(3)
    truth = random.integers(0, 4, 240)
    lights = np.where(random.random(240) < 0.3, "dark", "bright")
    # In the dark every b is taken for c.
    said = np.where((lights == "dark") & (truth == 1), 2, truth)
    probabilities = 0.1 + 0.6 * np.eye(4)[said] + 0.01 * random.random((240, 4))
    images = [LabelledImage(Path(f"{row}.jpg"), LABELS[one], {"light": lights[row]}) for row, one in enumerate(truth)]
    images.append(LabelledImage(Path("other.jpg"), "never trained"))
    probabilities = np.vstack([probabilities, np.full(4, 0.25)])
    found = break_down(answers(probabilities, unit(random.normal(size=(241, 8)))), images, LABELS, ["light"])
    expected = precision_recall_fscore_support(truth, said, average="macro")[:3]
    averages = found.averages
    assert (averages.macro_precision, averages.macro_recall, averages.macro_f1) == pytest.approx(expected)
    assert averages.micro_f1 == pytest.approx(f1_score(truth, said, average="micro"))
    assert averages.average_precision == pytest.approx(
        np.mean([average_precision_score(truth == one, probabilities[:240, one]) for one in range(4)])
    )
    missed = int(((lights == "dark") & (truth == 1)).sum())
    assert [(one.truth, one.answer, one.count, len(one.files)) for one in found.confusions] == [("b", "c", missed, 3)]
    assert found.confusion_matrix["b"] == {"b": int((said[truth == 1] == 1).sum()), "c": missed}
    dark, bright, none = (found.groups["light"][value] for value in ("dark", "bright", "(none)"))
    assert dark.images == (lights == "dark").sum() and dark.weak and not bright.weak
    assert dark.top1.value == pytest.approx(1 - missed / dark.images) and bright.top1.value == 1
    assert none.top1 is None and none.images == 1 and next(iter(found.groups["light"])) == "dark"


def test_a_model_without_labels_has_only_embeddings() -> None:
    images = [LabelledImage(Path(f"{row}.jpg"), "ab"[row % 2]) for row in range(8)]
    vectors = unit(np.eye(2)[np.arange(8) % 2] + 0.01)
    found = break_down(answers(np.zeros((8, 0)), vectors), images, ())
    assert (found.averages, found.calibration, found.confusions, found.groups) == (None, None, (), {})
    assert found.embeddings.mean_average_precision == pytest.approx(1)


def test_an_unknown_column_is_named_beside_those_there_are() -> None:
    images = [LabelledImage(Path("a.jpg"), "a", {"site": "north"})]
    with pytest.raises(InputError, match="no column 'light' to group by, only site"):
        check_columns(images, ["light"])
