"""When each label counts, where a photo has any number of them: fitted to the shipped variant's own outputs.

    temperature       probabilities fit how often a label is there
    label_thresholds  for each label the probability at which its F1 is largest
    min_similarity    for labels that only the gallery has: what was taught

Everything is fitted to photos that the model was not trained on. A threshold flatters the photos it was chosen on, so
the rates that are stated come from thresholds chosen on one half of them and used on the other.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.manifest import DecisionPolicy
from sightline.runtime.multilabel import LabelSets, label_sets
from sightline.runtime.recognition import sigmoid

from .decision import DecisionFit, choose_threshold, find_least
from .evaluate import Outputs, nearest
from .losses import Targets

# With fewer photos that have a label a cut says more of them than of the label.
_LEAST_PHOTOS = 4
_EVEN = 0.5
_HALVES_SEED = 0

Scores = NDArray[np.float32]


def fit_labels(evaluation: Outputs, truth: Targets, gallery: Outputs, gallery_truth: Targets) -> DecisionFit:
    """Fit a policy to the outputs of the default variant.

    Args:
        evaluation: Its answers to photos it was not trained on.
        truth: float32 [photos, labels] of zeros and ones.
        gallery: Its answers to training photos, which play the gallery.
        gallery_truth: As `truth`.

    Returns:
        The policy; `known` are the probabilities of labels that are there, `unknown` of those that are not.
    """
    present = truth > 0.5
    temperature = _fit_temperature(evaluation.logits, present)
    probabilities = sigmoid(evaluation.logits, temperature)
    thresholds = choose_label_thresholds(probabilities, present)
    same, other = nearest(evaluation.embeddings, truth, gallery.embeddings, gallery_truth)
    both = np.isfinite(same) & np.isfinite(other)
    same, other = same[both], other[both]
    similarity = choose_threshold(same, other)
    said = cross_fitted(probabilities, present)
    none = ~present.any(axis=1)
    policy = DecisionPolicy(
        temperature=temperature,
        min_probability=round(float(np.median(thresholds)), 4),
        label_thresholds=tuple(round(float(one), 4) for one in thresholds),
        false_accept_rate=float(said[none].any(axis=1).mean()) if none.any() else None,
        false_reject_rate=float((~said[~none].any(axis=1)).mean()) if not none.all() else None,
        images=len(truth),
    )
    if similarity:
        policy = replace(
            policy,
            min_similarity=similarity.value,
            gallery_false_accept_rate=similarity.false_accept_rate,
            gallery_false_reject_rate=similarity.false_reject_rate,
        )
    policy = replace(policy, method=_method(said, present, len(gallery_truth)))
    return DecisionFit(policy, probabilities[present], probabilities[~present], same, other)


def choose_label_thresholds(probabilities: Scores, present: NDArray[np.bool_]) -> Scores:
    """Choose for each label the cut with the largest F1: float32 [labels].

    The cut lies midway between the scores it parts. A label on fewer than four photos takes the even one.

    Args:
        probabilities: float32 [photos, labels].
        present: bool [photos, labels].
    """
    columns = zip(probabilities.T, present.T, strict=True)
    return np.array([_best_cut(scores, there) for scores, there in columns], np.float32)


def cross_fitted(probabilities: Scores, present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Answer each half of the photos by thresholds chosen on the other: bool [photos, labels]."""
    order = np.random.default_rng(_HALVES_SEED).permutation(len(probabilities))
    said = np.zeros_like(present)
    for part in (0, 1):
        mine, others = order[part::2], order[1 - part :: 2]
        said[mine] = probabilities[mine] >= choose_label_thresholds(probabilities[others], present[others])
    return said


def shipped_figures(outputs: Outputs, truth: Targets, policy: DecisionPolicy, labels: Sequence[str]) -> LabelSets:
    """Measure outputs by the thresholds that ship."""
    return label_sets(sigmoid(outputs.logits, policy.temperature), truth > 0.5, policy.label_thresholds, labels)


def _best_cut(scores: Scores, there: NDArray[np.bool_]) -> float:
    if there.sum() < _LEAST_PHOTOS or there.all():
        return _EVEN
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(there[order])
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + there.sum())
    # Equal scores cannot be parted.
    f1[:-1][np.diff(scores[order]) == 0] = -1.0
    best = int(f1.argmax())
    below = scores[order[best + 1]] if best + 1 < len(scores) else 0.0
    return float((scores[order[best]] + below) / 2)


def _fit_temperature(logits: Scores, present: NDArray[np.bool_]) -> float:
    """Minimise the binary cross entropy of all labels over 0.05 to 20; see `decision.fit_temperature`."""
    doubt = 1 / (present.size + 2)
    wanted = np.where(present, 1 - doubt, doubt)

    def loss(value: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(value)
        return float((np.logaddexp(0, scaled) - wanted * scaled).mean())

    return round(float(np.exp(find_least(loss, np.log(0.05), np.log(20.0)))), 4)


def _method(said: NDArray[np.bool_], present: NDArray[np.bool_], gallery: int) -> str:
    micro = 2 * (said & present).sum() / max(1, said.sum() + present.sum())
    return (
        f"Each label's threshold is where its F1 is largest on {len(said)} evaluation photos. The rates and a micro F1 "
        f"of {micro:.1%} are of thresholds chosen on one half of them and used on the other. Labels that only the "
        f"gallery has: against {gallery} training photos as gallery, of which those that share a label are the known."
    )
