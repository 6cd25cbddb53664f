"""`sightline gallery calibrate`: when a match counts as known."""

import click

from ..options import device_options

_NEGATIVES = "What is no item: a folder of photos, a CSV file, or a source as in `sightline run`."
_ACCEPTS = "Share of negatives that may be given a label, e.g. 0.001."


@click.command("calibrate")
@click.argument("gallery")
@click.option("--bundle", metavar="BUNDLE", help="The bundle that embeds.")
@click.option("--negatives", metavar="DATA|URI", help=_NEGATIVES)
@click.option(
    "--seconds", default=30.0, show_default=True, type=click.FloatRange(0.1, 3600), help="To look at a source."
)
@click.option("--roi", metavar="L,T,W,H", help="The part of a source's frames that counts, as in `sightline run`.")
@click.option(
    "--false-accepts",
    default=0.01,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="RATE",
    help=_ACCEPTS,
)
@click.option("--forget", is_flag=True, help="Delete thresholds and negatives: the bundle's threshold holds again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@device_options
def calibrate(
    gallery: str,
    bundle: str | None,
    negatives: str | None,
    seconds: float,
    roi: str | None,
    false_accepts: float,
    forget: bool,
    as_json: bool,
    provider: str,
    variant: str,
    threads: int | None,
) -> int:
    """Set from which similarity on a match in GALLERY counts, at a stated rate of false accepts.

    Entries are looked up among each other, and negatives among them: let the camera look at the place without
    any item for half a minute. Labels that negatives come near get a threshold of their own. What was
    looked at is kept as embeddings, without pictures, and thresholds follow as entries come and go. Without
    --negatives those of the last time are used again, or the entries alone.

    Exit code 1 where the rate could not be reached.

    \b
    Example:
      sightline gallery calibrate shop.gallery --bundle kiosk.bundle --negatives 0 --false-accepts 0.001
      sightline gallery calibrate shop.gallery --bundle kiosk.bundle --negatives nothing/ --json
    """
    from dataclasses import asdict

    from sightline.runtime import Bundle, Gallery, Recognizer

    from ..console import ConsoleReporter, print_json
    from ..negatives import look
    from ..region import Region

    if forget:
        with Gallery.open(gallery, create=False) as opened:
            opened.forget_calibration()
        click.echo(f"{gallery}: thresholds and negatives are deleted")
        return 0
    if bundle is None:
        raise click.UsageError("missing option '--bundle'")
    region, reporter = Region.parse(roi) if roi is not None else Region(), ConsoleReporter()
    recognizer = Recognizer(Bundle.load(bundle), provider, variant, threads)
    with Gallery.open(gallery, model=recognizer.model_id, create=False) as opened:
        seen = None
        if negatives is not None:
            seen = look(recognizer, negatives, seconds, region, opened.labels(), reporter)
            if seen.passed_over:
                reporter.warn(f"{seen.passed_over} photos bear a label of the gallery and were left out")
        fallback = recognizer.bundle.manifest.decision.min_similarity
        fitted = opened.calibrate(false_accepts, fallback, seen.embeddings if seen is not None else None)
        cuts = {opened.entry(id).label: cut for id, cut in fitted.of_label.items()}
    missed = fitted.false_accept_rate is not None and fitted.false_accept_rate > false_accepts
    if as_json:
        print_json({"gallery": gallery, **asdict(fitted), "of_label": cuts, "reached": not missed})
    else:
        _print(gallery, asdict(fitted), cuts, false_accepts)
    return 1 if missed else 0


def _print(gallery: str, fitted: dict[str, float | None], cuts: dict[str, float], aim: float) -> None:
    from ..console import print_table

    rows = [
        ("entries looked up among the others", fitted["entries"]),
        ("negatives", fitted["negatives"]),
        ("a match counts from similarity", fitted["similarity"]),
        ("negatives given a label, held out", _share(fitted["false_accept_rate"])),
        ("  at most, at 95 % confidence", _share(fitted["false_accept_bound"])),
        ("entries called unknown", _share(fitted["false_reject_rate"])),
        ("entries named wrongly when their label is hidden", _share(fitted["other_accept_rate"])),
        ("area under the curve", "-" if fitted["auc"] is None else f"{fitted['auc']:.4f}"),
    ]
    print_table((gallery, "value"), [(name, value if isinstance(value, str) else f"{value:g}") for name, value in rows])
    if cuts:
        print_table(("labels that negatives come near", "from similarity"), sorted(cuts.items()))
    negatives = int(fitted["negatives"] or 0)
    if 0 < negatives < 1 / aim - 1:
        click.echo(
            f"{negatives} negatives cannot show a rate of {aim:g}: it takes {round(1 / aim)} or more to see it",
            err=True,
        )


def _share(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.4f}"
