"""`sightline pretrain`: learn from photos without labels."""

import click

from ..console import ConsoleReporter, print_json
from .train import parse_budget, refuse_launcher


@click.command()
@click.argument("photos")
@click.option("--out", required=True, metavar="FILE", help="File of weights to write, for 'train --weights FILE'.")
@click.option("--arch", default="mobilenet_v2", show_default=True, help="Network; 'sightline models' lists them.")
@click.option("--weights", default="none", show_default=True, metavar="FILE|imagenet|none", help="Start from.")
@click.option("--epochs", default=100, show_default=True, help="Passes over the photos.")
@click.option("--budget", metavar="TIME", help="Time that learning may take: 90s, 10m, 1h30m.")
@click.option("--image-size", type=int, metavar="PIXELS", help="Height and width of the pictures.")
@click.option("--batch-size", default=128, show_default=True, help="Photos a step.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same --epochs: same weights.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    photos: str,
    out: str,
    arch: str,
    weights: str,
    epochs: int,
    budget: str | None,
    image_size: int | None,
    batch_size: int,
    seed: int,
    as_json: bool,
) -> int:
    """Learn from a folder of PHOTOS without labels, for those who have many photos and few labels.

    SimCLR: two pictures are drawn of each photo, and the network learns to find the other one in the batch. Ctrl-C
    writes the weights so far.

    \b
    Example:
      sightline pretrain unlabelled/ --arch resnet18 --budget 1h --out start.pth
      sightline train photos/ --arch resnet18 --weights start.pth --out run
    """
    refuse_launcher("pretrain")
    budget_s = parse_budget(budget) if budget else None
    from sightline.export.pretrain import PretrainOptions, pretrain

    options = PretrainOptions(photos, out, arch, weights, epochs, budget_s, image_size, batch_size, seed)
    learned = pretrain(options, ConsoleReporter())
    if as_json:
        print_json(learned)
    else:
        click.echo(
            f"{learned.photos} photos, {learned.steps} steps, loss {learned.loss:.3f}, the other picture found for "
            f"{learned.found:.1%}; wrote {out}"
        )
    return 130 if learned.interrupted else 0
