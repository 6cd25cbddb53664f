"""Search for better training values: many trials of `train`, chosen by the photos that the run set apart.

    RUN/search.db     every trial so far (SQLite, by Optuna): what a resumed search goes on from
    RUN/best/         the best run so far
    RUN/trials.csv    what was tried and what came of it; search.png the same as a plot
    RUN/run.json ...  the best run at the end, as `train` writes it

The first trial takes the values that the program would choose. A trial that is behind the median of the earlier ones
at the same epoch is stopped (Golovin et al. 2017, the median stopping rule of Vizier); which values come next is chosen
by what the earlier ones gave (Bergstra et al. 2011, TPE).
"""

import csv
import io
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from sightline.runtime.durable import write_file
from sightline.runtime.errors import InputError
from sightline.runtime.manifest import MULTI_LABEL
from sightline.runtime.reporter import QuietReporter, Reporter

from .plots import plot_search
from .run import Epoch, RunDetails, read_details
from .search_space import describe, propose, usual_values
from .stage import TrainOptions
from .train import train

try:
    import optuna
except ModuleNotFoundError as error:
    raise InputError("a search needs Optuna: pip install 'sightline[search]'") from error

_STORE = "search.db"
# Trials that are never stopped early: what others are held against.
_WHOLE_TRIALS, _WHOLE_EPOCHS = 3, 2
# Seconds under which another trial cannot learn anything.
_LEAST_S = 10.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        number: From 0.
        state: "complete", "pruned" (stopped as behind) or "fail".
        value: Of the evaluation photos, what the task is judged by; of one that was stopped the last before.
        seconds: That it took.
        values: What was tried, by the recipe's names.
    """

    number: int
    state: str
    value: float | None
    seconds: float
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: the best run, all trials, and whether Ctrl-C ended it."""

    details: RunDetails
    trials: tuple[Trial, ...]
    interrupted: bool


def search(
    options: TrainOptions,
    trials: int,
    resume: bool = False,
    reporter: Reporter | None = None,
    started: float | None = None,
) -> Found:
    """Try values and leave the best run in `options.out`.

    Args:
        options: Of every trial; `budget_s` is for all together, and what their recipe names stays as it is.
        trials: How many in all, those before a resumption counted in.
        resume: Go on with the search in `out`.
        reporter: Where progress goes.
        started: When the budget began, by `time.monotonic`; None for now.

    Raises:
        InputError: The options or the folder cannot be used, or no trial could be trained.
        KeyboardInterrupt: Ctrl-C before there was anything to keep.
    """
    reporter = reporter or QuietReporter()
    folder = Path(options.out)
    study = _open_study(folder, options, resume)
    end = None if options.budget_s is None else (started or time.monotonic()) + options.budget_s
    tries = _Tries(study, options, folder, reporter)
    interrupted = False
    try:
        for number in range(_done(study), trials):
            left = None if end is None else end - time.monotonic()
            if left is not None and left < _LEAST_S:
                reporter.say(f"the budget is spent after {number} of {trials} trials")
                break
            if tries.run(None if left is None else left / (trials - number)):
                interrupted = True
                break
    except KeyboardInterrupt:
        if not (folder / "best").exists():
            raise
        interrupted = True
    return _finish(study, folder, interrupted)


def _done(study: "optuna.Study") -> int:
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


class _Tries:
    """Runs one trial after the other and keeps the best."""

    def __init__(self, study: "optuna.Study", options: TrainOptions, folder: Path, reporter: Reporter) -> None:
        self._study, self._options, self._folder, self._reporter = study, options, folder, reporter

    def run(self, budget_s: float | None) -> bool:
        """Run one trial; say whether Ctrl-C ended it."""
        trial, place = self._study.ask(), self._folder / "trial"
        shutil.rmtree(place, ignore_errors=True)
        several, fresh = self._options.task == MULTI_LABEL, self._options.weights == "none"
        recipe = propose(trial, self._options.recipe, fresh, several)
        self._reporter.say(f"trial {trial.number}: {describe(trial.params)}")
        options = replace(self._options, out=str(place), recipe=recipe, budget_s=budget_s)
        begun = time.monotonic()
        try:
            details = train(options, False, self._reporter, begun, _pruner(trial))
        except optuna.TrialPruned:
            trial.set_user_attr("seconds", time.monotonic() - begun)
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            self._reporter.say(f"trial {trial.number}: stopped, it is behind the others")
            return False
        except BaseException:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        trial.set_user_attr("seconds", time.monotonic() - begun)
        return self._keep(trial, details, place)

    def _keep(self, trial: "optuna.Trial", details: RunDetails, place: Path) -> bool:
        interrupted, best = details.stopped == "interrupted", self._folder / "best"
        if interrupted and best.exists():
            # Cut short, it cannot be held against whole ones.
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return True
        value = next(epoch.val_top1 for epoch in details.history if epoch.epoch == details.best_epoch)
        self._study.tell(trial, value)
        if self._study.best_trial.number == trial.number:
            shutil.rmtree(best, ignore_errors=True)
            place.rename(best)
        self._reporter.say(f"trial {trial.number}: {value:.4f}, the best so far {self._study.best_value:.4f}")
        return interrupted


def _pruner(trial: "optuna.Trial") -> Callable[[Epoch], None]:
    def follow(epoch: Epoch) -> None:
        trial.report(epoch.val_top1, epoch.epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    return follow


def _open_study(folder: Path, options: TrainOptions, resume: bool) -> "optuna.Study":
    store = folder / _STORE
    if not resume and any((folder / name).exists() for name in (_STORE, "run.json", "last.pt")):
        raise InputError(f"'{folder}' holds a run or a search: choose another --out, or go on with --resume")
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{store}",
        study_name="sightline",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=options.seed),
        pruner=optuna.pruners.MedianPruner(_WHOLE_TRIALS, _WHOLE_EPOCHS),
        load_if_exists=True,
    )
    asked = msgspec.to_builtins(replace(options, out="", budget_s=None))
    before = study.user_attrs.get("options")
    if before is None:
        study.set_user_attr("options", asked)
        study.enqueue_trial(usual_values(options.recipe, options.weights == "none", options.task == MULTI_LABEL))
    elif before != asked:
        changed = ", ".join(key for key in asked if asked[key] != before.get(key))
        raise InputError(f"the search in '{folder}' was begun with other options ({changed}): give the same ones")
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        # A killed search was in the midst of it.
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _finish(study: "optuna.Study", folder: Path, interrupted: bool) -> Found:
    shutil.rmtree(folder / "trial", ignore_errors=True)
    trials = tuple(_trial(one) for one in study.get_trials() if one.state.is_finished())
    write_file(folder / "trials.csv", _table(trials))
    best = folder / "best"
    if not best.exists():
        raise InputError(f"no trial of the search in '{folder}' was finished: give it more time with --budget")
    whole = [one for one in trials if one.state == "complete"]
    weights: dict[str, float] = {}
    if len(whole) > 3:
        # Where all trials came out alike nothing can be told of what mattered.
        with suppress(RuntimeError, ValueError):
            weights = optuna.importance.get_param_importances(study)
    plot_search(folder / "search.png", [(one.number, one.value, one.state == "complete") for one in trials], weights)
    for file in sorted(best.iterdir(), key=lambda file: file.name == "run.json"):
        if file.name != "last.pt":
            shutil.copy2(file, folder / file.name)
    return Found(read_details(folder), trials, interrupted)


def _trial(one: "optuna.trial.FrozenTrial") -> Trial:
    seen = one.intermediate_values
    value = one.value if one.value is not None else seen[max(seen)] if seen else None
    return Trial(one.number, one.state.name.lower(), value, one.user_attrs.get("seconds", 0.0), dict(one.params))


def _table(trials: Sequence[Trial]) -> bytes:
    names = sorted({name for one in trials for name in one.values})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("trial", "state", "value", "seconds", *names))
    for one in trials:
        value = "" if one.value is None else f"{one.value:.4f}"
        row = (one.number, one.state, value, f"{one.seconds:.1f}")
        writer.writerow((*row, *(one.values.get(name, "") for name in names)))
    return text.getvalue().encode()
