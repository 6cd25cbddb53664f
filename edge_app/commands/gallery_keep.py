"""`sightline gallery remove|check|rebuild`: keeping a gallery in order."""

import click


@click.command("remove")
@click.argument("gallery")
@click.argument("ids", nargs=-1, type=int)
@click.option("--label", metavar="NAME", help="Remove every entry of this label.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def remove(gallery: str, ids: tuple[int, ...], label: str | None, as_json: bool) -> int:
    """Remove entries from GALLERY by IDS or by label, vectors and pictures overwritten.

    \b
    Example:
      sightline gallery remove shop.gallery 17 18
      sightline gallery remove shop.gallery --label mug
    """
    from sightline.runtime import GalleryError
    from sightline.runtime.gallery import open_catalogue

    from ..console import print_json

    if bool(ids) == (label is not None):
        raise click.UsageError("name either IDS or --label")
    with open_catalogue(gallery, None, create=False) as opened:
        wanted = list(dict.fromkeys(ids)) if label is None else opened.ids_of(label)
        if not wanted:
            raise GalleryError(f"gallery '{gallery}' has no entry of label '{label}'")
        missing = [id for id in wanted if id not in opened] if label is None else []
        removed = opened.remove([id for id in wanted if id not in missing])
        left = len(opened)
    if as_json:
        print_json({"gallery": gallery, "removed": removed, "missing": missing, "entries": left})
    else:
        click.echo(f"{gallery}: {removed} removed, {left} left")
    if missing:
        click.echo(f"sightline: gallery '{gallery}' has no entry {', '.join(map(str, missing))}", err=True)
    return 1 if missing else 0


@click.command("check")
@click.argument("gallery")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(gallery: str, as_json: bool) -> int:
    """Read every byte of GALLERY and name what is damaged; exit code 1 where something is.

    \b
    Example:
      sightline gallery check shop.gallery
    """
    from sightline.runtime.gallery import check_folder, gallery_folder

    from ..console import print_json

    report = check_folder(gallery_folder(gallery))
    if as_json:
        problems = list(report.problems)
        print_json(
            {
                "gallery": gallery,
                "ok": report.ok,
                "entries": report.entries,
                "problems": problems,
                "graph": report.graph,
            }
        )
        return 0 if report.ok else 1
    for problem in report.problems:
        click.echo(problem)
    state = (
        "whole"
        if report.ok
        else f"damaged, {report.entries} entries can be saved with 'sightline gallery salvage {gallery} --into NEW'"
    )
    click.echo(f"{gallery}: {state}; {report.entries} entries; graph: {report.graph}")
    return 0 if report.ok else 1


@click.command("rebuild")
@click.argument("gallery")
def rebuild(gallery: str) -> int:
    """Make the search graph of GALLERY anew and measure it on this machine.

    Nothing is lost with a graph: it is made from the entries, and small galleries need none.

    \b
    Example:
      sightline gallery rebuild shop.gallery
    """
    from sightline.runtime import Gallery

    from ..console import ConsoleReporter

    with Gallery.open(gallery, create=False) as opened:
        opened.rebuild(ConsoleReporter())
        click.echo(f"{gallery}: {opened.stats().reason}")
    return 0
