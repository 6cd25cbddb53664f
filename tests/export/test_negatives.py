"""Destroyed pictures: nothing known is left in them, and no label is right for them."""

import math

import numpy as np
import pytest
import torch

from sightline.export.negatives import destroy, evenness_loss
from sightline.export.recipe import Recipe

GROUND, ITEM = 40, 220


def photos(size: int = 48) -> torch.Tensor:
    """A bright item in the middle of dark photos."""
    images = torch.full((4, size, size, 3), GROUND, dtype=torch.uint8)
    images[:, size // 4 : -size // 4, size // 4 : -size // 4] = ITEM
    return images


@pytest.mark.parametrize("size", [48, 50])
def test_a_negative_is_ground_alone_or_the_item_in_pieces(size):
    images = photos(size)
    made = destroy(images, 60, np.random.default_rng(0))
    assert made.shape == (60, size, size, 3) and made.dtype == torch.uint8
    empty = [one for one in made if bool((one == GROUND).all())]
    broken = [one for one in made if not bool((one == GROUND).all())]
    assert len(empty) > 15 and len(broken) > 15
    whole = (images[0] == ITEM).float().mean()
    for one in broken:
        assert (one > 130).float().mean() == pytest.approx(float(whole), abs=0.05)
    moved = [float((one != images[0]).float().mean()) for one in broken]
    assert np.mean(moved) > 0.2


def test_the_same_chance_destroys_alike():
    first, again, other = (destroy(photos(), 8, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_loss_is_least_where_no_label_stands_out():
    even, sure = torch.zeros(2, 5), torch.tensor([[4.0, 0, 0, 0, 0]])
    assert float(evenness_loss(even)) == pytest.approx(math.log(5))
    assert float(evenness_loss(sure)) > float(evenness_loss(even))


def test_only_a_network_from_nothing_needs_them():
    assert Recipe.for_data(400, pretrained=False).negatives > 0
    assert Recipe.for_data(400, pretrained=True).negatives == 0
