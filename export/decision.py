"""When an answer counts as known: temperature and thresholds, fitted to the shipped variant's own outputs.

Nobody photographs what a device will not know, so unknown items are imitated. For the classifier: the true
class is struck from the answer and the rest made to sum to one, which is what it would say of the same photo
had it never heard of that item. For the gallery: the nearest entry of another label, which is what it would
find had the item never been taught. Both are mild: the network was trained on these classes and tells them
apart better than classes it never saw.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.manifest import DecisionPolicy
from sightline.runtime.recognition import softmax

from .evaluate import Outputs, nearest

TARGET_FALSE_ACCEPT_RATE = 0.05
# A device that says "unknown" to every fifth known item is of no use; above it the balanced point is taken.
MOST_FALSE_REJECTS = 0.20
# Where known and imitated unknown lie far apart the aim is met by any cut between them. Real unknown items come
# nearer than imitated ones, so the cut goes as high as this share of the known allows.
SPARED_REJECTS = 0.05
# With two classes one is left when the other is struck, and it always has probability one.
_LEAST_CLASSES = 3
_LEAST_IMAGES = 20

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where a score is cut.

    Attributes:
        value: Scores at or above it are accepted.
        false_accept_rate: Share of the imitated unknown items at or above it.
        false_reject_rate: Share of the known items below it.
        balanced: Whether the aim would have rejected too many known items, so that both rates were evened out.
    """

    value: float
    false_accept_rate: float
    false_reject_rate: float
    balanced: bool


@dataclass(frozen=True, slots=True)
class DecisionFit:
    """A policy and the scores it was fitted to.

    Attributes:
        policy: What the bundle ships.
        known: Probability of right first answers.
        unknown: Probability of the first answer with the true class struck.
        same: Cosine to the nearest entry of the same label.
        other: Cosine to the nearest entry of another label.
    """

    policy: DecisionPolicy
    known: Scores
    unknown: Scores
    same: Scores
    other: Scores


def fit_decision(
    evaluation: Outputs, truth: NDArray[np.int64], gallery: Outputs, gallery_truth: NDArray[np.int64]
) -> DecisionFit:
    """Fit a policy to the outputs of the default variant.

    Args:
        evaluation: Its answers to photos it was not trained on.
        truth: Their classes.
        gallery: Its answers to training photos, which play the gallery.
        gallery_truth: Their classes.
    """
    temperature = fit_temperature(evaluation.logits, truth)
    known, unknown = _probabilities(evaluation.logits, truth, temperature)
    same, other = nearest(evaluation.embeddings, truth, gallery.embeddings, gallery_truth)
    both = np.isfinite(same) & np.isfinite(other)
    same, other = same[both], other[both]
    defaults = DecisionPolicy()
    probability = choose_threshold(known, unknown) if evaluation.logits.shape[1] >= _LEAST_CLASSES else None
    similarity = choose_threshold(same, other)
    policy = DecisionPolicy(
        temperature=temperature,
        min_probability=probability.value if probability else defaults.min_probability,
        min_similarity=similarity.value if similarity else defaults.min_similarity,
        target_false_accept_rate=TARGET_FALSE_ACCEPT_RATE,
        false_accept_rate=probability.false_accept_rate if probability else None,
        false_reject_rate=probability.false_reject_rate if probability else None,
        gallery_false_accept_rate=similarity.false_accept_rate if similarity else None,
        gallery_false_reject_rate=similarity.false_reject_rate if similarity else None,
        images=len(truth),
        method=_method(probability, similarity, len(truth), len(gallery_truth)),
    )
    return DecisionFit(policy, known, unknown, same, other)


def fit_temperature(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Find the temperature that makes probabilities fit how often answers are right.

    Minimises the negative log-likelihood (Guo et al. 2017, "On calibration of modern neural networks") over
    0.05 to 20 by golden-section search on its logarithm, where it has one minimum. The truth is given the
    probability (n + 1) / (n + 2) for n photos (Platt 1999): where every answer is right, certainty would fit best.
    """
    low, high = np.log(0.05), np.log(20.0)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _loss(logits, truth, float(np.exp(left))) < _loss(logits, truth, float(np.exp(right))):
            high = right
        else:
            low = left
    return round(float(np.exp((low + high) / 2)), 4)


def choose_threshold(known: Scores, unknown: Scores, target: float = TARGET_FALSE_ACCEPT_RATE) -> Threshold | None:
    """Cut scores where at most `target` of the unknown pass, or evenly where that rejects too many known.

    The cut is raised further while no more than 5 % of the known are rejected.

    Returns:
        None where fewer than 20 scores of a kind are there to measure with.
    """
    if min(len(known), len(unknown)) < _LEAST_IMAGES:
        return None
    aimed = _at(known, unknown, float(np.quantile(unknown, 1 - target, method="higher")), balanced=False)
    if aimed.false_reject_rate <= MOST_FALSE_REJECTS:
        spared = _at(known, unknown, float(np.quantile(known, SPARED_REJECTS, method="lower")), balanced=False)
        return max(aimed, spared, key=lambda threshold: threshold.value)
    cuts = np.unique(np.concatenate([known, unknown]))
    rejects = np.searchsorted(np.sort(known), cuts) / len(known)
    accepts = 1 - np.searchsorted(np.sort(unknown), cuts) / len(unknown)
    return _at(known, unknown, float(cuts[np.argmin(np.abs(rejects - accepts))]), balanced=True)


def _at(known: Scores, unknown: Scores, value: float, balanced: bool) -> Threshold:
    # Rounded up to what the manifest shows, so that the rates hold for the number that ships.
    cut = float(np.ceil(value * 1e4) / 1e4)
    return Threshold(cut, float((unknown >= cut).mean()), float((known < cut).mean()), balanced)


def _probabilities(logits: NDArray[np.float32], truth: NDArray[np.int64], temperature: float) -> tuple[Scores, Scores]:
    right = logits.argmax(axis=1) == truth
    known = softmax(logits, temperature).max(axis=1)[right]
    struck = logits.copy()
    struck[np.arange(len(truth)), truth] = -np.inf
    return known, softmax(struck, temperature).max(axis=1)


def _loss(logits: NDArray[np.float32], truth: NDArray[np.int64], temperature: float) -> float:
    scaled = logits.astype(np.float64) / temperature
    top = scaled.max(axis=1)
    log_sum = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
    true = scaled[np.arange(len(truth)), truth]
    doubt = 1 / (len(truth) + 2)
    others = (scaled.sum(axis=1) - true) / max(1, logits.shape[1] - 1)
    return float((log_sum - (1 - doubt) * true - doubt * others).mean())


def _method(probability: Threshold | None, similarity: Threshold | None, images: int, gallery: int) -> str:
    return " ".join(
        (
            f"Measured on {images} evaluation photos against {gallery} training photos as gallery.",
            "Classifier: unknown items are imitated by striking the true class from the answer; known are the right "
            f"answers. {_outcome(probability)}",
            f"Gallery: unknown is the nearest entry of another label, known of the same. {_outcome(similarity)}",
        )
    )


def _outcome(threshold: Threshold | None) -> str:
    if threshold is None:
        return "Too few photos or classes to measure, so the threshold is the default."
    if threshold.balanced:
        return (
            f"{TARGET_FALSE_ACCEPT_RATE:.0%} false accepts would have rejected more than {MOST_FALSE_REJECTS:.0%} of "
            "the known, so both rates were evened out."
        )
    return f"Aimed at {TARGET_FALSE_ACCEPT_RATE:.0%} false accepts."
