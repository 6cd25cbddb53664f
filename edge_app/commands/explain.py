"""`sightline explain`: what an answer rests on, as a picture."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from sightline.runtime import Bundle, Gallery, InputError, Recognizer, decode_image, read_image
from sightline.runtime.manifest import EMBEDDING

from ..console import ConsoleReporter, print_json
from ..options import device_options
from ..pictures import check_picture, write_picture

_METHODS = ("occlusion", "gradcam", "filters", "features")


@click.command()
@click.argument("bundle", metavar="BUNDLE|RUN")
@click.argument("image")
@click.option("--out", required=True, metavar="PICTURE", help="Picture to write: .png or .jpg.")
@click.option("--gallery", metavar="GALLERY", help="Also map the similarity to the nearest entry.")
@click.option("--label", metavar="NAME", help="Map what speaks for this label instead of the answer.")
@click.option(
    "--method",
    type=click.Choice(_METHODS),
    help="occlusion asks a bundle; gradcam, filters and features look into a run  [default: what fits]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@device_options
def command(
    bundle: str,
    image: str,
    out: str,
    gallery: str | None,
    label: str | None,
    method: str | None,
    as_json: bool,
    provider: str,
    variant: str,
    threads: int | None,
) -> int:
    """Show what the answer of a bundle, or of a training run, to IMAGE rests on.

    With a bundle, parts of the photo are covered and the model is asked again, about 300 times: no torch needed. The
    brighter a place, the more the answer falls without it. With a folder that 'sightline train' wrote, --method
    gradcam maps what the last layer with a place looks at, filters draws the first layer's weights, and features what
    the first, a middle and the last layer make of the photo.

    \b
    Example:
      sightline explain kiosk.bundle photo.jpg --out why.png
      sightline explain kiosk.bundle photo.jpg --gallery shop.gallery --out why.png
      sightline explain run photo.jpg --method features --out features.png
    """
    place = Path(out)
    check_picture(place)
    is_run = (Path(bundle) / "run.json").is_file()
    method = method or ("gradcam" if is_run else "occlusion")
    if is_run != (method != "occlusion"):
        wanted = "a folder that 'sightline train' wrote" if method != "occlusion" else "a bundle"
        raise InputError(f"--method {method} looks into {wanted}, and '{bundle}' is none")
    if is_run and gallery is not None:
        raise click.UsageError("--gallery needs a bundle")
    frame_bgr = read_image(image)
    if is_run:
        from ..insight_run import explain_run

        told: dict[str, Any] = explain_run(bundle, frame_bgr, method, label, place)
    else:
        recognizer = Recognizer(Bundle.load(bundle), provider, variant, threads)
        if label is not None and label not in recognizer.labels:
            raise InputError(f"the classifier has no label '{label}': 'sightline inspect' lists them")
        lookup = Gallery.open(gallery, model=recognizer.model_id, create=False) if gallery else None
        with nullcontext() if lookup is None else lookup:
            told = _explain_bundle(recognizer, frame_bgr, lookup, label, place)
    if as_json:
        print_json({"image": image, "method": method, "picture": out, **told})
    else:
        for line in told["words"]:
            click.echo(line)
        click.echo(out)
    return 0


def _explain_bundle(
    recognizer: Recognizer, frame_bgr: Any, gallery: Gallery | None, label: str | None, place: Path
) -> dict[str, Any]:
    from ..insight import Panel, draw_insight, explain_answer, explain_match, say_answer

    answer = recognizer.recognize(frame_bgr, gallery)
    alone = recognizer.bundle.manifest.task == EMBEDDING
    if alone and not answer.matches:
        raise InputError("this bundle only makes embeddings: give a --gallery with an entry to compare with")
    insights, panels = [], [Panel("the photo", frame_bgr)]
    with ConsoleReporter().task("covering parts of the photo") as task:
        if not alone:
            insights.append(explain_answer(recognizer, frame_bgr, label, task.advance))
            panels.append(Panel(f"what speaks for {insights[0].label}", frame_bgr, insights[0].occlusion.heat))
        if gallery is not None and answer.matches:
            nearest = answer.matches[0]
            insights.append(explain_match(recognizer, frame_bgr, gallery, nearest, task.advance))
            crop = gallery.crop(nearest.id)
            panels.append(Panel("what the nearest entry shares", frame_bgr, insights[-1].occlusion.heat))
            if crop is not None:
                panels.append(Panel(f"entry #{nearest.id}, {nearest.label}", decode_image(crop, f"entry {nearest.id}")))
    heading = say_answer(answer)
    others = ", ".join(f"{one.label} {one.probability:.0%}" for one in answer.top[1:3])
    words = [f"{insight.words}." for insight in insights] + ([f"Other answers: {others}."] if others else [])
    write_picture(place, draw_insight(panels, heading, words, recognizer.bundle.input_spec))
    return {
        "answer": answer.to_dict(),
        "words": [heading, *words],
        "maps": [
            {
                "of": kind,
                "label": one.label,
                "before": one.before,
                "after": one.after,
                "passes": one.occlusion.passes,
            }
            for kind, one in zip(("probability", "similarity")[alone:], insights, strict=False)
        ],
    }
