"""`sightline gallery reembed|merge|salvage`: galleries made from others."""

import click

from ..options import device_options

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command("reembed")
@click.argument("gallery")
@click.option("--bundle", required=True, metavar="BUNDLE", help="The bundle whose embeddings it shall hold.")
@click.option("--drop-missing", is_flag=True, help="Remove entries that keep no picture to embed.")
@_JSON
@device_options
def reembed(
    gallery: str,
    bundle: str,
    drop_missing: bool,
    as_json: bool,
    provider: str,
    variant: str,
    threads: int | None,
) -> int:
    """Give GALLERY the embeddings of another model, from the pictures that its entries keep.

    The old embeddings serve until all are ready; an interrupted run goes on where it stopped.

    \b
    Example:
      sightline gallery reembed shop.gallery --bundle better.bundle
    """
    from pathlib import Path

    from sightline.runtime import Bundle, Recognizer
    from sightline.runtime.gallery import reembed as run

    from ..console import ConsoleReporter, print_json

    recognizer = Recognizer(Bundle.load(bundle), provider, variant, threads)
    done = run(Path(gallery), recognizer.model_id, recognizer.embed, ConsoleReporter(), drop_missing)
    if as_json:
        figures = {"entries": done.entries, "dropped": list(done.dropped)}
        print_json({"gallery": gallery, "model_id": recognizer.model_id, **figures})
        return 0
    dropped = f", {len(done.dropped)} without a picture removed" if done.dropped else ""
    click.echo(f"{gallery}: {done.entries} entries of model {recognizer.model_id}{dropped}")
    return 0


@click.command("merge")
@click.argument("galleries", nargs=-1, required=True)
@click.option("--into", required=True, metavar="GALLERY", help="The new gallery.")
@_JSON
def merge(galleries: tuple[str, ...], into: str, as_json: bool) -> int:
    """Join GALLERIES of one model into a new one, without a server.

    An entry that several hold comes once, as it was changed last; what one of them removed since stays removed.

    \b
    Example:
      sightline gallery merge kiosk1.gallery kiosk2.gallery --into shop.gallery
    """
    from pathlib import Path

    from sightline.runtime.gallery import merge as run

    from ..console import print_json

    done = run([Path(one) for one in galleries], Path(into))
    if as_json:
        print_json({"gallery": into, "entries": done.entries, "same": done.same, "removed": done.removed})
    else:
        click.echo(f"{into}: {done.entries} entries ({done.same} were in several, {done.removed} had been removed)")
    return 0


@click.command("salvage")
@click.argument("gallery")
@click.option("--into", required=True, metavar="NEW", help="The new gallery.")
@_JSON
def salvage(gallery: str, into: str, as_json: bool) -> int:
    """Save every whole entry of a damaged GALLERY into a new one, under the same ids; GALLERY stays as it is.

    Exit code 1 where entries or pictures were lost; they are named.

    \b
    Example:
      sightline gallery salvage shop.gallery --into saved.gallery
    """
    from pathlib import Path

    from sightline.runtime.gallery import salvage as run

    from ..console import print_json

    done = run(Path(gallery), Path(into))
    if as_json:
        losses = {"lost": list(done.lost), "without_picture": list(done.without_picture)}
        print_json({"gallery": into, "saved": done.saved, **losses})
    else:
        click.echo(f"{into}: {done.saved} entries saved")
        for what, ids in (("lost", done.lost), ("without their picture", done.without_picture)):
            if ids:
                click.echo(f"{what}: {', '.join(map(str, ids))}")
    return 1 if done.lost or done.without_picture else 0
