"""Photos whose label is doubtful: confident learning on frozen features.

Each photo is judged by a classifier that has not seen it. Northcutt, Jiang and Chuang (2021), "Confident learning:
estimating uncertainty in dataset labels", JAIR 70: a photo counts as another class where its probability reaches the
mean that photos labelled so have for it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold

FOLDS = 5
_SHRINKAGE = 0.1


@dataclass(frozen=True, slots=True)
class Suspect:
    """A photo whose features speak against its label.

    Attributes:
        row: Of the photos asked about.
        given: Its label.
        likely: The label that its features speak for.
        given_probability: Of its label, 0 to 1, by a classifier that has not seen it and is surer than it should
            be: good for an order, not to be read as odds.
        likely_probability: Of the likely label.
    """

    row: int
    given: str
    likely: str
    given_probability: float
    likely_probability: float


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What cross-validation found.

    Attributes:
        suspects: The most doubtful first.
        top1: Share of photos that the classifiers which had not seen them named as labelled.
        images: How many photos were judged; classes of fewer than five are left out.
    """

    suspects: tuple[Suspect, ...]
    top1: float
    images: int


def find_suspects(
    features: NDArray[np.float32],
    labels: Sequence[str],
    seed: int = 0,
    advance: Callable[[int], None] = lambda folds: None,
) -> Suspicion | None:
    """Judge every photo by the others.

    Args:
        features: float32 (photos, dim), of a network that was not trained on these labels, or frozen before.
        labels: The label of each photo.
        seed: Of the folds.
        advance: Told of each of the five folds.

    Returns:
        None where fewer than two classes have five photos.
    """
    names = np.asarray(labels, object)
    enough = {label for label, count in Counter(labels).items() if count >= FOLDS}
    rows = np.array([row for row, label in enumerate(labels) if label in enough], np.int64)
    if len(enough) < 2:
        return None
    classes, given = np.unique(names[rows].astype(str), return_inverse=True)
    probabilities = _cross_validated(features[rows], given, len(classes), seed, advance)
    # What photos of a class have for it in the mean: below that a class is not claimed.
    usual = np.array([probabilities[given == one, one].mean() for one in range(len(classes))])
    claimed = np.where(probabilities >= usual, probabilities, 0)
    likely = claimed.argmax(axis=1)
    doubtful = np.flatnonzero((claimed.max(axis=1) > 0) & (likely != given) & (probabilities.argmax(axis=1) != given))
    own, other = probabilities[np.arange(len(given)), given], probabilities[np.arange(len(given)), likely]
    order = doubtful[np.argsort((own - other)[doubtful], kind="stable")]
    found = tuple(
        Suspect(int(rows[one]), str(classes[given[one]]), str(classes[likely[one]]), float(own[one]), float(other[one]))
        for one in order
    )
    return Suspicion(found, float((probabilities.argmax(axis=1) == given).mean()), len(rows))


def _cross_validated(
    features: NDArray[np.float32], given: NDArray[np.int64], classes: int, seed: int, advance: Callable[[int], None]
) -> NDArray[np.float64]:
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    probabilities = np.zeros((len(given), classes))
    for learned, judged in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(unit, given):
        # In closed form: seconds where logistic regression takes minutes.
        classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=_SHRINKAGE)
        classifier.fit(unit[learned], given[learned])
        probabilities[np.ix_(judged, classifier.classes_)] = classifier.predict_proba(unit[judged])
        advance(1)
    return probabilities
