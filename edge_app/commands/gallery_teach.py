"""`sightline gallery build|add`: photos become entries."""

from typing import TYPE_CHECKING, Any

import click

from ..options import device_options, metadata_of

if TYPE_CHECKING:
    from ..embedding import Embed, Embedder, ModelChoice

_BUNDLE = click.option("--bundle", required=True, metavar="BUNDLE", help="The bundle that embeds.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command("build")
@click.argument("gallery")
@click.argument("data")
@_BUNDLE
@click.option("--label-column", default="label", show_default=True, help="CSV column that holds the label.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 4096), help="Processes that embed.")
@click.option("--ray", "cluster", metavar="ADDRESS", help="Embed on a Ray cluster: local, auto or HOST:PORT.")
@_JSON
@device_options
def build(
    gallery: str,
    data: str,
    bundle: str,
    label_column: str,
    workers: int,
    cluster: str | None,
    as_json: bool,
    provider: str,
    variant: str,
    threads: int | None,
) -> int:
    """Put the labelled photos of DATA (a folder of class folders, or a CSV file) into GALLERY.

    GALLERY is made where it is missing: a folder, or for catalogues too large for a device a collection of the
    engine Qdrant, qdrant://HOST:PORT/COLLECTION (qdrant+https:// with the key in QDRANT_API_KEY). Photos that it
    holds already under the same label are passed over, so an interrupted build goes on where it stopped. Other
    CSV columns become metadata. A photo that cannot be read is named, the rest goes on, and the exit code is 1.

    With --ray every machine of the cluster needs sightline, and bundle and photos under the same paths.

    \b
    Example:
      sightline gallery build shop.gallery photos/ --bundle kiosk.bundle
      sightline gallery build shop.gallery products.csv --label-column name --bundle kiosk.bundle
      sightline gallery build qdrant://db:6333/products products.csv --bundle kiosk.bundle --workers 8
    """
    from sightline.runtime import Gallery
    from sightline.runtime.dataset import match_labels, read_dataset
    from sightline.runtime.gallery import open_catalogue

    from ..advice import tell_advice
    from ..console import ConsoleReporter
    from ..embedding import ModelChoice
    from ..enrolment import enrol

    choice = ModelChoice(bundle, provider, variant, threads)
    embedder, reporter = choice.open(), ConsoleReporter()
    recognizer = embedder.recognizer
    tell_advice(recognizer, reporter)
    images = match_labels(read_dataset(data, label_column), recognizer.labels)
    embed = _embed(embedder, choice, workers, cluster)
    dim = recognizer.bundle.embedding.dim
    with open_catalogue(gallery, recognizer.model_id, create=True, dim=dim) as opened:
        done = enrol(opened, embed, images, reporter, skip_known=True)
        if done.ids and isinstance(opened, Gallery) and opened.wants_graph:
            opened.rebuild(reporter)
        entries, labels = len(opened), len(opened.labels())
    figures = {"gallery": gallery, "added": len(done.ids), "known": len(done.known)}
    _report({**figures, "failed": done.failed, "entries": entries, "labels": labels}, as_json)
    return 1 if done.failed else 0


@click.command("add")
@click.argument("gallery")
@click.argument("images", nargs=-1, required=True)
@click.option("--label", required=True, metavar="NAME", help="What the images show.")
@_BUNDLE
@click.option("--meta", "pairs", multiple=True, metavar="KEY=VALUE", help="Metadata of every image; repeat it.")
@_JSON
@device_options
def add(
    gallery: str,
    images: tuple[str, ...],
    label: str,
    bundle: str,
    pairs: tuple[str, ...],
    as_json: bool,
    provider: str,
    variant: str,
    threads: int | None,
) -> int:
    """Add IMAGES (files or folders), all of one label, to GALLERY; it is made where it is missing.

    \b
    Example:
      sightline gallery add shop.gallery mug1.jpg mug2.jpg --label mug --meta sku=A-17 --bundle kiosk.bundle
    """
    from sightline.runtime.dataset import list_images
    from sightline.runtime.gallery import open_catalogue

    from ..console import ConsoleReporter, print_json
    from ..embedding import ModelChoice, embed_here
    from ..enrolment import enrol, labelled

    photos = labelled(list_images(images), label, metadata_of(pairs, "--meta"))
    embedder = ModelChoice(bundle, provider, variant, threads).open()
    recognizer = embedder.recognizer
    dim = recognizer.bundle.embedding.dim
    with open_catalogue(gallery, recognizer.model_id, create=True, dim=dim) as opened:
        done = enrol(opened, embed_here(embedder), photos, ConsoleReporter())
        entries = len(opened)
    if as_json:
        added = [{"image": image, "id": id} for image, id in done.ids.items()]
        print_json({"gallery": gallery, "added": added, "failed": done.failed, "entries": entries})
    else:
        for image, id in done.ids.items():
            click.echo(f"{id}\t{label}\t{image}")
    return 1 if done.failed else 0


def _embed(embedder: "Embedder", choice: "ModelChoice", workers: int, cluster: str | None) -> "Embed":
    from ..embedding import embed_here, embed_in_processes

    if cluster is not None:
        from ..cluster import embed_on_ray

        return embed_on_ray(choice, workers, cluster)
    return embed_here(embedder) if workers == 1 else embed_in_processes(choice, workers)


def _report(figures: dict[str, Any], as_json: bool) -> None:
    from ..console import print_json

    if as_json:
        print_json(figures)
        return
    known = f", {figures['known']} were there already" if figures["known"] else ""
    failed = f", {len(figures['failed'])} could not be read" if figures["failed"] else ""
    held = f"{figures['entries']} entries of {figures['labels']} labels"
    click.echo(f"{figures['gallery']}: {held} ({figures['added']} added{known}{failed})")
