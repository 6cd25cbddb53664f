"""Whether an occlusion map tells what an answer rests on, and what it costs.

Of each photo a fifth is covered: the brightest fifth of its map, the middle fifth, or squares at random. The more the
probability of the answer falls, the better the map (a deletion test, as in Petsiuk et al. 2018). Usage:

    python benchmarks/explain.py kiosk.bundle photos/ --images 30
"""

import random
from collections.abc import Callable
from time import perf_counter

import click
import numpy as np

from sightline.edge_app.insight import explain_answer
from sightline.runtime import Bundle, Recognizer, read_image
from sightline.runtime.dataset import read_dataset
from sightline.runtime.occlusion import TELLING
from sightline.runtime.preprocess import Image, prepare


@click.command()
@click.argument("bundle")
@click.argument("data")
@click.option("--label-column", default="label", show_default=True)
@click.option("--images", default=30, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(bundle: str, data: str, label_column: str, images: int, seed: int) -> None:
    """Compare what covering takes away, and time the map beside one answer."""
    recognizer = Recognizer(Bundle.load(bundle))
    chosen = random.Random(seed).sample(read_dataset(data, label_column), images)
    dice = np.random.default_rng(seed)
    left: dict[str, list[float]] = {"the map's brightest": [], "the middle": [], "squares at random": []}
    whole, ratios, passes = [], [], []
    for image in chosen:
        frame = read_image(image.path)
        once = min(_seconds(lambda frame=frame: recognizer.recognize(frame)) for _ in range(5))
        start = perf_counter()
        insight = explain_answer(recognizer, frame)
        ratios.append((perf_counter() - start) / once)
        passes.append(insight.occlusion.passes)
        whole.append(insight.before)
        picture, column = prepare(frame, recognizer.bundle.input_spec), recognizer.labels.index(insight.label)
        masks = (insight.occlusion.telling, _middle(picture), _squares(picture, dice))
        for values, mask in zip(left.values(), masks, strict=True):
            values.append(_probability(recognizer, picture, mask, column))
    click.echo(f"{images} photos of {data}, variant {recognizer.variant.name}, {TELLING:.0%} covered")
    click.echo(f"probability of the answer, nothing covered: {np.mean(whole):.3f}")
    for name, values in left.items():
        click.echo(f"  {name}: {np.mean(values):.3f}")
    click.echo(f"passes: median {np.median(passes):.0f}; a map takes {np.median(ratios):.0f} times one answer's time")


def _seconds(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def _middle(picture: Image) -> np.ndarray:
    height, width = picture.shape[:2]
    mask = np.zeros((height, width), bool)
    rows, columns = round(height * TELLING**0.5), round(width * TELLING**0.5)
    top, left = (height - rows) // 2, (width - columns) // 2
    mask[top : top + rows, left : left + columns] = True
    return mask


def _squares(picture: Image, dice: np.random.Generator) -> np.ndarray:
    """A fifth of a grid of 8 by 8 squares."""
    cells = np.zeros(64, bool)
    cells[dice.permutation(64)[: round(64 * TELLING)]] = True
    rows = np.arange(picture.shape[0]) * 8 // picture.shape[0]
    columns = np.arange(picture.shape[1]) * 8 // picture.shape[1]
    return cells.reshape(8, 8)[rows][:, columns]


def _probability(recognizer: Recognizer, picture: Image, mask: np.ndarray, column: int) -> float:
    colour = picture.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    return float(recognizer.answer(np.where(mask[..., None], colour, picture)).probabilities[column])


if __name__ == "__main__":
    main()
