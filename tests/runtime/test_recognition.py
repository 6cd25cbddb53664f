import numpy as np
import pytest

from sightline.runtime import Candidate, Match
from sightline.runtime.manifest import DecisionPolicy
from sightline.runtime.recognition import decide, softmax

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
    decision = decide([Candidate("mug", probability)], matches, POLICY)
    assert (decision.label, decision.decided_by, decision.known) == (label, decided_by, label is not None)


def test_softmax_at_a_temperature() -> None:
    logits = np.array([[1000.0, 1001.0], [0.0, 0.0]], np.float32)
    expected = 1 / (1 + np.exp(-0.5))
    np.testing.assert_allclose(softmax(logits, 2.0), [[1 - expected, expected], [0.5, 0.5]], rtol=1e-6)
