"""What the variants of a model answer on labelled photos, and the figures that follow.

Every photo is decoded once and goes through all variants, by the same preprocessing and the same ONNX Runtime
as on the device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.dataset import LabelledImage
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.ranking import mean_label_precision
from sightline.runtime.rates import Rate as Rate
from sightline.runtime.rates import rate as rate
from sightline.runtime.reporter import QuietReporter, Reporter
from sightline.runtime.session import Session

from .losses import Targets
from .photos import prepared

_BATCH = 8


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one variant answered.

    Attributes:
        logits: float32, shape (photos, classes).
        embeddings: float32, shape (photos, dim), unit length.
    """

    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32]

    @property
    def answers(self) -> NDArray[np.int64]:
        """The index of the first answer to each photo."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a variant's embeddings and answers are from fp32's.

    Attributes:
        agreement: Share of photos with the same first answer; of several labels, share of each yes and no.
        mean_cosine: Mean cosine between a photo's two embeddings.
        least_cosine: The smallest of them.
        neighbour_overlap: Mean share of the ten nearest other photos that both find.
        lost: Photos, or each yes and no, that fp32 has right and the variant wrong.
        won: Those that fp32 has wrong and the variant right.
    """

    agreement: float
    mean_cosine: float
    least_cosine: float
    neighbour_overlap: float
    lost: int
    won: int


def run_variants(
    sessions: Mapping[str, Session],
    images: Sequence[LabelledImage],
    spec: InputSpec,
    reporter: Reporter | None = None,
    what: str = "evaluating",
) -> dict[str, Outputs]:
    """Answer photos with every variant.

    Args:
        sessions: Opened models by the variant's name.
        images: The photos, at least one.
        spec: Size and crop.
        reporter: Where progress goes.
        what: What progress calls it.

    Returns:
        By the variant's name, rows in the order of `images`.
    """
    answers: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {name: [] for name in sessions}
    with (reporter or QuietReporter()).task(what, len(images)) as task:
        for batch in prepared([image.path for image in images], spec, _BATCH):
            for name, session in sessions.items():
                answers[name].append(session.run(batch))
            task.advance(len(batch))
    return {
        name: Outputs(np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows]))
        for name, rows in answers.items()
    }


def top_k(logits: NDArray[np.float32], truth: Targets, k: int) -> NDArray[np.bool_]:
    """Whether the true class, or one of them, is among the k first answers to each photo."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    if truth.ndim == 2:
        return np.asarray(np.take_along_axis(truth, best, axis=1).any(axis=1))
    return np.asarray((best == truth[:, None]).any(axis=1))


def accuracy(logits: NDArray[np.float32], truth: Targets) -> Rate:
    """Give top-1, or the mean average precision where a photo has several labels."""
    return precision_rate(logits, truth) if truth.ndim == 2 else rate(top_k(logits, truth, 1))


def precision_rate(logits: NDArray[np.float32], truth: Targets, draws: int = 100) -> Rate:
    """Give the mean average precision over the labels, with the 95 % interval of resampled photos (bootstrap)."""
    present, rng = truth > 0.5, np.random.default_rng(0)
    drawn = [rng.integers(len(truth), size=len(truth)) for _ in range(draws)]
    found = [mean_label_precision(logits[rows], present[rows]) for rows in drawn]
    low, high = np.nanquantile(found, (0.025, 0.975))
    return Rate(mean_label_precision(logits, present), float(low), float(high), len(truth))


def drift(reference: Outputs, other: Outputs, truth: Targets) -> Drift:
    """Compare a variant with the float one on the same photos; of several labels each yes and no is an answer."""
    cosine = np.einsum("nd,nd->n", reference.embeddings, other.embeddings)
    several = truth.ndim == 2
    before, after = ((one.logits > 0 if several else one.answers) for one in (reference, other))
    right = truth > 0.5 if several else truth
    was, became = before == right, after == right
    return Drift(
        agreement=float((before == after).mean()),
        mean_cosine=float(cosine.mean()),
        least_cosine=float(cosine.min()),
        neighbour_overlap=_neighbour_overlap(reference.embeddings, other.embeddings),
        lost=int((was & ~became).sum()),
        won=int((became & ~was).sum()),
    )


def nearest(
    queries: NDArray[np.float32],
    query_labels: Targets,
    gallery: NDArray[np.float32],
    gallery_labels: Targets,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give each query's cosine to its nearest gallery entry of the same and of another label.

    Where a photo has several labels, one shared label is the same.

    Returns:
        Two arrays float32 (queries,); -inf where there is no such entry.
    """
    same, other = np.empty(len(queries), np.float32), np.empty(len(queries), np.float32)
    for start in range(0, len(queries), 256):
        rows = slice(start, start + 256)
        cosine = queries[rows] @ gallery.T
        alike = _alike(query_labels[rows], gallery_labels)
        same[rows] = np.where(alike, cosine, -np.inf).max(axis=1)
        other[rows] = np.where(alike, -np.inf, cosine).max(axis=1)
    return same, other


def recall_at_1(
    queries: NDArray[np.float32],
    query_labels: Targets,
    gallery: NDArray[np.float32],
    gallery_labels: Targets,
) -> Rate:
    """Give the share of queries whose nearest gallery entry has their label.

    Queries whose label the gallery does not hold are left out.
    """
    same, other = nearest(queries, query_labels, gallery, gallery_labels)
    return rate((same > other)[np.isfinite(same)])


def _alike(queries: Targets, gallery: Targets) -> NDArray[np.bool_]:
    if queries.ndim == 2:
        return np.asarray(queries @ gallery.T > 0.5)
    return np.asarray(queries[:, None] == gallery[None, :])


def _neighbour_overlap(left: NDArray[np.float32], right: NDArray[np.float32], k: int = 10) -> float:
    k = min(k, len(left) - 1)
    if k < 1:
        return 1.0
    shared = 0
    for row in range(len(left)):
        first, second = (_closest(embeddings, row, k) for embeddings in (left, right))
        shared += len(first & second)
    return shared / (k * len(left))


def _closest(embeddings: NDArray[np.float32], row: int, k: int) -> set[int]:
    cosine = embeddings @ embeddings[row]
    cosine[row] = -np.inf
    return set(np.argpartition(-cosine, k - 1)[:k].tolist())
