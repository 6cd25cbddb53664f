"""`sightline replay`: answer the frames that a run kept once more."""

import click


@click.command()
@click.argument("folder", type=click.Path())
@click.option("--bundle", type=click.Path(), metavar="BUNDLE", help="Answer with this bundle [default: the trace's].")
@click.option("--variant", metavar="NAME", help="Answer with this variant [default: the trace's].")
@click.option("--provider", default="auto", show_default=True, help="ONNX Runtime provider, e.g. cpu or cuda.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(folder: str, bundle: str | None, variant: str | None, provider: str, as_json: bool) -> int:
    """Answer the frames that 'run --trace FOLDER' kept once more, and name the first that is decided otherwise.

    FOLDER holds all that is needed and may be copied to another machine. Exit code 1 where a decision differs.

    \b
    Example:
      sightline run kiosk.bundle --source 0 --gallery shop.gallery --trace trace
      sightline replay trace
    """
    from pathlib import Path

    from ..console import print_json
    from ..outputs.event import iso_time
    from ..trace.replay import Replayer
    from ..trace.store import TraceReader

    with TraceReader(Path(folder)) as trace:
        replay = Replayer(trace, Path(bundle) if bundle else None, provider, variant).run()
    if as_json:
        print_json(replay)
    else:
        same = "the same decisions" if not replay.differences else f"{replay.differences} decided otherwise"
        click.echo(f"{replay.frames} frames: {same}; confidence differs by at most {replay.largest_shift:.6f}")
        if replay.neighbours:
            click.echo(f"{replay.neighbours} frames have other matches, or in another order")
    first = replay.first
    if first is not None and not as_json:
        click.echo(
            f"first: frame {first.frame} ({iso_time(first.at_s)}), {first.what}: "
            f"was {_words(first.recorded)}, now {_words(first.replayed)}"
        )
    return 1 if replay.differences else 0


def _words(decision: object) -> str:
    label, confidence = getattr(decision, "label", None), getattr(decision, "confidence", 0.0)
    by = getattr(decision, "decided_by", None)
    return f"'{label}' by {by} ({confidence:.4f})" if label is not None else f"unknown ({confidence:.4f})"
