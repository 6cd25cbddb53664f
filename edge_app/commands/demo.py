"""`sightline demo`: the whole path on data that it draws itself."""

from typing import TYPE_CHECKING

import click

from ..patience import wait_asleep

if TYPE_CHECKING:
    from ..demo.score import Count
    from ..demo.story import DemoResult


@click.command()
@click.option("--out", default="sightline-demo", show_default=True, metavar="DIR", help="Where everything goes.")
@click.option("--data", metavar="DATA", help="Your own photos (folder of class folders, or CSV) instead of drawn ones.")
@click.option("--new", metavar="LABEL", help="With --data: the class that plays the new item.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Chance of drawing and training.")
@click.option("--quick", is_flag=True, help="Fewer photos and a shorter training: shows the path, proves less.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(out: str, data: str | None, new: str | None, seed: int, quick: bool, as_json: bool) -> int:
    """Go the whole path: photos, training, int8 bundle, gallery, camera clip, an item taught on the way.

    Without --data it draws a small shop and needs no network, no weights and no photos: about two minutes on
    two cores. DIR then holds annotated.mp4, report.html, poster.png, the bundle, the gallery and the clip.

    The exit code is 1 where the int8 model failed its gate, or where on half of the frames of a kind or more known
    items were not named, the new item, the one never taught or the empty shelf was not unknown, or the new item was
    not named in later views. The table then says FELL SHORT.

    \b
    Example:
      sightline demo
      sightline demo --data photos/ --new "coffee mug" --out my-demo
    """
    from pathlib import Path

    from sightline.runtime.errors import InputError

    from ..console import ConsoleReporter, print_json
    from ..demo.story import DemoOptions, run_demo

    if new is not None and data is None:
        raise click.UsageError("--new names a class of your own photos: add --data")
    wait_asleep()
    try:
        import sightline.export.run  # noqa: F401  (says what is missing before anything is drawn)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the demo trains a model, and {error.name} is not installed: pip install 'sightline[export]'"
        ) from error
    result = run_demo(DemoOptions(Path(out), data, new, seed, quick), ConsoleReporter())
    if as_json:
        import msgspec

        print_json({"out": out, **msgspec.to_builtins(result)})
    else:
        _show(result, out)
    return 0 if result.ok else 1


def _show(result: "DemoResult", out: str) -> None:
    from ..console import print_table

    print_table(("measured", ""), _figures(result), title="What was measured")
    print_table(("stage", "s"), [(stage.name, stage.seconds) for stage in result.stages])
    click.echo(f"\n{out}/annotated.mp4   what the camera loop saw and said")
    click.echo(f"{out}/report.html     the bundle's report")
    click.echo(f"{out}/poster.png      the demo in one picture")
    click.echo(f"\nsightline predict {out}/bundle PHOTO --gallery {out}/gallery")
    if not result.ok:
        click.echo("\nThe demo fell short: see the lines above that say so.")


def _figures(result: "DemoResult") -> list[tuple[str, str]]:
    clip = result.clip
    rows = [
        (f"top-1, {variant.name}", f"{variant.top1:.1%} of {result.images} photos")
        for variant in result.variants
        if variant.top1 is not None
    ]
    rows += [
        ("int8 against fp32", _ratio(result)),
        ("gate", "passed" if result.gate_passed else f"FAILED: {' '.join(result.gate_reasons)}"),
        ("runs", result.default_variant),
        ("gallery", f"{result.gallery_entries} entries, recall@1 {result.recall_at_1:.1%} of {result.images} photos"),
        ("views taught", str(clip.views)),
    ]
    counts = (
        ("known items named rightly", clip.known),
        (f"{result.new} unknown before it was taught", clip.new_before),
        (f"{result.new} recognised afterwards", clip.new_after),
        ("never taught item kept unknown", clip.stranger),
        ("empty shelf kept unknown", clip.empty),
    )
    rows += [(name, _judged(count)) for name, count in counts if count.frames]
    rows.append(("frame to answer", f"{clip.p50_ms:.1f} ms median, {clip.p95_ms:.1f} ms p95"))
    return rows


def _judged(count: "Count") -> str:
    return str(count) if count.mostly else f"{count}: FELL SHORT"


def _ratio(result: "DemoResult") -> str:
    first, last = result.variants[0], result.variants[-1]
    size = f"{first.bytes / 1e6:.1f} MB to {last.bytes / 1e6:.1f} MB"
    if not (first.latency_ms and last.latency_ms):
        return size
    return f"{size}, {first.latency_ms / last.latency_ms:.2f} times as fast"
