"""Chooses variant, provider and threads for a bundle by measuring them on this machine.

Two questions are asked: what answers one picture soonest, and what answers a folder soonest, where as many callers as
there are cores share a session of one thread. Each candidate meets the default in a heat of a few turns. Those that are
ahead answer the golden pictures, and the best that answer rightly meet the default again in the final, whose figures
alone decide, so that luck in a heat decides nothing.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic

import msgspec
import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .cores import usable_cores
from .errors import SightlineError, first_line
from .golden import GOLDEN_NAME, GoldenCase, check_golden
from .preprocess import Image, decode_image, prepare_batch
from .providers import available_providers
from .recognizer import Recognizer
from .reporter import QuietReporter, Reporter, Task
from .tune_candidates import list_candidates
from .tuned import Choice, Trial, Tuned, this_machine
from .turns import Taken, interleave

# What a candidate must be ahead of the default, in time and beyond what chance explains, to take its place.
MARGIN = 0.03
_FINALISTS = 2
_MOST_TURNS = 200
# Shares of the time: heats and finals of the first question, then of the second.
_SHARES = (0.35, 0.3, 0.15, 0.2)


@dataclass(frozen=True, slots=True)
class Contender:
    """A choice that is open.

    Attributes:
        choice: What it is.
        callers: How many call it at once.
        answer: Has every caller answer one photo, uint8 (1, height, width, 3).
    """

    choice: Choice
    callers: int
    answer: Callable[[Image], object]


# Times contenders in turns on photos for some seconds; tells each turn's seconds.
Measure = Callable[[Sequence[Contender], Image, float, Callable[[float], None]], Taken]


def measure_turns(
    contenders: Sequence[Contender], images: Image, seconds: float, advance: Callable[[float], None]
) -> Taken:
    """Time contenders; see `interleave`."""
    return interleave([one.answer for one in contenders], images, seconds, _MOST_TURNS, advance)


def tune(
    bundle: Bundle, seconds: float = 30.0, reporter: Reporter | None = None, measure: Measure = measure_turns
) -> Tuned:
    """Choose how to run a bundle here.

    Args:
        bundle: A bundle that recognises.
        seconds: Time for all of it; a slow model takes some longer, because each final has five turns at least.
        reporter: Where progress goes.
        measure: Times contenders; tests give another.

    Raises:
        BundleError: The bundle holds no golden pictures, or its default cannot be opened.
    """
    reporter = reporter or QuietReporter()
    started = Recognizer(bundle, "auto", bundle.manifest.default_variant, usable_cores())
    default = Choice(started.variant.name, started.provider.obtained, started.threads)
    del started
    candidates = list_candidates(bundle, default, available_providers(), usable_cores())
    contest = _Contest(bundle, measure, _golden_photos(bundle))
    cores = usable_cores(most=None)
    one_thread = replace(default, threads=1)
    narrow = [one for one in dict.fromkeys((default, *candidates)) if one.threads == 1 and one != one_thread]
    with reporter.task("measuring", seconds) as task:
        one = contest.decide(default, candidates, 1, (seconds * _SHARES[0], seconds * _SHARES[1]), task)
        many = contest.decide(one_thread, narrow, cores, (seconds * _SHARES[2], seconds * _SHARES[3]), task)
    return Tuned(
        conditions=this_machine(bundle),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        default=default,
        one=one.choice,
        many=many.choice,
        one_ratio=one.ratio,
        many_ratio=many.ratio,
        trials=(*one.trials, *many.trials),
    )


@dataclass(frozen=True, slots=True)
class _Decision:
    choice: Choice
    ratio: float
    trials: tuple[Trial, ...]


@dataclass(slots=True)
class _Heat:
    trial: Trial
    recognizer: Recognizer | None = None


class _Contest:
    def __init__(self, bundle: Bundle, measure: Measure, images: Image) -> None:
        self._bundle, self._measure, self._images = bundle, measure, images

    def decide(
        self, default: Choice, others: Sequence[Choice], callers: int, seconds: tuple[float, float], task: Task
    ) -> _Decision:
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(callers)) if callers > 1 else None
            incumbent = _contender(self._open(default), default, callers, pool)
            heats = self._heats(incumbent, others, callers, seconds[0], pool, task)
            finalists = self._finalists(heats)
            trials = {heat.trial.choice: heat.trial for heat in heats}
            final = [incumbent, *(_contender(one, one_choice, callers, pool) for one_choice, one in finalists.items())]
            taken = self._measure(final, self._images, seconds[1], task.advance)
        if 0 in taken.failed:
            raise taken.failed[0].error
        base = np.median(taken.times[0], axis=1)
        best, best_ratio = default, 1.0
        for place, choice in enumerate(finalists, start=1):
            trials[choice] = _final_trial(trials[choice], taken, place, base)
            ratio, most = trials[choice].ratio, trials[choice].most_ratio
            if ratio is not None and most is not None and most <= 1 - MARGIN and ratio < best_ratio:
                best, best_ratio = choice, ratio
        mine = Trial(default, callers, 1.0, "the default", float(np.median(base)), turns=len(base))
        if best != default:
            trials[best] = replace(trials[best], verdict="chosen")
        return _Decision(best, best_ratio, (mine, *trials.values()))

    def _heats(
        self,
        incumbent: Contender,
        others: Sequence[Choice],
        callers: int,
        seconds: float,
        pool: ThreadPoolExecutor | None,
        task: Task,
    ) -> list[_Heat]:
        heats: list[_Heat] = []
        end = monotonic() + seconds
        for place, choice in enumerate(others):
            left = end - monotonic()
            if left <= 0:
                heats.append(_Heat(Trial(choice, callers, None, "not measured: the time was over")))
                continue
            try:
                recognizer = self._open(choice)
            except SightlineError as error:
                heats.append(_Heat(Trial(choice, callers, None, f"cannot be opened ({first_line(error)[:160]})")))
                continue
            rival = _contender(recognizer, choice, callers, pool)
            taken = self._measure([incumbent, rival], self._images, left / (len(others) - place), task.advance)
            if 0 in taken.failed:
                raise taken.failed[0].error
            heats.append(_heat(choice, callers, taken, recognizer))
            # Only those ahead stay open: a board has not the memory for all.
            _close_slow(heats)
        return heats

    def _finalists(self, heats: list[_Heat]) -> dict[Choice, Recognizer]:
        """The best that answer the golden pictures rightly, as many as a final takes."""
        found: dict[Choice, Recognizer] = {}
        for heat in sorted(heats, key=lambda one: one.trial.ratio if one.trial.ratio is not None else np.inf):
            trial, ratio = heat.trial, heat.trial.ratio
            if ratio is None:
                continue
            if ratio >= 1.0 or len(found) == _FINALISTS:
                heat.trial = replace(
                    trial, verdict="not faster than the default" if ratio >= 1.0 else "others are faster"
                )
                continue
            recognizer = heat.recognizer or self._open(trial.choice)
            result = check_golden(recognizer)
            right = result.images - len(result.failures)
            heat.trial = replace(trial, golden=right, verdict=result.failures[0] if result.failures else "finalist")
            if not result.failures:
                found[trial.choice] = recognizer
        return found

    def _open(self, choice: Choice) -> Recognizer:
        return Recognizer(self._bundle, choice.provider, choice.variant, choice.threads)


def _contender(recognizer: Recognizer, choice: Choice, callers: int, pool: ThreadPoolExecutor | None) -> Contender:
    if pool is None:
        return Contender(choice, callers, recognizer.run)
    together = pool
    return Contender(choice, callers, lambda image: list(together.map(recognizer.run, [image] * callers)))


def _heat(choice: Choice, callers: int, taken: Taken, recognizer: Recognizer) -> _Heat:
    if 1 in taken.failed:
        return _Heat(Trial(choice, callers, None, f"failed ({first_line(taken.failed[1].error)[:160]})"))
    times = np.median(taken.times[1], axis=1)
    ratio = float(np.median(times / np.median(taken.times[0], axis=1)))
    return _Heat(Trial(choice, callers, ratio, "", float(np.median(times)), turns=len(times)), recognizer)


def _close_slow(heats: Sequence[_Heat]) -> None:
    kept = sorted((one for one in heats if one.recognizer is not None), key=lambda one: one.trial.ratio or np.inf)
    for one in kept[_FINALISTS:]:
        one.recognizer = None


def _final_trial(trial: Trial, taken: Taken, place: int, base: NDArray[np.float64]) -> Trial:
    if place in taken.failed:
        return replace(trial, ratio=None, verdict=f"failed ({first_line(taken.failed[place].error)[:160]})")
    times = np.median(taken.times[place], axis=1)
    ratios = times / base
    most = upper_bound(ratios)
    ahead = most <= 1 - MARGIN
    return replace(
        trial,
        ratio=float(np.median(ratios)),
        most_ratio=most,
        median_ms=float(np.median(times)),
        turns=len(times),
        verdict="faster than the default" if ahead else f"not surely {MARGIN:.0%} faster than the default",
    )


def upper_bound(values: NDArray[np.float64]) -> float:
    """Give what the median lies below with 97.5 % confidence.

    By order statistics, whatever the distribution (Conover, Practical Nonparametric Statistics, 3.2).

    Args:
        values: Independent measurements, shape (n,).
    """
    count = len(values)
    rank = int(np.ceil(count / 2 + 1.96 * np.sqrt(count) / 2))
    return float(np.sort(values)[min(rank, count) - 1])


def _golden_photos(bundle: Bundle) -> Image:
    cases = msgspec.json.decode(bundle.read(GOLDEN_NAME), type=list[GoldenCase])
    return prepare_batch([decode_image(bundle.read(one.image), one.image) for one in cases], bundle.input_spec)
