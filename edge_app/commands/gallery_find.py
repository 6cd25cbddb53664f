"""`sightline gallery search|list|stats`: what is in a gallery."""

import click

from ..options import device_options


@click.command("search")
@click.argument("gallery")
@click.argument("image")
@click.option("--bundle", required=True, metavar="BUNDLE", help="The bundle that embeds.")
@click.option("-k", "k", default=5, show_default=True, type=click.IntRange(1, 10_000), help="Matches to show.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@device_options
def search(
    gallery: str,
    image: str,
    bundle: str,
    k: int,
    as_json: bool,
    provider: str,
    variant: str,
    threads: int | None,
) -> int:
    """Show the entries of GALLERY most similar to IMAGE.

    \b
    Example:
      sightline gallery search shop.gallery photo.jpg --bundle kiosk.bundle -k 10
    """
    from sightline.runtime import Bundle, Gallery, Recognizer, read_image

    from ..console import print_json, print_table

    frame_bgr = read_image(image)
    recognizer = Recognizer(Bundle.load(bundle), provider, variant, threads)
    with Gallery.open(gallery, model=recognizer.model_id, create=False) as opened:
        matches = opened.match(recognizer.embed([frame_bgr])[0], k)
    if as_json:
        print_json({"image": image, "gallery": gallery, "matches": matches})
        return 0
    rows = [(match.id, match.label, match.similarity, _words(match.metadata)) for match in matches]
    print_table(("id", "label", "similarity", "metadata"), rows)
    return 0


@click.command("list")
@click.argument("gallery")
@click.option("--label", metavar="NAME", help="Only entries of this label.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_entries(gallery: str, label: str | None, as_json: bool) -> int:
    """List the entries of GALLERY.

    \b
    Example:
      sightline gallery list shop.gallery --label mug
      sightline gallery list shop.gallery --json
    """
    from sightline.runtime import Gallery, GalleryError

    from ..console import print_json

    with Gallery.open(gallery, create=False) as opened:
        if label is not None and label not in opened.labels():
            raise GalleryError(f"gallery '{gallery}' has no entry of label '{label}'")
        for entry in opened.entries(label):
            if as_json:
                print_json(entry)
            else:
                made = entry.created.astimezone().strftime("%Y-%m-%d %H:%M")
                click.echo("\t".join((str(entry.id), entry.label, made, entry.source or "", _words(entry.metadata))))
    return 0


@click.command("stats")
@click.argument("gallery")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(gallery: str, as_json: bool) -> int:
    """Show what GALLERY holds and how it is searched on this machine.

    \b
    Example:
      sightline gallery stats shop.gallery
    """
    from dataclasses import asdict

    from sightline.runtime import Gallery

    from ..console import print_json, print_table

    with Gallery.open(gallery, create=False) as opened:
        opened.settle(_SETTLE_S)
        figures, labels = opened.stats(), opened.labels()
    if as_json:
        print_json({**asdict(figures), "per_label": labels})
        return 0
    print_table(("", ""), [(name.replace("_", " "), value) for name, value in asdict(figures).items()])
    print_table(("label", "entries"), list(labels.items()))
    return 0


# A saved graph loads in a fraction of a second; one that must be built is not waited for.
_SETTLE_S = 2.0


def _words(metadata: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in metadata.items())
