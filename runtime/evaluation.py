"""Figures of a bundle on labelled photos: top-k, per class, retrieval, unknown, latency. numpy only.

Images whose label neither the model nor the gallery knows count as unknown items: for them the right answer
is "unknown", and they take no part in top-k.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .gallery.nearest import nearest_rows
from .manifest import EMBEDDING, DecisionPolicy, Manifest
from .rates import area_under_curve, false_accepts
from .recognition import Recognition, needed_similarity, weigh

_RETRIEVAL_K = (1, 5)


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Of one class: images, and precision, recall and F1 from 0 to 1 (0 where nothing was predicted)."""

    images: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Look-up by embedding.

    Attributes:
        recall_at_1: Share of images whose nearest entry has their label.
        recall_at_5: Share with their label among the nearest five.
        images: How many images were asked.
        against: "gallery", or "leave-one-out" when each image was asked against all others.
    """

    recall_at_1: float
    recall_at_5: float
    images: int
    against: str


@dataclass(frozen=True, slots=True)
class UnknownFigures:
    """How the decision treats known and unknown items.

    Attributes:
        known_images: Images of labels that the model or the gallery knows.
        unknown_images: Images of other labels.
        false_reject_rate: Share of known images called unknown.
        false_accept_rate: Share of unknown images given a label; None without such images.
        wrong_rate: Share of known images given another label.
        auc: Area under the curve of confidence, known against unknown; None without unknown images.
        false_accepts_at_95: Share of unknown images that score as high as 95 of 100 known ones do, wherever the
            bundle's own threshold lies; None without images of both kinds.
        false_accepts_at_90: The same for 90 of 100.
    """

    known_images: int
    unknown_images: int
    false_reject_rate: float | None
    false_accept_rate: float | None
    wrong_rate: float | None
    auc: float | None
    false_accepts_at_95: float | None = None
    false_accepts_at_90: float | None = None


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """Frame to answer, milliseconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `eval --json` prints; rates from 0 to 1."""

    bundle_id: str
    variant: str
    images: int
    top1: float | None
    top5: float | None
    per_class: dict[str, ClassFigures]
    retrieval: Retrieval | None
    unknown: UnknownFigures
    latency_ms: LatencyFigures


def top_k(probabilities: NDArray[np.float32], truth: NDArray[np.int64], k: int) -> float:
    """Share of rows whose true class is among the k most probable.

    Args:
        probabilities: (images, classes), any increasing score.
        truth: (images,), index of the true class.
        k: How many answers count.
    """
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == truth[:, None]).any(axis=1).mean())


def per_class(predicted: Sequence[str], truth: Sequence[str]) -> dict[str, ClassFigures]:
    """Precision, recall and F1 of every label that occurs in the truth."""
    said, true = np.asarray(predicted, object), np.asarray(truth, object)
    return {label: _class_figures(said == label, true == label) for label in sorted(set(truth))}


def leave_one_out(embeddings: NDArray[np.float32], labels: Sequence[str]) -> Retrieval | None:
    """Ask each image against all others; images alone in their class take no part.

    Args:
        embeddings: float32 (images, dim), unit length.
        labels: The label of each image.

    Returns:
        None where no class has two images.
    """
    counts = Counter(labels)
    asked = np.array([counts[label] > 1 for label in labels], bool)
    if not asked.any():
        return None
    # One more than is wanted: the image itself is among them.
    found, _ = nearest_rows(embeddings, None, embeddings, max(_RETRIEVAL_K) + 1)
    own = found == np.arange(len(found))[:, None]
    own[:, -1] |= ~own.any(axis=1)  # behind as many copies of itself: the last of them goes
    nearest = found[~own].reshape(len(found), -1)
    names = np.asarray(labels, object)
    hits = ((names[nearest] == names[:, None]) & (nearest >= 0))[asked]
    return Retrieval(float(hits[:, 0].mean()), float(hits.any(axis=1).mean()), int(asked.sum()), "leave-one-out")


def from_gallery(answers: Sequence[Recognition], labels: Sequence[str]) -> Retrieval:
    """Score the gallery matches of answers that asked for five or more."""
    found = [[match.label for match in answer.matches[: max(_RETRIEVAL_K)]] for answer in answers]
    first = np.mean([label in near[:1] for near, label in zip(found, labels, strict=True)])
    among = np.mean([label in near for near, label in zip(found, labels, strict=True)])
    return Retrieval(float(first), float(among), len(labels), "gallery")


def unknown_figures(
    answers: Sequence[Recognition], labels: Sequence[str], known: set[str], manifest: Manifest
) -> UnknownFigures:
    """Score the decisions: labels outside `known` ought to be unknown."""
    is_known = np.array([label in known for label in labels], bool)
    accepted = np.array([answer.decision.known for answer in answers], bool)
    right = np.array([answer.decision.label == label for answer, label in zip(answers, labels, strict=True)], bool)
    score = decision_scores(answers, manifest)
    return UnknownFigures(
        known_images=int(is_known.sum()),
        unknown_images=int((~is_known).sum()),
        false_reject_rate=_mean(~accepted[is_known]),
        false_accept_rate=_mean(accepted[~is_known]),
        wrong_rate=_mean((accepted & ~right)[is_known]),
        auc=area_under_curve(score[is_known], score[~is_known]),
        false_accepts_at_95=false_accepts(score[is_known], score[~is_known], 0.95),
        false_accepts_at_90=false_accepts(score[is_known], score[~is_known], 0.90),
    )


def decision_scores(answers: Sequence[Recognition], manifest: Manifest) -> NDArray[np.float64]:
    """How far each answer is from unknown, float64 (answers,): from 1 on it counts as known, 2 is the most."""
    classes = frozenset(() if manifest.task == EMBEDDING else manifest.labels)
    return np.array([_score(answer, manifest.decision, classes) for answer in answers], np.float64)


def latency_figures(answers: Sequence[Recognition]) -> LatencyFigures:
    """Median and tails of frame to answer."""
    p50, p95, p99 = np.percentile([answer.latency.total_ms for answer in answers], (50, 95, 99))
    return LatencyFigures(round(float(p50), 3), round(float(p95), 3), round(float(p99), 3))


def evaluate_answers(
    answers: Sequence[Recognition],
    labels: Sequence[str],
    manifest: Manifest,
    variant: str,
    gallery_labels: set[str] | None = None,
) -> Evaluation:
    """Join the figures of one run.

    Args:
        answers: One answer an image; with a gallery, of five matches or more.
        labels: The true label of each image.
        manifest: Of the bundle measured.
        variant: The variant measured.
        gallery_labels: The gallery's labels, or None without a gallery.
    """
    index = {label: position for position, label in enumerate(manifest.labels)}
    rows = [row for row, label in enumerate(labels) if label in index]
    truth = [labels[row] for row in rows]
    probabilities = np.stack([answers[row].probabilities for row in rows]) if rows else None
    positions = np.array([index[label] for label in truth])
    return Evaluation(
        bundle_id=manifest.bundle_id,
        variant=variant,
        images=len(labels),
        top1=None if probabilities is None else top_k(probabilities, positions, 1),
        top5=None if probabilities is None else top_k(probabilities, positions, 5),
        per_class=per_class([manifest.labels[answers[row].probabilities.argmax()] for row in rows], truth),
        retrieval=_retrieval(answers, labels, gallery_labels),
        unknown=unknown_figures(answers, labels, set(index) | (gallery_labels or set()), manifest),
        latency_ms=latency_figures(answers),
    )


def _retrieval(
    answers: Sequence[Recognition], labels: Sequence[str], gallery_labels: set[str] | None
) -> Retrieval | None:
    if gallery_labels is None:
        return leave_one_out(np.stack([answer.embedding for answer in answers]), labels)
    rows = [row for row, label in enumerate(labels) if label in gallery_labels]
    return from_gallery([answers[row] for row in rows], [labels[row] for row in rows]) if rows else None


def _class_figures(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> ClassFigures:
    hits, claims, images = int((said & true).sum()), int(said.sum()), int(true.sum())
    return ClassFigures(images, hits / claims if claims else 0.0, hits / images, 2 * hits / (claims + images))


def _score(answer: Recognition, policy: DecisionPolicy, classes: frozenset[str]) -> float:
    # Each scale counts by its own threshold, as in `decide`.
    weighed = weigh(answer.top, answer.matches, policy)
    taught = (one for one in answer.matches if one.label not in classes)
    scores = [_scaled(one.probability, policy.min_probability, least=0.0) for one in weighed]
    scores += [_scaled(one.similarity, needed_similarity(one, policy), least=-1.0) for one in taught]
    return max(scores, default=0.0)


def _scaled(score: float, threshold: float, least: float) -> float:
    """Stretch what lies between `least`, the threshold and one over 0 to 1 to 2."""
    if score >= threshold:
        return 1 + (score - threshold) / max(1 - threshold, 1e-6)
    return (score - least) / (threshold - least)


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None
