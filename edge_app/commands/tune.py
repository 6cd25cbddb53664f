"""`sightline tune`: choose variant, provider and threads by measuring them on this machine."""

from typing import TYPE_CHECKING

import click

from sightline.runtime import Bundle

from ..console import ConsoleReporter, print_json, print_table
from .train import parse_budget

if TYPE_CHECKING:
    from sightline.runtime.tuned import Tuned


@click.command()
@click.argument("bundle")
@click.option("--budget", default="30s", show_default=True, metavar="TIME", help="How long to measure, e.g. 30s or 2m.")
@click.option("--reset", is_flag=True, help="Forget the choice instead: the bundle's default runs again.")
@click.option("--json", "as_json", is_flag=True, help="Print the choice and its evidence as one JSON object.")
def command(bundle: str, budget: str, reset: bool, as_json: bool) -> None:
    """Choose what runs BUNDLE fastest on this machine: variant, provider and threads.

    Every candidate is timed in turns with the default; one that is faster by more than chance, and answers the golden
    pictures as export did, takes its place where no --provider and no --variant are given. The choice is kept beside
    the bundle, or in the user's cache folder where nothing can be written there. Another processor, another bundle,
    other packages end it.

    pip install 'sightline[openvino]' gives x86 processors OpenVINO's kernels as one more candidate.

    \b
    Example:
      sightline tune kiosk.bundle
      sightline tune kiosk.bundle --budget 2m --json
      sightline tune kiosk.bundle --reset
    """
    from sightline.runtime.tune import tune
    from sightline.runtime.tuned import forget_tuned, keep_tuned

    seconds = parse_budget(budget)
    loaded = Bundle.load(bundle)
    if reset:
        removed = forget_tuned(loaded)
        said = f"forgot {', '.join(map(str, removed))}" if removed else "nothing was chosen for this bundle"
        print_json({"bundle": bundle, "removed": list(map(str, removed))}) if as_json else click.echo(said)
        return
    tuned = tune(loaded, seconds, ConsoleReporter())
    place = keep_tuned(loaded, tuned)
    if as_json:
        print_json({"bundle": bundle, "place": str(place), "tuned": tuned})
    else:
        _print(tuned)
        click.echo(f"kept in {place}")


def _print(tuned: "Tuned") -> None:
    for callers, title in ((1, "one picture at a time"), (0, "a folder, all cores")):
        rows = [
            (
                one.choice.variant,
                one.choice.provider,
                one.choice.threads,
                "-" if one.median_ms is None else f"{one.median_ms / one.callers:.2f}",
                "-" if one.ratio is None else f"{one.ratio:.2f}",
                "-" if one.golden is None else f"{one.golden} right",
                one.verdict,
            )
            for one in tuned.trials
            if (one.callers == 1) == (callers == 1)
        ]
        if rows:
            columns = ("variant", "provider", "threads", "ms a picture", "of default", "golden", "verdict")
            print_table(columns, rows, title=title)
            click.echo()
    click.echo(_sentence("one picture at a time", tuned.one, tuned.one_ratio))
    click.echo(_sentence("a folder", tuned.many, tuned.many_ratio))


def _sentence(what: str, choice: object, ratio: float) -> str:
    if ratio >= 1.0:
        return f"{what}: {choice}, the default; nothing else is surely faster here"
    return f"{what}: {choice}, {1 / ratio:.2f} times as fast as the default"
