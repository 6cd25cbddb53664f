"""Scores by which an item is known, from the literature, all on the same features, logits and embeddings.

Each function takes what the net makes of the photos asked (`Seen`) and what it made of its training photos
(`Learned`), and gives float [photos], higher where the item is more surely known.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp
from sklearn.covariance import LedoitWolf

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a net makes of photos.

    Attributes:
        features: Pooled, before the last layer, [photos, features].
        logits: [photos, classes].
        embeddings: [photos, dim], unit length.
    """

    features: Values
    logits: Values
    embeddings: Values


@dataclass(frozen=True)
class Learned:
    """What there is to compare with.

    Attributes:
        seen: Of the training photos.
        targets: int64 [training photos], their classes.
        weight: Of the last layer, [classes, features].
        bias: Of the last layer, [classes].
    """

    seen: Seen
    targets: NDArray[np.int64]
    weight: Values
    bias: Values

    @cached_property
    def means(self) -> Values:
        """Mean features of each class."""
        return np.stack([self.seen.features[self.targets == one].mean(0) for one in range(len(self.weight))])

    @cached_property
    def within(self) -> Values:
        """Inverse of the covariance inside the classes, shrunk (Ledoit and Wolf 2004)."""
        return np.asarray(LedoitWolf().fit(self.seen.features - self.means[self.targets]).precision_)

    @cached_property
    def overall(self) -> Values:
        """Inverse of the covariance of all features, shrunk."""
        return np.asarray(LedoitWolf().fit(self.seen.features).precision_)

    @cached_property
    def residual(self) -> tuple[Values, Values]:
        """Where the last layer is zero, and the directions in which features lie least far from there.

        All but 512, as the paper has it for nets of such width; all but half where there are fewer than 1,024.
        """
        origin = -np.linalg.pinv(self.weight) @ self.bias
        shifted = self.seen.features - origin
        _, basis = np.linalg.eigh(shifted.T @ shifted / len(shifted))
        return origin, basis[:, : -min(512, len(basis) // 2)]


Score = Callable[[Seen, Learned], Values]


def softmax(asked: Seen, known: Learned, temperature: float = 1.0) -> Values:
    """Give the largest probability (Hendrycks and Gimpel 2017)."""
    return np.exp(log_softmax(asked.logits / temperature, axis=1)).max(1)


def max_logit(asked: Seen, known: Learned) -> Values:
    """Give the largest logit (Vaze et al. 2022, Open-set recognition: a good closed-set classifier is all you need)."""
    return asked.logits.max(1)


def energy(asked: Seen, known: Learned) -> Values:
    """Give the log of the summed exponentials (Liu et al. 2020)."""
    return np.asarray(logsumexp(asked.logits, axis=1))


def generalized_entropy(asked: Seen, known: Learned) -> Values:
    """Give the negative generalized entropy (Liu et al. 2023, GEN)."""
    shares = np.exp(log_softmax(asked.logits, axis=1))
    return -((shares * (1 - shares)) ** 0.1).sum(1)


def with_unknown(asked: Seen, known: Learned, unknown: float) -> Values:
    """Give the largest probability beside one more class of constant logit: softmax and max logit are its ends."""
    return np.exp(asked.logits.max(1) - np.logaddexp(logsumexp(asked.logits, axis=1), unknown))


def neighbour(asked: Seen, known: Learned, k: int, embedding: bool = False) -> Values:
    """Give the cosine to the k-th nearest training photo (Sun et al. 2022, deep nearest neighbours)."""
    if embedding:
        cosine = asked.embeddings @ known.seen.embeddings.T
    else:
        cosine = unit(asked.features) @ unit(known.seen.features).T
    return -np.partition(-cosine, k - 1, axis=1)[:, k - 1]


def own_neighbour(asked: Seen, known: Learned) -> Values:
    """Give the cosine of the embedding to the nearest training photo of the class that the classifier names."""
    cosine = asked.embeddings @ known.seen.embeddings.T
    own = known.targets[None, :] == asked.logits.argmax(1)[:, None]
    return np.where(own, cosine, -1.0).max(1)


def mahalanobis(asked: Seen, known: Learned) -> Values:
    """Give the negative distance to the nearest class (Lee et al. 2018)."""
    return -_distances(asked.features, known.means, known.within).min(1)


def relative_mahalanobis(asked: Seen, known: Learned) -> Values:
    """Give the same less the distance to all features (Ren et al. 2021)."""
    centre = known.seen.features.mean(0, keepdims=True)
    return mahalanobis(asked, known) + _distances(asked.features, centre, known.overall)[:, 0]


def virtual_logit(asked: Seen, known: Learned) -> Values:
    """Give the energy less what lies outside the principal space (Wang et al. 2022, ViM)."""
    origin, basis = known.residual
    learned = np.linalg.norm((known.seen.features - origin) @ basis, axis=1)
    scale = known.seen.logits.max(1).mean() / learned.mean()
    return energy(asked, known) - scale * np.linalg.norm((asked.features - origin) @ basis, axis=1)


def react(asked: Seen, known: Learned) -> Values:
    """Give the energy with the largest features cut off (Sun et al. 2021, ReAct)."""
    cut = np.quantile(known.seen.features, 0.9)
    return np.asarray(logsumexp(np.minimum(asked.features, cut) @ known.weight.T + known.bias, axis=1))


def guided(asked: Seen, known: Learned) -> Values:
    """Give the energy times that of the ten nearest training photos (Park et al. 2023, NNGuide)."""
    pulled = (unit(asked.features) @ unit(known.seen.features).T) * energy(known.seen, known)
    return energy(asked, known) * -np.partition(-pulled, 9, axis=1)[:, :10].mean(1)


SCORES: dict[str, Score] = {
    "softmax": softmax,
    "max logit": max_logit,
    "energy": energy,
    "GEN": generalized_entropy,
    "nearest neighbour, features": partial(neighbour, k=1),
    "5th neighbour, features": partial(neighbour, k=5),
    "nearest neighbour, embedding": partial(neighbour, k=1, embedding=True),
    "5th neighbour, embedding": partial(neighbour, k=5, embedding=True),
    "nearest of the named class": own_neighbour,
    "Mahalanobis": mahalanobis,
    "relative Mahalanobis": relative_mahalanobis,
    "ViM": virtual_logit,
    "ReAct": react,
    "NNGuide": guided,
}


def _distances(features: Values, centres: Values, precision: Values) -> Values:
    """Squared Mahalanobis distances [photos, centres]."""
    apart = [features - centre for centre in centres]
    return np.stack([np.einsum("nf,nf->n", one @ precision, one) for one in apart], axis=1)


def unit(values: Values) -> Values:
    """Scale rows to unit length."""
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
