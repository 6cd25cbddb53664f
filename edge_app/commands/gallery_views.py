"""`sightline gallery duplicates|clusters|sheet`: looking at a collection as a whole."""

from collections import Counter
from typing import TYPE_CHECKING

import click

from ..options import metadata_of, where_option

if TYPE_CHECKING:
    from sightline.runtime import Gallery
    from sightline.runtime.gallery import Group, Snapshot

    from ..sheet import Section, Tile

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_TWINS, _ALIKE = 0.97, 0.8


@click.command("duplicates")
@click.argument("gallery")
@click.option(
    "--similarity", default=_TWINS, show_default=True, type=click.FloatRange(-1, 1), help="Of near-duplicates."
)
@_JSON
def duplicates(gallery: str, similarity: float, as_json: bool) -> int:
    """Name groups of entries of GALLERY that are almost the same; those under several labels first.

    \b
    Example:
      sightline gallery duplicates shop.gallery
      sightline gallery duplicates shop.gallery --similarity 0.99 --json
    """
    from sightline.runtime import Gallery
    from sightline.runtime.gallery import near_duplicates

    from ..console import ConsoleReporter, print_json

    with Gallery.open(gallery, create=False) as opened:
        entries = opened.snapshot()
    with ConsoleReporter().task("Comparing entries", len(entries.ids)) as task:
        groups = near_duplicates(entries, similarity, task.advance)
    groups.sort(key=lambda group: len(set(group.labels)) == 1)
    if as_json:
        print_json({"gallery": gallery, "similarity": similarity, "groups": groups})
        return 0
    for group in groups:
        warning = "  <- several labels" if len(set(group.labels)) > 1 else ""
        click.echo(f"{_labels(group)}\t{' '.join(map(str, group.ids))}{warning}")
    click.echo(f"{gallery}: {len(groups)} groups of near-duplicates among {len(entries.ids)} entries", err=True)
    return 0


@click.command("clusters")
@click.argument("gallery")
@click.option("--similarity", default=_ALIKE, show_default=True, type=click.FloatRange(-1, 1), help="Of neighbours.")
@click.option("--least", default=3, show_default=True, type=click.IntRange(1), help="Neighbours that make a cluster.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Make N clusters by k-means instead.")
@_JSON
def clusters(gallery: str, similarity: float, least: int, count: int | None, as_json: bool) -> int:
    """Group the entries of GALLERY by similarity: DBSCAN, or k-means with --count.

    \b
    Example:
      sightline gallery clusters shop.gallery --similarity 0.75
      sightline gallery clusters shop.gallery --count 12 --json
    """
    from sightline.runtime import Gallery

    from ..console import print_json, print_table

    with Gallery.open(gallery, create=False) as opened:
        groups, alone = _clusters(opened.snapshot(), similarity, least, count)
    if as_json:
        print_json({"gallery": gallery, "clusters": groups, "alone": alone})
        return 0
    rows = [(len(one.ids), _labels(one), one.similarity, one.ids[0]) for one in groups]
    print_table(("entries", "labels", "mean similarity", "most typical"), rows)
    if alone:
        click.echo(f"{len(alone)} entries are in no cluster")
    return 0


@click.command("sheet")
@click.argument("gallery")
@click.option("--out", required=True, metavar="FILE", help="Picture (.png, .jpg) or page (.html) to write.")
@click.option("--by", type=click.Choice(["label", "cluster", "duplicates"]), default="label", show_default=True)
@click.option("--label", metavar="NAME", help="Only entries of this label.")
@where_option
@click.option("--columns", default=8, show_default=True, type=click.IntRange(1, 40), help="Of a picture.")
def sheet(gallery: str, out: str, by: str, label: str | None, pairs: tuple[str, ...], columns: int) -> int:
    """Write a contact sheet of GALLERY: the kept pictures of its entries with label and id.

    \b
    Example:
      sightline gallery sheet shop.gallery --out shop.png
      sightline gallery sheet shop.gallery --out clusters.html --by cluster
    """
    from pathlib import Path

    from sightline.runtime import Gallery, GalleryError

    from ..pictures import check_picture, write_page_file, write_picture
    from ..sheet import draw_sheet, write_page

    page = out.lower().endswith((".html", ".htm"))
    if not page:
        check_picture(Path(out))
    with Gallery.open(gallery, create=False) as opened:
        entries = opened.snapshot().select(label, metadata_of(pairs))
        if len(entries.ids) == 0:
            raise GalleryError(f"gallery '{gallery}' has no such entry")
        sections = _sections(opened, entries, by)
    if page:
        write_page_file(Path(out), write_page(sections, f"{Path(gallery).name}: {len(entries.ids)} entries"))
    else:
        _check_rows(sections, columns)
        write_picture(Path(out), draw_sheet(sections, columns))
    click.echo(out)
    return 0


def _clusters(
    entries: "Snapshot", similarity: float, least: int, count: int | None
) -> "tuple[list[Group], tuple[int, ...]]":
    from sightline.runtime.gallery import density_clusters, mean_clusters

    from ..console import ConsoleReporter

    if count is not None:
        return mean_clusters(entries, count), ()
    with ConsoleReporter().task("Comparing entries", len(entries.ids)) as task:
        return density_clusters(entries, similarity, least, task.advance)


def _sections(gallery: "Gallery", entries: "Snapshot", by: str) -> "list[Section]":
    from sightline.runtime import GalleryError
    from sightline.runtime.gallery import near_duplicates

    from ..sheet import Section

    if by == "label":
        parts: dict[str, list[int]] = {}
        for id, name in zip(entries.ids.tolist(), entries.labels, strict=True):
            parts.setdefault(name, []).append(id)
        headings = [(f"{name} ({len(ids)})", tuple(ids)) for name, ids in sorted(parts.items())]
    elif by == "duplicates":
        headings = [(f"{_labels(one)}, {one.similarity:.3f}", one.ids) for one in near_duplicates(entries, _TWINS)]
    else:
        groups, alone = _clusters(entries, _ALIKE, 3, None)
        headings = [(_labels(one), one.ids) for one in groups]
        headings += [(f"in no cluster ({len(alone)})", alone)] if alone else []
    if not headings:
        raise GalleryError("there are no near-duplicates to show")
    return [Section(heading, tuple(_tile(gallery, id) for id in ids)) for heading, ids in headings]


def _tile(gallery: "Gallery", id: int) -> "Tile":
    from ..sheet import Tile

    entry = gallery.entry(id)
    words = ", ".join(f"{name}={value}" for name, value in entry.metadata.items())
    return Tile(gallery.crop(id), entry.label, f"{id}  {words}".strip())


def _check_rows(sections: "list[Section]", columns: int) -> None:
    from sightline.runtime import InputError

    from ..sheet import MOST_ROWS, rows_of

    if (rows := rows_of(sections, columns)) > MOST_ROWS:
        raise InputError(
            f"a picture of {rows} rows is more than viewers open ({MOST_ROWS}): write a page (.html), or choose "
            "entries with --label or --where"
        )


def _labels(group: "Group") -> str:
    counts = Counter(group.labels).most_common(4)
    more = ", ..." if len(set(group.labels)) > 4 else ""
    return ", ".join(f"{label} ({count})" for label, count in counts) + more
