"""When an answer counts as known: fitted to the shipped variant's own outputs on photos it was not trained on.

Nobody photographs what a device will not know, so unknown items are imitated: the true class is struck from the
classifier's answer and its entries from the gallery, which is what both would say of the same photo had they never
heard of that item. It is mild: the network was trained on these classes and tells them apart better than classes it
never saw. So this fixes how the parts of the score are weighed, and the cut is made on the known side, where what is
measured is what will be met.

    temperature        probabilities fit how often answers are right
    unknown_logit      one more class in the softmax, "unknown", with a constant logit
    similarity_weight  what a gallery match adds to its label's logit above supporting_similarity
    min_probability    the cut: 90 of 100 right answers pass it
    min_similarity     for labels that only the gallery has: what was taught
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.manifest import DecisionPolicy
from sightline.runtime.recognition import softmax

from .evaluate import Outputs, nearest

TARGET_FALSE_ACCEPT_RATE = 0.05
# Of right answers. On held-out photos of 81 products, and of 61 with 20 struck, false rejects and false accepts of
# imitated unknown items add up to their least about here (15 to 21 points; at 0.95 they are 15 to 29).
KNOWN_ACCEPTANCE = 0.90
# A device that says "unknown" to every fifth known item is of no use; above it the balanced point is taken.
MOST_FALSE_REJECTS = 0.20
# Where known and imitated unknown lie far apart the aim is met by any cut between them. Real unknown items come
# nearer than imitated ones, so the cut goes as high as this share of the known allows.
SPARED_REJECTS = 0.05
# With two classes one is left when the other is struck, and that says nothing of classes it never saw.
_LEAST_CLASSES = 3
_LEAST_IMAGES = 20
# Matches a device looks at.
_MATCHES = 5
# Where the parameters are looked for: no match may shift the log-odds of its label by more than 12.
_MOST_GAIN, _UNKNOWN_LOGITS = 12.0, (-10.0, 40.0)
_ROUNDS = 4

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
        known: Probability of right first answers, without a gallery.
        unknown: Probability of the first answer with the true class struck, without a gallery.
        same: Cosine to the nearest entry of the same label.
        other: Cosine to the nearest entry of another label.
    """

    policy: DecisionPolicy
    known: Scores
    unknown: Scores
    same: Scores
    other: Scores


@dataclass(frozen=True, slots=True)
class _Witnesses:
    """What is known of each photo, and of the same photo as an unknown item.

    Attributes:
        scaled: Logits over the temperature, shape (photos, classes).
        excess: Cosine above `supporting_similarity` of each class among the nearest entries, else 0, same shape.
        truth: The classes.
        struck: `scaled` with -inf in place of the true class.
        struck_excess: `excess` of the gallery without the true class.
    """

    scaled: Scores
    excess: Scores
    truth: NDArray[np.int64]
    struck: Scores
    struck_excess: Scores


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
    same, other = nearest(evaluation.embeddings, truth, gallery.embeddings, gallery_truth)
    both = np.isfinite(same) & np.isfinite(other)
    same, other = same[both], other[both]
    similarity = choose_threshold(same, other)
    defaults = DecisionPolicy()
    policy = DecisionPolicy(
        temperature=temperature,
        min_similarity=similarity.value if similarity else defaults.min_similarity,
        supporting_similarity=round(float(np.median(same)), 4) if similarity else defaults.supporting_similarity,
        target_false_accept_rate=TARGET_FALSE_ACCEPT_RATE,
        gallery_false_accept_rate=similarity.false_accept_rate if similarity else None,
        gallery_false_reject_rate=similarity.false_reject_rate if similarity else None,
        images=len(truth),
    )
    seen = _witnesses(evaluation, truth, gallery, gallery_truth, policy)
    enough = evaluation.logits.shape[1] >= _LEAST_CLASSES and len(truth) >= _LEAST_IMAGES
    if enough:
        unknown_logit, weight = _fit_weights(seen, _MOST_GAIN / max(1 - policy.supporting_similarity, 0.01))
        policy = replace(policy, unknown_logit=unknown_logit, similarity_weight=weight)
    known, unknown = _scores(seen, policy, weight=0.0)
    cut = _accepting(known, unknown) if enough and len(known) >= _LEAST_IMAGES else None
    if cut:
        policy = replace(
            policy,
            min_probability=cut.value,
            false_accept_rate=cut.false_accept_rate,
            false_reject_rate=cut.false_reject_rate,
        )
    joint = _at(*_scores(seen, policy, policy.similarity_weight), policy.min_probability, False) if cut else None
    policy = replace(policy, method=_method(cut, joint, similarity, len(truth), len(gallery_truth)))
    return DecisionFit(policy, known, unknown, same, other)


def fit_temperature(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Find the temperature that makes probabilities fit how often answers are right.

    Minimises the negative log-likelihood (Guo et al. 2017, "On calibration of modern neural networks") over
    0.05 to 20 by golden-section search on its logarithm, where it has one minimum. The truth is given the
    probability (n + 1) / (n + 2) for n photos (Platt 1999): where every answer is right, certainty would fit best.
    """
    best = find_least(lambda value: _loss(logits, truth, float(np.exp(value))), np.log(0.05), np.log(20.0))
    return round(float(np.exp(best)), 4)


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


def _accepting(known: Scores, unknown: Scores) -> Threshold:
    """Cut where the stated share of the known passes."""
    value = float(np.quantile(known, 1 - KNOWN_ACCEPTANCE, method="lower"))
    return _at(known, unknown, np.floor(value * 1e4) / 1e4, balanced=False)


def _witnesses(
    evaluation: Outputs,
    truth: NDArray[np.int64],
    gallery: Outputs,
    gallery_truth: NDArray[np.int64],
    policy: DecisionPolicy,
) -> _Witnesses:
    scaled = evaluation.logits / np.float32(policy.temperature)
    struck = scaled.copy()
    struck[np.arange(len(truth)), truth] = -np.inf
    cosine = evaluation.embeddings @ gallery.embeddings.T
    excess = _excess(cosine, gallery_truth, scaled.shape[1], policy.supporting_similarity)
    cosine[truth[:, None] == gallery_truth[None, :]] = -np.inf
    struck_excess = _excess(cosine, gallery_truth, scaled.shape[1], policy.supporting_similarity)
    return _Witnesses(scaled, excess, truth, struck, struck_excess)


def _excess(cosine: Scores, labels: NDArray[np.int64], classes: int, threshold: float) -> Scores:
    """What the nearest entries say of each class: photos x entries -> photos x classes."""
    found = np.zeros((len(cosine), classes), np.float32)
    count = min(_MATCHES, cosine.shape[1])
    near = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
    for column in near.T:
        rows = np.arange(len(cosine))
        # Entries of labels that the classifier lacks say nothing of its classes.
        inside = labels[column] < classes
        rows, place = rows[inside], labels[column][inside]
        above = np.maximum(cosine[rows, column[inside]] - np.float32(threshold), 0)
        found[rows, place] = np.maximum(found[rows, place], above)
    return found


def _fit_weights(seen: _Witnesses, most: float) -> tuple[float, float]:
    """Fit the constant logit of "unknown" and the gallery's weight by the likelihood of known and struck photos.

    Both enter linearly, as in logistic regression, so the likelihood has one maximum and taking one after the other
    comes to it.
    """
    unknown, weight = 0.0, 0.0
    for _ in range(_ROUNDS):
        sums = _sums(seen, weight)
        unknown = find_least(lambda value: _open_loss(sums, value), *_UNKNOWN_LOGITS)  # noqa: B023
        weight = find_least(lambda value: _open_loss(_sums(seen, value), unknown), 0.0, most)  # noqa: B023
    return round(unknown, 4), round(weight, 4)


@dataclass(frozen=True, slots=True)
class _Sums:
    """What the likelihood of "unknown" needs of each photo's logits, the gallery's word counted in.

    Attributes:
        truth: The true class's.
        every: log(sum of exp) over the classes.
        first: The highest with the true class struck.
        others: log(sum of exp) with the true class struck.
    """

    truth: Scores
    every: Scores
    first: Scores
    others: Scores


def _sums(seen: _Witnesses, weight: float) -> _Sums:
    known, struck = seen.scaled + weight * seen.excess, seen.struck + weight * seen.struck_excess
    truth = known[np.arange(len(seen.truth)), seen.truth]
    return _Sums(truth, _log_sum(known), struck.max(axis=1), _log_sum(struck))


def _open_loss(sums: _Sums, unknown: float) -> float:
    """Mean of -log p(truth) over the photos plus that of -log p("unknown") over the struck ones.

    As in `fit_temperature` nothing is certain: one doubt in n + 2 goes to "unknown" or to the first answer.
    """
    doubt = 1 / (len(sums.truth) + 2)
    wanted = (1 - doubt) * sums.truth + doubt * unknown - np.logaddexp(sums.every, unknown)
    refused = (1 - doubt) * unknown + doubt * sums.first - np.logaddexp(sums.others, unknown)
    return -float(wanted.mean() + refused.mean())


def _log_sum(scaled: NDArray[Any]) -> NDArray[Any]:
    """log(sum of exp) over the classes."""
    top = scaled.max(axis=1)
    return np.asarray(top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)))


def _scores(seen: _Witnesses, policy: DecisionPolicy, weight: float) -> tuple[Scores, Scores]:
    """Probability of the first answer where it is right, and where the true class is struck."""
    known = softmax(seen.scaled + np.float32(weight) * seen.excess, 1.0, policy.unknown_logit)
    struck = softmax(seen.struck + np.float32(weight) * seen.struck_excess, 1.0, policy.unknown_logit)
    return known.max(axis=1)[known.argmax(axis=1) == seen.truth], struck.max(axis=1)


def find_least(loss: Callable[[float], float], low: float, high: float) -> float:
    """Find where a function with one minimum has it, by golden-section search."""
    ratio = (np.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(40):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return float((low + high) / 2)


def _loss(logits: NDArray[np.float32], truth: NDArray[np.int64], temperature: float) -> float:
    scaled = logits.astype(np.float64) / temperature
    log_sum = _log_sum(scaled)
    true = scaled[np.arange(len(truth)), truth]
    doubt = 1 / (len(truth) + 2)
    others = (scaled.sum(axis=1) - true) / max(1, logits.shape[1] - 1)
    return float((log_sum - (1 - doubt) * true - doubt * others).mean())


def _method(
    cut: Threshold | None, joint: Threshold | None, similarity: Threshold | None, images: int, gallery: int
) -> str:
    return " ".join(
        (
            f"Fitted to and measured on {images} evaluation photos against {gallery} training photos as gallery.",
            "Unknown items are imitated by striking the true class from the answer and its entries from the gallery; "
            "known are the right answers.",
            f"Labels that the classifier has: {_aim(cut, joint)}",
            f"Labels that only the gallery has: {_outcome(similarity)}",
        )
    )


def _aim(cut: Threshold | None, joint: Threshold | None) -> str:
    if cut is None or joint is None:
        return "too few photos or classes to measure, so the threshold is the default."
    rates = f"{joint.false_reject_rate:.1%} of the known are rejected and {joint.false_accept_rate:.1%} of the unknown"
    return f"aimed at {KNOWN_ACCEPTANCE:.0%} of the known; with the gallery's word counted in {rates} accepted."


def _outcome(threshold: Threshold | None) -> str:
    if threshold is None:
        return "too few photos of one label to measure, so the threshold is the default."
    if threshold.balanced:
        return (
            f"{TARGET_FALSE_ACCEPT_RATE:.0%} false accepts would have rejected more than {MOST_FALSE_REJECTS:.0%} of "
            "the known, so both rates were evened out."
        )
    return f"aimed at {TARGET_FALSE_ACCEPT_RATE:.0%} false accepts."
