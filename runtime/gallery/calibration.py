"""When a match counts as known: thresholds from the gallery's own similarities and from negatives.

Every entry is looked up among all others (leave-one-out): its nearest entry of the same label is what a known
item scores, its nearest of another label what an item would score had it never been taught. From these comes one
threshold for all labels. Negatives are pictures of what is no item at all; labels that they come near get a higher
threshold of their own, until the stated share of negatives is left.

Measured on 56 grocery products with 25 others and 500 ImageNet photos as strangers: thresholds of each label's own
similarities told known from unknown worse than one for all (area under the curve 0.875 to 0.948 against 0.916 to
0.962), as a label's photos are too alike to say what its next photo scores. Negatives of each label told other
negatives better (0.943 to 0.958 against 0.910 to 0.940).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil, exp, lgamma, log, log1p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rates import area_under_curve

# Share of known items that may be turned away to keep items of other labels out; negatives come before that.
_MOST_REJECTS = 0.05
# Where negatives say what the stated rate is about, never-taught items are held to the bundle's own aim.
_STRANGERS_ACCEPTED = 0.05
_FEWEST_KNOWN = 20
_MOST_QUERIES = 1000
_FEWEST_QUERIES = 200
# Comparisons a fit may take: a second or two of one core at 256 dimensions.
_MOST_COMPARED = 30_000_000
_FOLDS = 5
_HALVINGS = 12

Vectors = NDArray[np.float32]
Scores = NDArray[np.float32]


class FitStopped(Exception):
    """A fit was given up because its caller asked for that."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a calibration is asked for.

    Attributes:
        false_accepts: Share of negatives that may be given a label, 0 to 1; without negatives, of items that
            were never taught.
        fallback: The threshold where the gallery holds too little to measure one: the bundle's own.
    """

    false_accepts: float
    fallback: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a gallery's match counts as known, and what that was measured to cost.

    Attributes:
        aim: What was asked for.
        similarity: Cosine from which a match counts, for labels without a threshold of their own.
        of_label: The cosine for labels that negatives come near, by the id of one entry of the label.
        generation: The gallery's commit that they were fitted to.
        entries: Entries that were looked up among the others.
        negatives: Negatives that were looked up.
        false_accept_rate: Share of negatives given a label, each by label thresholds that were fitted without
            it; None without any.
        false_accept_bound: Its upper bound at 95 % confidence, pictures taken as independent.
        false_reject_rate: Share of entries, each looked up among the others, that are called unknown.
        other_accept_rate: Share of entries given another label's name when all of their own label are hidden.
        auc: The chance that a known item clears its threshold by more than a negative (without negatives: an
            entry whose label is hidden) does.
    """

    aim: Aim
    similarity: float
    of_label: dict[int, float]
    generation: int
    entries: int
    negatives: int
    false_accept_rate: float | None
    false_accept_bound: float | None
    false_reject_rate: float | None
    other_accept_rate: float | None
    auc: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """The entries in the order of their labels, without a copy of their vectors.

    Attributes:
        vectors: float32, shape (all rows, dim), unit length.
        rows: int64, shape (entries,), the row of each entry.
        labels: int64, shape (entries,), ascending from 0.
        starts: int64, shape (labels,), where each label begins.
    """

    vectors: Vectors
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, vectors: Vectors, labels: NDArray[np.int64], alive: NDArray[np.bool_]) -> "Shelf":
        """Sort the rows that are `alive` by their label, any number."""
        rows = np.flatnonzero(alive)
        rows = rows[np.argsort(labels[rows], kind="stable")]
        _, starts, numbers = np.unique(labels[rows], return_index=True, return_inverse=True)
        return cls(vectors, rows, numbers.astype(np.int64), starts.astype(np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What look-ups found, -1 for nothing.

    Attributes:
        label: (queries,), the query's own label; -1 for negatives.
        same: (queries,), the nearest other entry of the same label.
        other: (queries,), the nearest entry of another label.
        other_label: (queries,), its label.
    """

    label: NDArray[np.int64]
    same: Scores
    other: Scores
    other_label: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Negatives:
    """Negatives, what they found, and how near they come to each label that would be given to one of them.

    Attributes:
        nearest: (negatives,), the nearest entry of any label.
        label: (negatives,), its label.
        near: By label: (negatives,), the nearest entry of this label.
    """

    nearest: Scores
    label: NDArray[np.int64]
    near: dict[int, Scores]

    def some(self, rows: NDArray[np.int64]) -> "_Negatives":
        return _Negatives(self.nearest[rows], self.label[rows], {one: near[rows] for one, near in self.near.items()})


def fit(
    shelf: Shelf,
    ids: NDArray[np.int64],
    negatives: Vectors,
    aim: Aim,
    generation: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Thresholds | None:
    """Fit thresholds.

    Args:
        shelf: The entries.
        ids: int64, shape (all rows,).
        negatives: float32, shape (negatives, dim), in the order they were taken; may be empty.
        aim: What is asked for.
        generation: The gallery's commit that the entries belong to.
        stopped: Asked at each look-up whether to give up.

    Returns:
        None where there is nothing to look up in.

    Raises:
        FitStopped: `stopped` said so.
    """
    if len(shelf.rows) == 0:
        return None
    most = int(np.clip(_MOST_COMPARED // len(shelf.rows), _FEWEST_QUERIES, _MOST_QUERIES))
    known = _look_up_entries(shelf, _spread(len(shelf.rows), most), stopped)
    base = _shown(_base(known, len(shelf.starts), aim, len(negatives) > 0))
    strange = _look_up_negatives(shelf, negatives[_spread(len(negatives), most)], base, stopped)
    base, rate = _aimed(strange, base, aim)
    raised = _cuts(strange, base, rate)
    first = {label: int(ids[shelf.rows[shelf.starts[label]]]) for label in raised}
    measured = Thresholds(
        aim=aim,
        similarity=base,
        of_label={first[label]: cut for label, cut in raised.items()},
        generation=generation,
        entries=len(known.same),
        negatives=len(strange.nearest),
        false_accept_rate=None,
        false_accept_bound=None,
        false_reject_rate=None,
        other_accept_rate=None,
        auc=None,
    )
    accepted = _held_out_accepts(strange, base, rate)
    return _measured(measured, known, strange, raised, accepted)


def upper_bound(hits: int, trials: int, confidence: float = 0.95) -> float:
    """The highest rate at which `hits` or fewer of `trials` are not yet surprising (Clopper and Pearson 1934)."""
    if hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _chance_of_at_most(hits, trials, middle) > 1 - confidence else (low, middle)
    return high


def _base(known: _Found, labels: int, aim: Aim, negatives: bool) -> float:
    """The threshold for all labels, from the entries alone."""
    same, other = known.same[known.same > -1], known.other[known.other > -1]
    if min(len(same), len(other)) < _FEWEST_KNOWN:
        return aim.fallback
    rate = max(aim.false_accepts, _STRANGERS_ACCEPTED) if negatives else aim.false_accepts
    stranger, familiar = _passed_by(other, rate), float(np.quantile(same, _MOST_REJECTS, method="lower"))
    if (labels + 1) * rate >= 1 or stranger >= familiar:
        return min(stranger, familiar)
    # Too few labels to tell what one in so many strangers scores: half way to the known. With 4 and 10 products
    # known, 0.7 to 6.9 % of the others passed this, and 10 to 33 % the strangers' own quantile.
    return (stranger + familiar) / 2


def _aimed(strange: _Negatives, base: float, aim: Aim) -> tuple[float, float]:
    """The threshold for all labels, and the rate for each label that negatives come near.

    With both, no more than the stated share of negatives passes that were not fitted to.

    Labels that negatives come near are raised first, each the more the lower its own rate is set; where
    negatives come near ever other labels, the threshold for all is.
    """
    allowed = aim.false_accepts * len(strange.nearest)
    rate = _highest(lambda rate: _held_out_accepts(strange, base, rate) <= allowed, 0.0, aim.false_accepts)
    if rate is not None:
        return base, rate
    above = float(strange.nearest.max()) + 1e-4 - base
    spared = _highest(lambda part: _held_out_accepts(strange, base + above * (1 - part), 0.0) <= allowed, 0.0, 1.0)
    return _shown(base + above * (1 - (spared or 0.0))), 0.0


def _highest(holds: Callable[[float], bool], low: float, high: float) -> float | None:
    """About the highest number that a condition holds for which holds for lower ones; None where for none."""
    if holds(high):
        return high
    if not holds(low):
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _cuts(strange: _Negatives, base: float, rate: float) -> dict[int, float]:
    """Thresholds above `base` for labels that negatives come near."""
    wanted = {label: _shown(_passed_by(near, rate)) for label, near in strange.near.items()}
    return {label: cut for label, cut in wanted.items() if cut > base}


def _accepted(strange: _Negatives, base: float, cuts: dict[int, float]) -> int:
    return int((_margins(strange.nearest, strange.label, base, cuts) >= 0).sum())


def _margins(scores: Scores, labels: NDArray[np.int64], base: float, cuts: dict[int, float]) -> NDArray[np.float64]:
    cut_of = np.full(labels.max(initial=0) + 1, base)
    for label, cut in cuts.items():
        if label < len(cut_of):
            cut_of[label] = cut
    return np.asarray(scores - cut_of[labels], np.float64)


def _passed_by(scores: Scores, rate: float) -> float:
    """The cut that a fresh score of the same kind reaches with at most `rate` (split conformal); -1 without any."""
    if len(scores) == 0:
        return -1.0
    rank = min(len(scores), ceil((len(scores) + 1) * (1 - rate)))
    return float(np.nextafter(np.partition(scores, rank - 1)[rank - 1], np.float32(2)))


def _look_up_entries(shelf: Shelf, places: NDArray[np.int64], stopped: Callable[[], bool]) -> _Found:
    """Look entries up among all others."""
    count, mine = len(places), shelf.labels[places]
    same, other = np.full(count, -1, np.float32), np.full(count, -1, np.float32)
    other_label = np.zeros(count, np.int64)
    for number, place in enumerate(_until(stopped, places)):
        scores = _scores(shelf, shelf.vectors[shelf.rows[place]])
        scores[place] = -1
        best = np.maximum.reduceat(scores, shelf.starts)
        same[number], best[mine[number]] = best[mine[number]], -1
        other_label[number], other[number] = best.argmax(), best.max()
    return _Found(mine, same, other, other_label)


def _look_up_negatives(shelf: Shelf, negatives: Vectors, base: float, stopped: Callable[[], bool]) -> _Negatives:
    nearest, label = np.full(len(negatives), -1, np.float32), np.zeros(len(negatives), np.int64)
    for number, query in enumerate(_until(stopped, negatives)):
        scores = _scores(shelf, query)
        best = int(scores.argmax())
        nearest[number], label[number] = scores[best], shelf.labels[best]
    ends = np.append(shelf.starts, len(shelf.rows))
    near = {}
    for one in np.unique(label[nearest >= base]).tolist():
        own = shelf.vectors[shelf.rows[ends[one] : ends[one + 1]]]
        nearness = [np.vecdot(own, query).max() for query in _until(stopped, negatives)]
        near[one] = np.array(nearness, np.float32)
    return _Negatives(nearest, label, near)


def _until(stopped: Callable[[], bool], rows: NDArray[Any]) -> Iterator[Any]:
    for row in rows:
        if stopped():
            raise FitStopped
        yield row


def _scores(shelf: Shelf, query: Vectors) -> Scores:
    # One thread: BLAS would take the cores that the camera needs.
    return np.asarray(np.vecdot(shelf.vectors, query)[shelf.rows], np.float32)


def _measured(
    fitted: Thresholds, known: _Found, strange: _Negatives, cuts: dict[int, float], accepted: int
) -> Thresholds:
    """Add what the thresholds cost."""
    base = fitted.similarity
    found = np.where(known.same >= known.other, known.label, known.other_label)
    margin = _margins(np.maximum(known.same, known.other), found, base, cuts)[known.same > -1]
    hidden = _margins(known.other, known.other_label, base, cuts)[known.other > -1]
    negative = _margins(strange.nearest, strange.label, base, cuts)
    return replace(
        fitted,
        false_accept_rate=accepted / len(negative) if len(negative) else None,
        false_accept_bound=upper_bound(accepted, len(negative)) if len(negative) else None,
        false_reject_rate=float((margin < 0).mean()) if len(margin) else None,
        other_accept_rate=float((hidden >= 0).mean()) if len(hidden) else None,
        auc=area_under_curve(margin, negative if len(negative) else hidden),
    )


def _held_out_accepts(strange: _Negatives, base: float, rate: float) -> int:
    """Negatives that pass thresholds of the labels fitted without them, in blocks: neighbours are alike."""
    rows, accepted = np.arange(len(strange.nearest)), 0
    for fold in np.array_split(rows, min(_FOLDS, len(rows)) or 1):
        cuts = _cuts(strange.some(np.setdiff1d(rows, fold)), base, rate)
        accepted += _accepted(strange.some(fold), base, cuts)
    return accepted


def _spread(count: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _shown(cut: float) -> float:
    # Rounded up, so that the rates hold for the number that is shown.
    return float(np.ceil(cut * 1e4) / 1e4)


def _chance_of_at_most(hits: int, trials: int, rate: float) -> float:
    terms = (
        lgamma(trials + 1) - lgamma(k + 1) - lgamma(trials - k + 1) + k * log(rate) + (trials - k) * log1p(-rate)
        for k in range(hits + 1)
        if 0 < rate < 1
    )
    return sum(map(exp, terms))
