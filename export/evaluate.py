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
from sightline.runtime.rates import Rate as Rate
from sightline.runtime.rates import rate as rate
from sightline.runtime.reporter import QuietReporter, Reporter
from sightline.runtime.session import Session

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
        agreement: Share of photos with the same first answer.
        mean_cosine: Mean cosine between a photo's two embeddings.
        least_cosine: The smallest of them.
        neighbour_overlap: Mean share of the ten nearest other photos that both find.
        lost: Photos that fp32 has right and the variant wrong.
        won: Photos that fp32 has wrong and the variant right.
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


def top_k(logits: NDArray[np.float32], truth: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Whether the true class is among the k first answers to each photo."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return np.asarray((best == truth[:, None]).any(axis=1))


def drift(reference: Outputs, other: Outputs, truth: NDArray[np.int64]) -> Drift:
    """Compare a variant with the float one on the same photos."""
    cosine = np.einsum("nd,nd->n", reference.embeddings, other.embeddings)
    was, became = reference.answers == truth, other.answers == truth
    return Drift(
        agreement=float((reference.answers == other.answers).mean()),
        mean_cosine=float(cosine.mean()),
        least_cosine=float(cosine.min()),
        neighbour_overlap=_neighbour_overlap(reference.embeddings, other.embeddings),
        lost=int((was & ~became).sum()),
        won=int((became & ~was).sum()),
    )


def nearest(
    queries: NDArray[np.float32],
    query_labels: NDArray[np.int64],
    gallery: NDArray[np.float32],
    gallery_labels: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give each query's cosine to its nearest gallery entry of the same and of another label.

    Returns:
        Two arrays float32 (queries,); -inf where there is no such entry.
    """
    same, other = np.empty(len(queries), np.float32), np.empty(len(queries), np.float32)
    for start in range(0, len(queries), 256):
        rows = slice(start, start + 256)
        cosine = queries[rows] @ gallery.T
        alike = query_labels[rows, None] == gallery_labels[None, :]
        same[rows] = np.where(alike, cosine, -np.inf).max(axis=1)
        other[rows] = np.where(alike, -np.inf, cosine).max(axis=1)
    return same, other


def recall_at_1(
    queries: NDArray[np.float32],
    query_labels: NDArray[np.int64],
    gallery: NDArray[np.float32],
    gallery_labels: NDArray[np.int64],
) -> Rate:
    """Give the share of queries whose nearest gallery entry has their label.

    Queries whose label the gallery does not hold are left out.
    """
    same, other = nearest(queries, query_labels, gallery, gallery_labels)
    return rate((same > other)[np.isfinite(same)])


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
