"""`sightline gallery`: the group of commands that build, search and keep a gallery."""

import click

from .gallery_calibrate import calibrate
from .gallery_find import list_entries, search, stats
from .gallery_keep import check, rebuild, remove
from .gallery_move import export_files, import_files, merge, reembed, salvage
from .gallery_teach import add, build
from .gallery_views import clusters, duplicates, sheet


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Build, search and keep a gallery: a folder of known items that a bundle looks things up in.

    \b
    Example:
      sightline gallery build shop.gallery photos/ --bundle kiosk.bundle
      sightline gallery add shop.gallery mug1.jpg mug2.jpg --label mug --bundle kiosk.bundle
      sightline gallery search shop.gallery photo.jpg --bundle kiosk.bundle
    """


_COMMANDS = (
    build,
    add,
    search,
    list_entries,
    remove,
    calibrate,
    check,
    rebuild,
    reembed,
    merge,
    salvage,
    export_files,
    import_files,
    duplicates,
    clusters,
    sheet,
    stats,
)
for subcommand in _COMMANDS:
    command.add_command(subcommand)
