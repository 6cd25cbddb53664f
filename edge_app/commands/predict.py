"""`sightline predict`: recognise image files."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from sightline.runtime import Bundle, InputError, Recognition, Recognizer, read_image
from sightline.runtime.bulk import in_order, open_for_many
from sightline.runtime.dataset import list_images
from sightline.runtime.manifest import RECOGNISES
from sightline.runtime.objects import ObjectRecognizer
from sightline.runtime.segmenter import Segmenter

from ..advice import tell_advice
from ..opening import Model, ObjectOptions, object_options, open_finder, open_model
from ..options import device_options


@click.command()
@click.argument("bundle")
@click.argument("images", nargs=-1, required=True)
@click.option("--gallery", metavar="GALLERY", help="Also look each image up in this gallery or qdrant:// collection.")
@click.option("-k", "k", default=5, show_default=True, type=click.IntRange(1, 1000), help="Matches an image.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--save-overlay", metavar="DIR", help="Write pictures with the boxes or areas that were found.")
@object_options
@device_options
def command(
    bundle: str,
    images: tuple[str, ...],
    gallery: str | None,
    k: int,
    as_json: bool,
    save_overlay: str | None,
    objects: ObjectOptions,
    provider: str,
    variant: str,
    threads: int | None,
) -> int:
    """Recognise IMAGES (files or folders) with BUNDLE.

    --detector finds objects and answers each of them. A BUNDLE that detects or segments by itself tells what it finds.

    A file that cannot be read is named, the rest goes on, and the exit code is 1. Of several images each core
    answers its own, so a latency is that of one core.

    \b
    Example:
      sightline predict kiosk.bundle photo.jpg
      sightline predict kiosk.bundle photos/ --gallery shop.gallery --json
      sightline predict kiosk.bundle photo.jpg --detector objects.bundle --save-overlay found/
    """
    files = list_images(images)
    loaded, workers = Bundle.load(bundle), 1
    if objects.detector is not None or loaded.manifest.task not in RECOGNISES:
        model = open_model(bundle, provider, variant, threads, objects, gallery)
        return _look(files, model, open_finder(model, objects, provider, threads), gallery, k, save_overlay, as_json)
    if save_overlay is not None:
        raise click.UsageError("--save-overlay draws what --detector, or a bundle that detects or segments, found")
    if len(files) > 1:
        recognizer, workers = open_for_many(loaded, provider, variant, threads)
    else:
        recognizer = Recognizer(loaded, provider, variant, threads)
    tell_advice(recognizer)
    failed = 0
    with _open_gallery(gallery, recognizer.model_id) as lookup:
        for file, answer in _answers(recognizer, files, lookup, k, workers):
            failed += isinstance(answer, InputError)
            (_print_json if as_json else _print_line)(file, answer)
    return _told(failed, len(files))


def _look(
    files: list[Path],
    model: Model,
    finder: ObjectRecognizer | None,
    gallery: str | None,
    k: int,
    save_overlay: str | None,
    as_json: bool,
) -> int:
    from ..found import look_at, overlay_folder

    overlays = overlay_folder(save_overlay) if save_overlay is not None else None
    looker = finder if finder is not None else model
    assert isinstance(looker, ObjectRecognizer | Segmenter)
    with _open_gallery(gallery, model.model_id if isinstance(model, Recognizer) else "") as lookup:
        return _told(look_at(files, looker, lookup, k, overlays, as_json), len(files))


def _told(failed: int, count: int) -> int:
    if failed:
        click.echo(f"sightline: {failed} of {count} images could not be read", err=True)
    return 1 if failed else 0


def _open_gallery(path: str | None, model_id: str) -> Any:
    if path is None:
        return nullcontext(None)
    from sightline.runtime.gallery import open_catalogue

    return open_catalogue(path, model_id, create=False)


def _answers(
    recognizer: Recognizer,
    files: list[Path],
    gallery: Any,
    k: int,
    workers: int,
) -> Iterator[tuple[Path, Recognition | InputError]]:
    def answer(file: Path) -> tuple[Path, Recognition | InputError]:
        try:
            return file, recognizer.recognize(read_image(file), gallery, k)
        except InputError as error:
            return file, error

    return in_order(answer, files, workers)


def _print_json(file: Path, answer: Recognition | InputError) -> None:
    import msgspec

    fields = {"error": str(answer)} if isinstance(answer, InputError) else answer.to_dict()
    click.echo(msgspec.json.encode({"image": str(file), **fields}).decode())


def _print_line(file: Path, answer: Recognition | InputError) -> None:
    if isinstance(answer, InputError):
        click.echo(f"{answer}", err=True)
        sys.stderr.flush()
        return
    decision = answer.decision
    if answer.labels and decision.decided_by == "classifier":
        said = ", ".join(f"{one.label} {one.probability:.0%}" for one in answer.labels)
    elif decision.known:
        said = f"{decision.label}  {decision.confidence:.0%} ({decision.decided_by})"
    else:
        guess = f"  (nearest: {answer.top[0].label} {answer.top[0].probability:.0%})" if answer.top else ""
        said = f"unknown{guess}"
    nearest = ", ".join(f"#{match.id} {match.label} {match.similarity:.2f}" for match in answer.matches[:3])
    click.echo(f"{file}: {said}" + (f"  gallery: {nearest}" if nearest else ""))
