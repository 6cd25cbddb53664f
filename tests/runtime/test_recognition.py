import numpy as np
import pytest

from sightline.runtime import Candidate, Match
from sightline.runtime.manifest import DecisionPolicy
from sightline.runtime.recognition import decide, decide_by_gallery, softmax, weigh

POLICY = DecisionPolicy(min_probability=0.6, min_similarity=0.8)


def match(label: str, similarity: float) -> Match:
    return Match(1, label, similarity, {})


@pytest.mark.parametrize(
    ("probability", "matches", "label", "decided_by"),
    [
        (0.9, [], "mug", "classifier"),
        (0.9, [match("cup", 0.5)], "mug", "classifier"),
        (0.9, [match("cup", 0.85)], "cup", "gallery"),  # what was taught wins where it is similar enough
        (0.3, [match("cup", 0.85)], "cup", "gallery"),
        (0.3, [match("cup", 0.79)], None, None),
        (0.3, [], None, None),
        (0.6, [], "mug", "classifier"),
    ],
)
def test_decide(probability: float, matches: list[Match], label: str | None, decided_by: str | None) -> None:
    decision = decide([Candidate("mug", probability)], matches, POLICY, {"mug"})
    assert (decision.label, decision.decided_by, decision.known) == (label, decided_by, label is not None)


WEIGHED = DecisionPolicy(min_probability=0.6, min_similarity=0.7, supporting_similarity=0.8, similarity_weight=20.0)
TOP = [Candidate("mug", 0.5), Candidate("bowl", 0.3)]


@pytest.mark.parametrize(
    ("top", "matches", "label", "decided_by"),
    [
        # For a label that the classifier has, a match alone is not enough.
        ([Candidate("mug", 0.1)], [match("mug", 0.85)], None, None),
        (TOP, [match("mug", 0.79)], None, None),
        (TOP, [match("mug", 0.9)], "mug", "gallery"),
        (TOP, [match("bowl", 0.95)], "bowl", "gallery"),
        # Two labels that both could be: better unknown than wrong.
        ([Candidate("mug", 0.65), Candidate("bowl", 0.3)], [match("bowl", 0.84)], None, None),
        ([Candidate("mug", 0.65)], [match("bowl", 0.95)], "mug", "classifier"),
        # A calibrated gallery's own threshold holds.
        (TOP, [Match(1, "cup", 0.85, {}, threshold=0.89)], None, None),
        # What was taught: nearest, or behind entries of labels that the classifier refuses.
        ([Candidate("mug", 0.65)], [match("cup", 0.85), match("mug", 0.84)], "cup", "gallery"),
        ([Candidate("mug", 0.01)], [match("mug", 0.9), match("cup", 0.85)], "cup", "gallery"),
        ([Candidate("mug", 0.9)], [match("mug", 0.9), match("cup", 0.85)], "mug", "classifier"),
        ([Candidate("mug", 0.01)], [match("mug", 0.9), match("cup", 0.69)], None, None),
    ],
)
def test_both_witnesses_are_weighed(
    top: list[Candidate], matches: list[Match], label: str | None, decided_by: str | None
) -> None:
    decision = decide(top, matches, WEIGHED, {"mug", "bowl"})
    assert (decision.label, decision.decided_by) == (label, decided_by)


def test_a_match_multiplies_the_odds() -> None:
    # With all classes given, weighing probabilities is adding to the logits.
    logits = np.array([1.0, 0.2, -0.5], np.float32)
    p = softmax(logits, 1.0, 0.7)
    top = [Candidate(name, float(one)) for name, one in zip("abc", p, strict=True)]
    got = weigh(top, [match("b", 0.9), match("c", 0.7), match("b", 0.85)], WEIGHED)
    expected = softmax(logits + np.float32([0, 20 * 0.1, 0]), 1.0, 0.7)
    np.testing.assert_allclose([one.probability for one in got], expected, rtol=1e-5)
    assert [one.label for one in got] == ["a", "b", "c"]


def test_unknown_is_one_more_class() -> None:
    logits = np.array([[3.0, 1.0], [-900.0, -901.0]], np.float32)
    whole = softmax(np.column_stack([logits / 2, np.full(2, 0.5)]).astype(np.float32), 1.0)
    np.testing.assert_allclose(softmax(logits, 2.0, 0.5), whole[:, :2], rtol=1e-6)


def test_softmax_at_a_temperature() -> None:
    logits = np.array([[1000.0, 1001.0], [0.0, 0.0]], np.float32)
    expected = 1 / (1 + np.exp(-0.5))
    np.testing.assert_allclose(softmax(logits, 2.0), [[1 - expected, expected], [0.5, 0.5]], rtol=1e-6)


@pytest.mark.parametrize(
    ("matches", "label", "confidence"),
    [
        ([match("mug", 0.85), match("cup", 0.84)], "mug", 0.85),  # labels of the training are nothing special
        ([match("mug", 0.79)], None, 0.79),
        ([Match(1, "cup", 0.85, {}, threshold=0.9), match("mug", 0.82)], "mug", 0.82),
        ([], None, 0.0),
    ],
)
def test_a_bundle_for_look_up_answers_by_its_gallery_alone(
    matches: list[Match], label: str | None, confidence: float
) -> None:
    decision = decide_by_gallery(matches, POLICY)
    assert (decision.label, decision.confidence, decision.known) == (label, confidence, label is not None)


def test_a_similarity_that_rounds_above_one_is_no_confidence_above_one():
    assert decide_by_gallery([match("mug", 1.0000001)], POLICY).confidence == 1.0
