"""`sightline gallery search|list|stats`: what is in a gallery."""

from typing import TYPE_CHECKING, Any

import click

from ..options import device_options, metadata_of, where_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sightline.runtime.recognition import Match

    # Provider, variant and threads; an embedding and the model that made it.
    Opening = tuple[str, str, int | None]
    Embedded = tuple[NDArray[np.float32], str]


@click.command("search")
@click.argument("gallery")
@click.argument("image", required=False)
@click.option("--bundle", metavar="BUNDLE", help="The bundle that embeds IMAGE.")
@click.option("--entry", type=int, metavar="ID", help="Search by an entry instead of an image; needs no bundle.")
@click.option("--text", metavar="WORDS", help="Search by words instead of an image, with --words.")
@click.option("--words", metavar="BUNDLE", help="The bundle that embeds --text: of the same pair as the gallery's.")
@click.option("-k", "k", default=5, show_default=True, type=click.IntRange(1, 10_000), help="Matches to show.")
@click.option("--label", metavar="NAME", help="Only among entries of this label.")
@where_option
@click.option(
    "--metric", type=click.Choice(["cosine", "inner-product", "euclidean"]), default="cosine", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@device_options
def search(
    gallery: str,
    image: str | None,
    bundle: str | None,
    entry: int | None,
    text: str | None,
    words: str | None,
    k: int,
    label: str | None,
    pairs: tuple[str, ...],
    metric: str,
    as_json: bool,
    provider: str,
    variant: str,
    threads: int | None,
) -> int:
    """Show the entries of GALLERY most similar to IMAGE, to one of its entries, or to words.

    Embeddings have unit length: the inner product is the cosine, and the Euclidean distance gives the same order.

    \b
    Example:
      sightline gallery search shop.gallery photo.jpg --bundle kiosk.bundle -k 10
      sightline gallery search shop.gallery --entry 17 --where colour=red --metric euclidean
      sightline gallery search shop.gallery --text 'a red mug' --words words.bundle
    """
    from sightline.runtime.gallery import Metric, open_catalogue

    from ..console import print_json, print_table

    if sum(one is not None for one in (image, entry, text)) != 1:
        raise click.UsageError("name either IMAGE, --entry or --text")
    if (text is None) != (words is None):
        raise click.UsageError("--text and --words belong together: words are embedded by their own bundle")
    if image is not None and bundle is None:
        raise click.UsageError("missing option '--bundle': an image is embedded by the bundle")
    where, model_id = metadata_of(pairs), None
    query: NDArray[np.float32] | int | None = entry
    if image is not None and bundle is not None:
        query, model_id = _embed_image(image, bundle, (provider, variant, threads))
    if text is not None and words is not None:
        query, model_id = _embed_text(text, words, (provider, variant, threads))
    assert query is not None
    with open_catalogue(gallery, model_id, create=False) as opened:
        if isinstance(query, int) or label is not None or where:
            matches = opened.match_among(query, k, label, where)
        else:
            matches = opened.match(query, k)
    told = Metric(metric)
    if as_json:
        found = [{**_plain(match), "metric": metric, "value": told.of(match.similarity)} for match in matches]
        print_json({"image": image, "entry": entry, "text": text, "gallery": gallery, "matches": found})
        return 0
    heading = "distance" if told is Metric.EUCLIDEAN else "similarity"
    rows = [(match.id, match.label, told.of(match.similarity), _words(match.metadata)) for match in matches]
    print_table(("id", "label", heading, "metadata"), rows)
    return 0


def _embed_image(image: str, bundle: str, how: "Opening") -> "Embedded":
    from sightline.runtime import Bundle, Recognizer, read_image

    frame_bgr = read_image(image)
    recognizer = Recognizer(Bundle.load(bundle), *how)
    return recognizer.embed([frame_bgr])[0], recognizer.model_id


def _embed_text(text: str, bundle: str, how: "Opening") -> "Embedded":
    from sightline.runtime import Bundle
    from sightline.runtime.words import Words

    encoder = Words(Bundle.load(bundle), *how)
    return encoder.embed([text])[0], encoder.model_id


def _plain(match: "Match") -> dict[str, Any]:
    return {"id": match.id, "label": match.label, "similarity": match.similarity, "metadata": match.metadata}


@click.command("list")
@click.argument("gallery")
@click.option("--label", metavar="NAME", help="Only entries of this label.")
@where_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_entries(gallery: str, label: str | None, pairs: tuple[str, ...], as_json: bool) -> int:
    """List the entries of GALLERY.

    \b
    Example:
      sightline gallery list shop.gallery --label mug --where sku=A-17
      sightline gallery list shop.gallery --json
    """
    from sightline.runtime import GalleryError
    from sightline.runtime.gallery import open_catalogue

    from ..console import print_json

    wanted = metadata_of(pairs).items()
    with open_catalogue(gallery, None, create=False) as opened:
        if label is not None and label not in opened.labels():
            raise GalleryError(f"gallery '{gallery}' has no entry of label '{label}'")
        for entry in opened.entries(label):
            if not wanted <= entry.metadata.items():
                continue
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
    from sightline.runtime.gallery import open_catalogue

    from ..console import print_json, print_table

    with open_catalogue(gallery, None, create=False) as opened:
        if isinstance(opened, Gallery):
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
