"""`sightline models`: the networks that can be trained."""

import click

from ..console import print_json, print_table
from ..networks import Network, list_networks


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array with all that is known of each.")
def command(as_json: bool) -> None:
    """List the networks that `sightline train --arch` takes, with their size and what was measured of them.

    Parameters are those with 1000 outputs, multiply-accumulates (MACs) those of one picture of the usual size. Any
    network of timm is taken as timm:NAME where timm is installed.

    \b
    Example:
      sightline models
      sightline models --json
    """
    networks = list_networks()
    if as_json:
        print_json(networks)
        return
    print_table(("--arch", "px", "parameters", "MACs", "ImageNet weights", "measured"), [_row(one) for one in networks])
    click.echo("any other: timm:NAME, where timm is installed (pip install 'sightline[timm]')")


def _row(one: Network) -> tuple[str, int, str, str, str, str]:
    measured = "; ".join(f"{figure.what}: {figure.value:.3f}" for figure in one.measured)
    weights = "yes" if one.imagenet else "-"
    return (
        one.name,
        one.image_size,
        f"{one.parameters / 1e6:.2f} M",
        f"{one.macs / 1e6:,.0f} M",
        weights,
        measured or "-",
    )
