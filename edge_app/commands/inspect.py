"""`sightline inspect`: what a bundle holds."""

import click
import msgspec

from sightline.runtime import Bundle
from sightline.runtime.manifest import RECOGNISES, Manifest

from ..advice import describe_choice
from ..console import print_json, print_table


@click.command()
@click.argument("bundle")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as one JSON object.")
def command(bundle: str, as_json: bool) -> None:
    """Show what BUNDLE holds and what export measured of it.

    \b
    Example:
      sightline inspect kiosk.bundle
    """
    loaded = Bundle.load(bundle)
    manifest = loaded.manifest
    kept, chosen = describe_choice(loaded) if manifest.task in RECOGNISES else (None, "")
    if as_json:
        print_json({**msgspec.to_builtins(manifest), "tuned": kept})
    else:
        _print(manifest)
        if chosen:
            click.echo(f"tuned: {chosen}")


def _print(manifest: Manifest) -> None:
    print_table(
        ("what", "value"), [("bundle", manifest.bundle_id[:12]), ("architecture", manifest.arch), *_about(manifest)]
    )
    click.echo()
    print_table(
        ("variant", "precision", "for", "MB", "top-1", "agreement", "ms", ""),
        [
            (
                one.name,
                one.precision,
                one.target,
                f"{one.bytes / 1e6:.2f}",
                _figure(one.top1),
                _figure(one.agreement),
                "-" if one.latency_ms is None else f"{one.latency_ms:.2f}",
                "default" if one.name == manifest.default_variant else "",
            )
            for one in manifest.variants
        ],
    )
    for reason in manifest.gate.reasons if manifest.gate else ():
        click.echo(f"- {reason}")


def _about(manifest: Manifest) -> list[tuple[str, str]]:
    spec, decision, found, text = manifest.input, manifest.decision, manifest.detection, manifest.text
    seen = "stretched" if spec.stretch else "centre"
    rows = [("task", manifest.task)]
    if manifest.labels:
        more = " …" * (len(manifest.labels) > 6)
        rows += [("labels", f"{len(manifest.labels)}: {', '.join(manifest.labels[:6])}{more}")]
    if text is None:
        rows += [("input", f"{spec.width}x{spec.height} RGB, {seen} crop {spec.crop:g}")]
    else:
        rows += [("input", f"texts of {text.length} tokens at most")]
    if manifest.embedding is not None:
        rows += [("embedding", f"{manifest.embedding.dim} wide, model {manifest.embedding.model_id}")]
    if manifest.task in RECOGNISES:
        floors = f"probability {decision.min_probability:.2f}, similarity {decision.min_similarity:.2f}"
        rows += [("unknown below", floors)]
    if found is not None:
        rows += [("boxes", f"of a score above {found.min_score:g}, overlapping by {found.max_overlap:g} at most")]
    return rows


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
