"""How many wrong labels `sightline data` finds: some labels are changed at random, then looked for.

python benchmarks/wrong_labels.py train.csv --label-column class_name --weights mobilenet_v2.pth
"""

import click
import numpy as np

from sightline.export.features import extract_features
from sightline.export.suspects import find_suspects
from sightline.models import build_model, load_weights
from sightline.runtime.dataset import read_dataset
from sightline.runtime.preprocess import InputSpec


@click.command()
@click.argument("data")
@click.option("--label-column", default="label", show_default=True)
@click.option("--arch", default="mobilenet_v2", show_default=True)
@click.option("--weights", required=True)
@click.option("--part", default=0.05, show_default=True, help="Of the labels to change.")
@click.option("--seeds", default=3, show_default=True)
def main(data: str, label_column: str, arch: str, weights: str, part: float, seeds: int) -> None:
    """Change labels, look for them, count."""
    images = read_dataset(data, label_column)
    model = build_model(arch, 2)
    load_weights(model, weights)
    size = model.architecture.image_size
    features = extract_features(model, images, InputSpec(size, size, model.architecture.crop))
    labels = [image.label for image in images]
    found = find_suspects(features, labels)
    click.echo(f"{len(images)} photos as they are: {len(found.suspects) if found else 0} suspects")
    for seed in range(seeds):
        _round(features, labels, part, seed)


def _round(features: np.ndarray, labels: list[str], part: float, seed: int) -> None:
    dice, classes = np.random.default_rng(seed), sorted(set(labels))
    changed = set(dice.choice(len(labels), round(part * len(labels)), replace=False).tolist())
    given = [
        str(dice.choice([one for one in classes if one != label])) if row in changed else label
        for row, label in enumerate(labels)
    ]
    found = find_suspects(features, given)
    assert found is not None
    hits = [one.row in changed for one in found.suspects]
    named = [one.likely == labels[one.row] for one in found.suspects if one.row in changed]
    click.echo(
        f"seed {seed}: {len(changed)} changed, {len(hits)} suspected; found {sum(hits) / len(changed):.3f}; of the "
        f"first {len(changed)} suspects {np.mean(hits[: len(changed)]):.3f} are changed ones; right label named "
        f"{np.mean(named):.3f}"
    )


if __name__ == "__main__":
    main()
