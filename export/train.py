"""Training from photos to a RUN folder.

    check and split the photos -> linear head on frozen features (seconds) -> fine-tuning while epochs or
    budget last, the best checkpoint kept -> embedding projection -> figures -> run.json

`last.pt` is written along the way, so that a killed run goes on with `resume`; Ctrl-C completes the folder
with the best checkpoint so far.
"""

import math
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from sightline.runtime.errors import InputError
from sightline.runtime.manifest import EMBEDDING, MULTI_LABEL
from sightline.runtime.reporter import QuietReporter, Reporter, Task

from .checkpoint import Best, Checkpoint, CheckpointWriter, Schedule, read_checkpoint, stalled
from .contact_sheet import write_contact_sheet
from .features import FEATURE_PHOTOS, extract_features, fit_projection, nearest_recall, some_of
from .finetune import FineTuner, Pace, steps_an_epoch
from .plots import plot_curves
from .processes import join_processes
from .recipe import choose_epochs
from .run import SCHEMA_VERSION, Epoch, RunDetails, write_details, write_tensors
from .run_metrics import RunMetrics, measure_run, write_metrics
from .stage import Stage, TrainOptions, photo_targets, prepare_stage
from .warmstart import fit_head

__all__ = ["TrainOptions", "train"]

# Pictures and files after the last evaluation, seconds.
_WRITING_S = 6.0
Follower = Callable[[Epoch], None]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How training went; the features are those of the trunk as it began, of the photos that the head was fitted to."""

    best_epoch: int
    history: list[Epoch]
    stopped: str
    features: NDArray[np.float32] | None


def train(
    options: TrainOptions,
    resume: bool = False,
    reporter: Reporter | None = None,
    started: float | None = None,
    follow: Follower | None = None,
) -> RunDetails:
    """Train a model and write its RUN folder.

    Args:
        options: What to do. With `resume`, all but `data` and `out` are those of the interrupted run.
        resume: Go on where `out` was interrupted, or begin where it was not.
        reporter: Where progress goes; of several processes the first one's only.
        started: When the budget began, by `time.monotonic`; None for now.
        follow: Told of every epoch of fine-tuning; what it raises ends training with nothing kept.

    Returns:
        The content of `run.json`. `stopped` is "interrupted" after Ctrl-C.

    Raises:
        InputError: The data, the options or the folder cannot be used; what stood in `out` still does.
        KeyboardInterrupt: Ctrl-C before there was anything to keep.
    """
    started = time.monotonic() if started is None else started
    folder = Path(options.out)
    stood = folder.exists()
    try:
        with join_processes() as processes:
            reporter = reporter if reporter and processes.leads else QuietReporter()
            checkpoint = processes.agree(_open_folder(folder, resume, reporter) if processes.leads else None)
            if checkpoint:
                options = _resumed(options, checkpoint)
            stage = prepare_stage(options, folder, checkpoint is not None, reporter, started, processes)
            outcome = _learn(stage, checkpoint, reporter, follow)
            return _finish(stage, outcome, reporter)
    except OSError as error:
        raise InputError(
            f"run '{folder}' cannot be written: {error.strerror or error}; free the place or choose another --out"
        ) from error
    finally:
        if not stood:
            # Goes where bad input or an early Ctrl-C left it empty.
            with suppress(OSError):
                folder.rmdir()


def _open_folder(folder: Path, resume: bool, reporter: Reporter) -> Checkpoint | None:
    held = [name for name in ("run.json", "last.pt") if (folder / name).exists()]
    if held and not resume:
        state = "a finished run" if "run.json" in held else "an interrupted run"
        raise InputError(f"'{folder}' holds {state}: choose another --out, or go on with --resume")
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = read_checkpoint(folder) if resume else None
    if resume and checkpoint is None:
        reporter.say(f"'{folder}' holds nothing to go on from: training begins anew")
    return checkpoint


def _resumed(options: TrainOptions, checkpoint: Checkpoint) -> TrainOptions:
    before = msgspec.json.decode(checkpoint.options, type=TrainOptions)
    if before.data != options.data:
        raise InputError(f"the run in '{options.out}' was trained on '{before.data}', not '{options.data}'")
    return replace(before, out=options.out)


def _learn(stage: Stage, checkpoint: Checkpoint | None, reporter: Reporter, follow: Follower | None) -> _Outcome:
    best = Best(len(stage.split.val))
    features: NDArray[np.float32] | None = None
    if checkpoint:
        best.load(checkpoint.best)
        history, schedule, spent = list(checkpoint.history), checkpoint.schedule, checkpoint.spent
        reporter.say(f"going on after epoch {history[-1].epoch}")
    else:
        first, features = _warm_start(stage, best, reporter)
        history = [first]
        schedule, spent = _plan(stage, reporter), 0.0
    stopped = "epochs" if stage.options.budget_s is None else "budget"
    try:
        if schedule.steps is not None or schedule.seconds is not None:
            stopped = _fine_tune(stage, best, history, schedule, spent, checkpoint, reporter, follow)
    except KeyboardInterrupt:
        reporter.say("stopped: completing the run with the best weights so far (Ctrl-C again to leave at once)")
        stopped = "interrupted"
    stage.model.load_state_dict(best.state)
    return _Outcome(best.epoch, history, stopped, features)


def _warm_start(stage: Stage, best: Best, reporter: Reporter) -> tuple[Epoch, NDArray[np.float32] | None]:
    # An untrained head guesses.
    several = stage.options.task == MULTI_LABEL
    loss, top1 = math.log(2) * len(stage.labels) if several else math.log(len(stage.labels)), 1 / len(stage.labels)
    chosen, features = some_of(stage.split.train, FEATURE_PHOTOS, stage.options.seed), stage.features
    if stage.options.weights != "none":
        if features is None:
            features = extract_features(stage.model, chosen, stage.spec, reporter, stage.precision, stage.processes)
        targets = photo_targets(chosen, stage.labels, stage.options.task)
        loss, top1 = fit_head(stage.model, features, targets, stage.recipe.label_smoothing)
        if stage.options.task == EMBEDDING:
            fit_projection(stage.model, features)
    score = stage.evaluator.score(stage.model, stage.precision)
    best.offer(0, score, stage.model.state_dict())
    start = "linear head on frozen features" if stage.options.weights != "none" else "random start"
    reporter.say(f"{start}: {_figure(stage.options.task)} {score.top1:.4f} ({stage.elapsed():.0f} s)")
    return Epoch(0, stage.spec.width, 0.0, loss, top1, score.loss, score.top1, stage.elapsed()), features


def _plan(stage: Stage, reporter: Reporter) -> Schedule:
    options, photos = stage.options, len(stage.split.train)
    epochs = options.epochs
    if epochs is None and options.budget_s is None:
        epochs = choose_epochs(photos)
    steps = epochs * steps_an_epoch(photos, stage.recipe.batch_size, stage.processes) if epochs else None
    if options.budget_s is None or epochs == 0:
        return Schedule(steps, None)
    left = stage.processes.agree(options.budget_s - stage.elapsed() - _closing_s(stage))
    if left <= 0:
        reporter.warn("the budget leaves no time for fine-tuning: the linear head is the result")
        return Schedule(None, None)
    return Schedule(steps, left)


def _closing_s(stage: Stage) -> float:
    """Time what follows fine-tuning by a timed evaluation: features of the training photos, last figures."""
    start = time.monotonic()
    stage.evaluator.score(stage.model, stage.precision)
    seconds = (time.monotonic() - start) / len(stage.split.val)
    photos = min(len(stage.split.train), FEATURE_PHOTOS) + 3 * len(stage.split.val)
    # The allowance is for a machine that has become busier since.
    return 1.6 * seconds * photos + _WRITING_S


def _fine_tune(
    stage: Stage,
    best: Best,
    history: list[Epoch],
    schedule: Schedule,
    spent: float,
    checkpoint: Checkpoint | None,
    reporter: Reporter,
    follow: Follower | None,
) -> str:
    paths = [image.path for image in stage.split.train]
    tuner = FineTuner(
        stage.model,
        paths,
        photo_targets(stage.split.train, stage.labels, stage.options.task),
        stage.cache,
        stage.recipe,
        stage.spec.width,
        stage.precision,
        stage.options.seed,
        stage.teacher,
        stage.options.task == EMBEDDING,
        stage.processes,
    )
    if checkpoint:
        tuner.load(checkpoint.tuner)
    leads = stage.processes.leads
    if leads:
        write_contact_sheet(stage.folder / "augmented.png", paths, stage.cache, stage.recipe, stage.options.seed)
    pace, writer = Pace(schedule.steps, schedule.seconds, spent, stage.processes), CheckpointWriter(stage.folder)
    options = msgspec.json.encode(stage.options)
    with reporter.task("fine-tuning", 100) as task:
        task.advance(100 * tuner.progress)
        # Evaluation takes time too: a budget may be spent between two epochs.
        while pace.progress(tuner.step) < 1.0:
            history.append(_epoch(stage, tuner, best, pace, history[-1].epoch + 1, task))
            if leads:
                writer.write(Checkpoint(options, schedule, pace.spent(), history, tuner.state(), best.dump()))
            reporter.say(_describe(history[-1], tuner, stage.options.task))
            if follow:
                follow(history[-1])
            if tuner.progress > 0.5 and stalled(history, len(stage.split.val)) > stage.recipe.patience:
                return "early"
    return "epochs" if pace.by_steps(tuner.step) else "budget"


def _epoch(stage: Stage, tuner: FineTuner, best: Best, pace: Pace, number: int, task: Task) -> Epoch:
    size = tuner.size(tuner.progress)
    loss, top1 = tuner.run_epoch(number, pace, task)
    score = stage.evaluator.score(tuner.average, stage.precision)
    best.offer(number, score, tuner.average.state_dict())
    return Epoch(number, size, tuner.lr, loss, top1, score.loss, score.top1, stage.elapsed())


def _figure(task: str) -> str:
    return {EMBEDDING: "recall@1", MULTI_LABEL: "mean average precision"}.get(task, "top-1")


def _describe(epoch: Epoch, tuner: FineTuner, task: str) -> str:
    return (
        f"epoch {epoch.epoch:3d}  {tuner.progress:4.0%}  {epoch.size} px  loss {epoch.train_loss:.3f}  "
        f"evaluation {_figure(task)} {epoch.val_top1:.4f}  {epoch.seconds:.0f} s  {tuner.speed}"
    )


def _finish(stage: Stage, outcome: _Outcome, reporter: Reporter) -> RunDetails:
    chosen = some_of(stage.split.train, FEATURE_PHOTOS, stage.options.seed)
    features = outcome.features if outcome.best_epoch == 0 else None
    if features is None:
        features = extract_features(stage.model, chosen, stage.spec, reporter, stage.precision, stage.processes)
    # An embedding that was learned is kept; else it is the one that these features give.
    if stage.options.task != EMBEDDING or outcome.best_epoch == 0:
        fit_projection(stage.model, features)
    model = stage.model.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    logits, targets = stage.evaluator.logits(model, torch.float32), stage.evaluator.targets
    metrics = measure_run(logits, targets, stage.labels)
    recall = nearest_recall(model, stage.split.val, chosen, features, stage.spec, stage.processes)
    details = _details(stage, outcome, metrics, recall)
    if stage.processes.leads:
        write_tensors(stage.folder / "model.pt", model.state_dict())
        write_metrics(stage.folder, metrics, logits, targets, stage.labels)
        judged = _figure(stage.options.task)
        plot_curves(stage.folder / "curves.png", outcome.history, outcome.best_epoch, judged)
        write_details(stage.folder, details)
    return details


def _details(stage: Stage, outcome: _Outcome, metrics: RunMetrics, recall: float) -> RunDetails:
    options = stage.options
    return RunDetails(
        schema_version=SCHEMA_VERSION,
        arch=options.arch,
        labels=list(stage.labels),
        input=stage.spec,
        dim=stage.model.dim,
        data=options.data,
        label_column=options.label_column,
        seed=options.seed,
        weights=stage.weights,
        recipe=stage.recipe,
        history=outcome.history,
        best_epoch=outcome.best_epoch,
        stopped=outcome.stopped,
        top1=metrics.top1,
        top5=metrics.top5,
        retrieval_top1=recall,
        train_images=len(stage.split.train),
        val_images=len(stage.split.val),
        seconds=stage.elapsed(),
        task=options.task,
        label_separator=options.label_separator,
        mean_average_precision=metrics.mean_average_precision,
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torchvision", "sightline")},
        },
    )
