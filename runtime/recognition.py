"""The answer: what the model says of a frame, what the gallery says, and the decision that joins them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import exp
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
        threshold: The similarity from which it counts, where the gallery was calibrated; None leaves it to
            the bundle's policy.
    """

    id: int
    label: str
    similarity: float
    metadata: dict[str, str]
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said to the user.

    Attributes:
        label: The answer, or None when unknown; of a frame with several labels all of them as one text.
        known: Whether it is known.
        confidence: The classifier's probability or the gallery's similarity, whichever decided; of several labels
            that of the least probable; for an unknown item the classifier's probability of its first answer.
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
        top: The classifier's first answers, most probable first; empty where the bundle answers by gallery alone, all
            of them where a frame may have several labels.
        matches: The gallery's nearest entries, most similar first; empty without a gallery.
        probabilities: float32, shape (classes,), in the order of the bundle's labels; what they lack to one is the
            probability that it is none of them. Of a multi-label bundle each label's own.
        embedding: float32, shape (dim,), unit length.
        latency: Where the time went; a batch's time is shared evenly.
        labels: Of a multi-label bundle the labels above their thresholds, most probable first; else None.
    """

    decision: Decision
    top: tuple[Candidate, ...]
    matches: tuple[Match, ...]
    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]
    latency: Latency
    labels: tuple[Candidate, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields of one `predict --json` line, without the image's name."""
        decision, latency = self.decision, self.latency
        several = {} if self.labels is None else {"labels": _candidates(self.labels)}
        return {
            "label": decision.label,
            "known": decision.known,
            "confidence": round(decision.confidence, 4),
            "decided_by": decision.decided_by,
            **several,
            "top": _candidates(self.top),
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


def _candidates(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    return [{"label": one.label, "probability": round(one.probability, 4)} for one in candidates]


def softmax(logits: NDArray[np.float32], temperature: float, unknown_logit: float | None = None) -> NDArray[np.float32]:
    """Turn logits (..., classes) into probabilities, divided by the temperature first.

    Args:
        logits: float32, shape (..., classes).
        temperature: Divides the logits.
        unknown_logit: The divided logit of one more class, "unknown", whose probability is left out: what comes
            back then sums to less than one.
    """
    scaled = logits / np.float32(temperature)
    # Exponentials are taken relative to the largest, so that none overflows.
    top = scaled.max(axis=-1, keepdims=True)
    if unknown_logit is not None:
        top = np.maximum(top, np.float32(unknown_logit))
    raised = np.exp(scaled - top)
    total = raised.sum(axis=-1, keepdims=True)
    if unknown_logit is not None:
        total = total + np.exp(np.float32(unknown_logit) - top)
    return np.asarray(raised / total, np.float32)


def sigmoid(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Turn logits (..., labels) into the probability of each label by itself, divided by the temperature first."""
    scaled = logits / np.float32(temperature)
    return np.asarray(0.5 * (1 + np.tanh(0.5 * scaled)), np.float32)


def decide(
    top: Sequence[Candidate], matches: Sequence[Match], policy: DecisionPolicy, labels: Collection[str]
) -> Decision:
    """Join classifier and gallery.

    A taught item, whose label the classifier lacks, is the gallery's alone: it wins where it is the nearest entry
    and similar enough. For labels that the classifier has both are weighed (see `weigh`), so that a look-alike in
    the gallery does not name what the classifier refuses. Where neither names anything a taught item behind
    nearer entries still may; the rest is unknown.

    Args:
        top: The classifier's answers, most probable first; at least one.
        matches: The gallery's nearest entries, most similar first.
        policy: The thresholds, calibrated at export.
        labels: All labels that the classifier has.
    """
    near = [match for match in matches if match.similarity >= needed_similarity(match, policy)]
    taught = [match for match in near if match.label not in labels]
    if taught and taught[0] is matches[0]:
        return _from_gallery(taught[0])
    best = max(weigh(top, matches, policy), key=lambda candidate: candidate.probability)
    if best.probability >= policy.min_probability:
        own = next(candidate for candidate in top if candidate.label == best.label)
        if own is top[0] and own.probability >= policy.min_probability:
            return Decision(own.label, True, own.probability, "classifier")
        return _from_gallery(next(match for match in matches if match.label == best.label))
    return _from_gallery(taught[0]) if taught else Decision(None, False, top[0].probability, None)


def decide_by_gallery(matches: Sequence[Match], policy: DecisionPolicy) -> Decision:
    """Answer by the gallery alone: the nearest entry that is similar enough, or unknown.

    Args:
        matches: The gallery's nearest entries, most similar first.
        policy: The threshold, where an entry brings none of its own.

    Returns:
        The decision; for an unknown item its confidence is the nearest entry's similarity, 0 without one.
    """
    near = next((match for match in matches if match.similarity >= needed_similarity(match, policy)), None)
    if near is not None:
        return _from_gallery(near)
    return Decision(None, False, matches[0].similarity if matches else 0.0, None)


def decide_labels(
    labels: Sequence[Candidate],
    top: Sequence[Candidate],
    matches: Sequence[Match],
    policy: DecisionPolicy,
    known: Collection[str],
) -> Decision:
    """Answer with every label of a frame that counts; an item that was taught wins where it is the nearest entry.

    For labels that the classifier has the gallery says nothing: how alike two photos are does not tell which of
    their labels they share. Where no label counts an item taught behind nearer entries still may; the rest is
    unknown.

    Args:
        labels: The classifier's labels above their thresholds, most probable first.
        top: All of its labels, most probable first.
        matches: The gallery's nearest entries, most similar first.
        policy: The thresholds, calibrated at export.
        known: All labels that the classifier has.
    """
    near = [match for match in matches if match.similarity >= needed_similarity(match, policy)]
    taught = [match for match in near if match.label not in known]
    if taught and (not labels or taught[0] is matches[0]):
        return _from_gallery(taught[0])
    if labels:
        return Decision(", ".join(one.label for one in labels), True, labels[-1].probability, "classifier")
    return Decision(None, False, top[0].probability, None)


def weigh(top: Sequence[Candidate], matches: Sequence[Match], policy: DecisionPolicy) -> list[Candidate]:
    """Give the classifier's answers with the gallery's word counted in.

    The nearest entry of a label multiplies its odds by exp(weight * (similarity - threshold)): by Bayes' rule what
    an independent second witness does. It speaks only from a similarity that half of the known items reach: foreign
    items come as near as the other half do. Below it a match says nothing, so a gallery with few entries of a label
    does not speak against it.

    Args:
        top: The classifier's answers, most probable first.
        matches: The gallery's nearest entries, most similar first.
        policy: Threshold and weight.
    """
    gain: dict[str, float] = {}
    for match in matches:
        excess = max(0.0, match.similarity - policy.supporting_similarity)
        gain.setdefault(match.label, exp(policy.similarity_weight * excess))
    total = 1 + sum(one.probability * (gain.get(one.label, 1.0) - 1) for one in top)
    return [Candidate(one.label, one.probability * gain.get(one.label, 1.0) / total) for one in top]


def needed_similarity(match: Match, policy: DecisionPolicy) -> float:
    """The similarity from which a match counts: its calibrated gallery's, or the bundle's."""
    return policy.min_similarity if match.threshold is None else match.threshold


def _from_gallery(match: Match) -> Decision:
    # The cosine of a photo with itself can round to just above 1.
    return Decision(match.label, True, min(match.similarity, 1.0), "gallery")
