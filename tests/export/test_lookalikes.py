import numpy as np
import pytest

from sightline.export.lookalikes import set_apart
from tests.factories import unit


def series(classes: int, scenes: int, photos: int, seed: int) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Features of photos in series: each scene has its own direction, its photos lie close to it."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes * scenes, 64))
    features = unit(np.repeat(centres, photos, axis=0) + 0.05 * random.normal(size=(classes * scenes * photos, 64)))
    labels = [f"class {row // (scenes * photos)}" for row in range(len(features))]
    return features, labels, np.repeat(np.arange(classes * scenes), photos)


def test_a_series_is_never_split() -> None:
    features, labels, scene = series(classes=6, scenes=6, photos=4, seed=0)
    chosen = set_apart(features, labels, 0.1, seed=1)
    assert len(chosen) == 6 * 4
    outside = [row for row in range(len(labels)) if row not in chosen]
    assert not set(scene[list(chosen)]) & set(scene[outside])


@pytest.mark.parametrize("sizes", [(2, 2), (2, 50), (9, 3), (30, 1)])
def test_every_class_keeps_photos_on_both_sides(sizes: tuple[int, ...]) -> None:
    labels = [f"class {number}" for number, size in enumerate(sizes) for _ in range(size)]
    features = unit(np.random.default_rng(3).normal(size=(len(labels), 16)))
    chosen = {
        labels[row]: [other for other in set_apart(features, labels, 0.1, 0) if labels[other] == labels[row]]
        for row in range(len(labels))
    }
    for label, rows in chosen.items():
        count = labels.count(label)
        assert (len(rows) == 0) if count == 1 else (1 <= len(rows) <= max(1, count // 2))


def test_photos_that_are_all_alike_are_split_all_the_same() -> None:
    features = unit(np.ones((40, 8)) + 1e-6 * np.random.default_rng(0).normal(size=(40, 8)))
    assert 1 <= len(set_apart(features, ["mug"] * 40, 0.1, 0)) <= 13


def test_the_seed_decides() -> None:
    features, labels, _ = series(classes=4, scenes=6, photos=3, seed=2)
    first = set_apart(features, labels, 0.1, seed=5)
    assert first == set_apart(features, labels, 0.1, seed=5) != set_apart(features, labels, 0.1, seed=6)
