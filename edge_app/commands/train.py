"""`sightline train`: learn from labelled photos."""

import os
import re
import time
from typing import TYPE_CHECKING, Any

import click

from sightline.runtime import InputError

from ..console import ConsoleReporter, print_json, print_table
from ..patience import wait_asleep

if TYPE_CHECKING:
    from sightline.export.run import RunDetails
    from sightline.export.train import TrainOptions

# Trials of a search that are shown; trials.csv has all.
_SHOWN = 10
_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_budget(text: str) -> float:
    """Give the seconds of "90s", "10m", "1.5h", "1h30m" or a bare number of seconds.

    Raises:
        InputError: It is none of these, or nothing.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text.strip().lower())
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text.strip().lower() or seconds <= 0:
        raise InputError(f"budget '{text}' is no length of time: expected one like 90s, 10m or 1h30m")
    return seconds


@click.command()
@click.argument("data")
@click.option("--out", required=True, metavar="RUN", help="Folder to write.")
@click.option("--arch", default="mobilenet_v2", show_default=True, help="Network; 'sightline models' lists them.")
@click.option("--weights", default="imagenet", show_default=True, metavar="FILE|imagenet|none", help="Start from.")
@click.option("--epochs", type=int, help="Passes over the photos; 0 trains the linear head only.")
@click.option("--budget", metavar="TIME", help="Time that everything may take: 90s, 10m, 1h30m.")
@click.option("--image-size", type=int, metavar="PIXELS", help="Height and width of the model input.")
@click.option("--label-column", default="label", show_default=True, help="CSV column with the label.")
@click.option("--val", "validation", metavar="DATA", help="Photos to evaluate on; else a part of DATA is set apart.")
@click.option("--val-fraction", default=0.1, show_default=True, help="Part of each class to set apart.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same --epochs: same model.")
@click.option("--dim", default=256, show_default=True, help="Width of the embedding.")
@click.option("--root", metavar="DIR", help="Where torchvision data sets lie (DATA torchvision:NAME).")
@click.option(
    "--task",
    default="single-label",
    show_default=True,
    type=click.Choice(["single-label", "multi-label", "embedding"]),
    help="What devices answer by.",
)
@click.option("--label-separator", default=";", show_default=True, help="Between labels, with --task multi-label.")
@click.option(
    "--amp",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "bfloat16", "float16", "off"]),
    help="Precision of the matrix work.",
)
@click.option("--recipe", metavar="FILE", help="TOML file with training values of your own; see docs/training.md.")
@click.option("--teacher", metavar="RUN", help="Finished run of a larger net to learn from.")
@click.option("--search", type=click.IntRange(2), metavar="N", help="Try N settings, keep the best run.")
@click.option("--resume", is_flag=True, help="Go on where RUN was interrupted, with its options.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    budget: str | None, recipe: str | None, search: int | None, resume: bool, as_json: bool, **asked: Any
) -> int:
    """Train on DATA: a folder of class folders, a CSV file, or torchvision:NAME.

    First a linear head on frozen features, in seconds, then fine-tuning while --epochs or --budget last.
    Ctrl-C keeps the best so far. With --task embedding a space for look-up is learned beside the classes, and the
    device answers by its gallery alone. With --task multi-label a photo has any number of labels: the CSV lists them
    in one cell, or in several rows of one file. --search shares --budget among its trials and goes on with --resume.

    \b
    Example:
      sightline train photos/ --out run --budget 10m
      sightline train train.csv --label-column class_name --weights mobilenet_v2.pth --out run
      sightline train torchvision:CIFAR10 --root data --out run
      sightline train photos/ --arch lenet5 --weights none --recipe adam.toml --out run
      sightline train photos/ --task embedding --out run
      sightline train photos.csv --task multi-label --label-separator "|" --out run
      sightline train photos/ --search 20 --budget 4h --out run
      sightline train photos/ --arch mobilenet_v1 --weights none --teacher big --out run
    """
    started = time.monotonic()
    budget_s = parse_budget(budget) if budget else None

    wait_asleep()
    from sightline.export.recipe_file import read_recipe_file
    from sightline.export.train import TrainOptions, train

    options = TrainOptions(budget_s=budget_s, recipe=read_recipe_file(recipe) if recipe else "", **asked)
    if search is not None:
        return _search(options, search, resume, as_json, started)
    details = train(options, resume, ConsoleReporter(), started)
    if os.environ.get("RANK", "0") != "0":
        # One of several processes of torch's launcher: the first one speaks for all.
        return 0
    if as_json:
        print_json(details)
    else:
        _print(options.out, details)
    if details.stopped == "interrupted":
        click.echo(f"interrupted: '{options.out}' is complete with the best so far; --resume goes on", err=True)
        return 130
    return 0


def refuse_launcher(what: str) -> None:
    """Raise InputError where torch's launcher started several processes of what runs in one."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError(f"'sightline {what}' runs in one process: start it without torch's launcher")


def _search(options: "TrainOptions", trials: int, resume: bool, as_json: bool, started: float) -> int:
    refuse_launcher("train --search")
    import msgspec

    from sightline.export.search import search

    found = search(options, trials, resume, ConsoleReporter(), started)
    if as_json:
        print_json({**msgspec.to_builtins(found.details), "trials": found.trials})
    else:
        best = sorted(found.trials, key=lambda one: (one.state != "complete", -(one.value or 0.0)))
        rows = [(one.number, one.state, one.value or 0.0, one.seconds, _short(one.values)) for one in best[:_SHOWN]]
        print_table(("trial", "", "value", "seconds", "with"), rows)
        _print(options.out, found.details)
        click.echo(
            f"the best of {len(found.trials)} on the photos it was chosen by: others are answered a little worse"
        )
    if found.interrupted:
        click.echo(f"interrupted: '{options.out}' is complete with the best so far; --resume goes on", err=True)
    return 130 if found.interrupted else 0


def _short(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else str(value) for name, value in values.items()
    )


def _print(out: str, details: "RunDetails") -> None:
    average = details.mean_average_precision
    rows = [
        *([("mean average precision", f"{average:.4f}")] if average is not None else []),
        ("top-1", f"{details.top1:.4f}"),
        ("top-5", f"{details.top5:.4f}"),
        ("recall@1 by embedding", f"{details.retrieval_top1:.4f}"),
        ("photos learned / evaluated", f"{details.train_images} / {details.val_images}"),
        ("epochs, kept", f"{details.history[-1].epoch}, {details.best_epoch}"),
        ("minutes", f"{details.seconds / 60:.1f}"),
    ]
    print_table((f"run {out}", "value"), rows)
