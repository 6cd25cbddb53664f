"""`sightline gallery reembed|merge|salvage|export|import`: galleries made from others, and files made from them."""

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
    from sightline.runtime import Bundle, Recognizer
    from sightline.runtime.gallery import gallery_folder
    from sightline.runtime.gallery import reembed as run

    from ..console import ConsoleReporter, print_json

    recognizer = Recognizer(Bundle.load(bundle), provider, variant, threads)
    done = run(gallery_folder(gallery), recognizer.model_id, recognizer.embed, ConsoleReporter(), drop_missing)
    if as_json:
        figures = {"entries": done.entries, "dropped": list(done.dropped), "uncalibrated": done.uncalibrated}
        print_json({"gallery": gallery, "model_id": recognizer.model_id, **figures})
        return 0
    dropped = f", {len(done.dropped)} without a picture removed" if done.dropped else ""
    click.echo(f"{gallery}: {done.entries} entries of model {recognizer.model_id}{dropped}")
    if done.uncalibrated:
        click.echo(
            "its thresholds were the old model's and are gone: run 'sightline gallery calibrate' again", err=True
        )
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
    from sightline.runtime.gallery import gallery_folder
    from sightline.runtime.gallery import merge as run

    from ..console import print_json

    done = run([gallery_folder(one) for one in galleries], gallery_folder(into))
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
    from sightline.runtime.gallery import gallery_folder
    from sightline.runtime.gallery import salvage as run

    from ..console import print_json

    done = run(gallery_folder(gallery), gallery_folder(into))
    if as_json:
        losses = {"lost": list(done.lost), "without_picture": list(done.without_picture)}
        print_json({"gallery": into, "saved": done.saved, **losses})
    else:
        click.echo(f"{into}: {done.saved} entries saved")
        for what, ids in (("lost", done.lost), ("without their picture", done.without_picture)):
            if ids:
                click.echo(f"{what}: {', '.join(map(str, ids))}")
    return 1 if done.lost or done.without_picture else 0


@click.command("export")
@click.argument("gallery")
@click.option("--out", required=True, metavar="FOLDER", help="The new folder.")
@_JSON
def export_files(gallery: str, out: str, as_json: bool) -> int:
    """Write GALLERY as a CSV file, its pictures and its embeddings, for other programs and for `import`.

    \b
    Example:
      sightline gallery export shop.gallery --out shop/
    """
    from pathlib import Path

    from sightline.runtime.gallery import export_gallery, gallery_folder

    from ..console import print_json

    count = export_gallery(gallery_folder(gallery), Path(out))
    print_json({"folder": out, "entries": count}) if as_json else click.echo(f"{out}: {count} entries")
    return 0


@click.command("import")
@click.argument("gallery")
@click.argument("folder")
@_JSON
def import_files(gallery: str, folder: str, as_json: bool) -> int:
    """Add the entries that `export` wrote to FOLDER to GALLERY; it is made where it is missing.

    Entries that GALLERY holds, or that were removed from it, are passed over. It needs no bundle: the embeddings
    come along. Photos of your own go in with `sightline gallery build`.

    \b
    Example:
      sightline gallery import other.gallery shop/
    """
    from pathlib import Path

    from sightline.runtime.gallery import gallery_folder, import_gallery

    from ..console import print_json

    done = import_gallery(Path(folder), gallery_folder(gallery))
    if as_json:
        print_json({"gallery": gallery, "added": done.added, "known": done.known})
    else:
        click.echo(f"{gallery}: {done.added} added, {done.known} were known")
    return 0
