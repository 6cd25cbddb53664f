"""`sightline gallery`: the group of commands that build, search and keep a gallery."""

import click

from .gallery_find import list_entries, search, stats
from .gallery_keep import check, rebuild, remove
from .gallery_move import merge, reembed, salvage
from .gallery_teach import add, build


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Build, search and keep a gallery: a folder of known items that a bundle looks things up in.

    \b
    Example:
      sightline gallery build shop.gallery photos/ --bundle kiosk.bundle
      sightline gallery add shop.gallery mug1.jpg mug2.jpg --label mug --bundle kiosk.bundle
      sightline gallery search shop.gallery photo.jpg --bundle kiosk.bundle
    """


for subcommand in (build, add, search, list_entries, remove, check, rebuild, reembed, merge, salvage, stats):
    command.add_command(subcommand)
