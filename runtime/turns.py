"""Times of several ways of doing the same, taken in turns, so that a busy machine disturbs them alike.

In its turn each runs once untimed, which brings its weights back into the cache and lets the threads of the one before
go to sleep, then three times timed. The order rotates, so that nobody always follows the same neighbour.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from .preprocess import Image

# Answers one photo, uint8 (1, height, width, 3).
Answer = Callable[[Image], object]
_BURST = 3
_LEAST_TURNS = 5


@dataclass(frozen=True, slots=True)
class Failed:
    """What somebody failed with, and in which turn, counted from 1."""

    turn: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken, by the place in the order given.

    Attributes:
        times: Milliseconds of those that came through: float64 (turns, inferences of a turn).
        failed: The others.
    """

    times: dict[int, NDArray[np.float64]]
    failed: dict[int, Failed]


def interleave(
    answers: Sequence[Answer],
    images: Image,
    seconds: float,
    most_turns: int,
    advance: Callable[[float], None] = lambda _: None,
) -> Taken:
    """Time several answers to the same photos.

    Args:
        answers: Who takes part.
        images: Prepared photos, uint8 (photos, height, width, 3), used in rotation.
        seconds: Time for all turns; five are taken in any case.
        most_turns: Turns at most.
        advance: Told the seconds that went by after each turn.
    """
    times: dict[int, list[list[float]]] = {index: [] for index in range(len(answers))}
    failed: dict[int, Failed] = {}
    start = now = perf_counter()
    for turn in range(most_turns):
        image = images[turn % len(images)][None]
        for place in range(len(answers)):
            index = (place + turn) % len(answers)
            if index in failed:
                continue
            try:
                times[index].append(_burst(answers[index], image))
            # Whoever it is, the others go on; what it means is for the caller to say.
            except Exception as error:
                failed[index] = Failed(turn + 1, error)
                del times[index]
        before, now = now, perf_counter()
        advance(now - before)
        if now - start > seconds and turn + 1 >= _LEAST_TURNS:
            break
    return Taken({index: np.asarray(spent) for index, spent in times.items()}, failed)


def _burst(answer: Answer, image: Image) -> list[float]:
    answer(image)
    spent = []
    for _ in range(_BURST):
        start = perf_counter()
        answer(image)
        spent.append((perf_counter() - start) * 1e3)
    return spent
