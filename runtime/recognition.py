"""The answer: what the model says of a frame, what the gallery says, and the decision that joins them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .manifest import DecisionPolicy


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the classifier's answers, with its probability from 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Match:
    """One gallery entry near the query.

    Attributes:
        id: The entry's id in the gallery.
        label: The entry's label.
        similarity: Cosine with the query, -1 to 1.
        metadata: What was stored with it.
    """

    id: int
    label: str
    similarity: float
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said to the user.

    Attributes:
        label: The answer, or None when unknown.
        known: Whether it is known.
        confidence: The classifier's probability or the gallery's similarity, whichever decided; for an
            unknown item the classifier's probability of its first answer.
        decided_by: "classifier", "gallery", or None when unknown.
    """

    label: str | None
    known: bool
    confidence: float
    decided_by: str | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Where the time of one answer went, milliseconds."""

    preprocess_ms: float
    inference_ms: float
    lookup_ms: float

    @property
    def total_ms(self) -> float:
        """The sum, frame to answer."""
        return self.preprocess_ms + self.inference_ms + self.lookup_ms


@dataclass(frozen=True, slots=True)
class Recognition:
    """The answer to one frame.

    Attributes:
        decision: What is said to the user.
        top: The classifier's first answers, most probable first.
        matches: The gallery's nearest entries, most similar first; empty without a gallery.
        probabilities: float32, shape (classes,), sums to one, in the order of the bundle's labels.
        embedding: float32, shape (dim,), unit length.
        latency: Where the time went; a batch's time is shared evenly.
    """

    decision: Decision
    top: tuple[Candidate, ...]
    matches: tuple[Match, ...]
    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]
    latency: Latency

    def to_dict(self) -> dict[str, Any]:
        """The fields of one `predict --json` line, without the image's name."""
        decision, latency = self.decision, self.latency
        return {
            "label": decision.label,
            "known": decision.known,
            "confidence": round(decision.confidence, 4),
            "decided_by": decision.decided_by,
            "top": [{"label": one.label, "probability": round(one.probability, 4)} for one in self.top],
            "matches": [
                {"id": one.id, "label": one.label, "similarity": round(one.similarity, 4), "metadata": one.metadata}
                for one in self.matches
            ],
            "latency_ms": {
                "preprocess": round(latency.preprocess_ms, 3),
                "inference": round(latency.inference_ms, 3),
                "lookup": round(latency.lookup_ms, 3),
                "total": round(latency.total_ms, 3),
            },
        }


def softmax(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Turn logits (..., classes) into probabilities, divided by the temperature first."""
    scaled = logits / np.float32(temperature)
    raised = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), np.float32)


def decide(top: Sequence[Candidate], matches: Sequence[Match], policy: DecisionPolicy) -> Decision:
    """Join classifier and gallery: what was taught wins where it is similar enough; else unknown counts.

    Args:
        top: The classifier's answers, most probable first; at least one.
        matches: The gallery's nearest entries, most similar first.
        policy: The thresholds, calibrated at export.
    """
    if matches and matches[0].similarity >= policy.min_similarity:
        return Decision(matches[0].label, True, matches[0].similarity, "gallery")
    if top[0].probability >= policy.min_probability:
        return Decision(top[0].label, True, top[0].probability, "classifier")
    return Decision(None, False, top[0].probability, None)
