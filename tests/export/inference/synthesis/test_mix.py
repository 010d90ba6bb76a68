"""Mixed styles and their grid."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_synthesis import tiny_model

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.synthesis.generate import generate
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.inference.synthesis.mix import coarse_layers, mix, mix_grid, parse_layers
from gan_tasks.export.inference.synthesis.points import Point


def test_layers_are_of_the_coarse_or_the_fine_point() -> None:
    coarse, fine = np.zeros((3, 5), np.float32), np.ones((3, 5), np.float32)
    assert mix(coarse, fine, [0, 2])[:, 0].tolist() == [0, 1, 0]
    assert fine.min() == 1, "the styles that are mixed were changed"


def test_a_grid_shows_what_is_mixed_and_the_mixtures() -> None:
    space = LatentSpace(tiny_model())
    grid = mix_grid(space, [Point(1), Point(2)], [Point(3)], layers=[0, 1])
    assert grid.shape == (48, 32, 3)
    cells = grid.reshape(3, 16, 2, 16, 3).swapaxes(1, 2).astype(int)
    one, two, three = (each.pixels for each in generate(space.model, [1, 2, 3]))
    styles = space.styles_of_seeds([2, 3])
    mixed = space.images(mix(styles[:1], styles[1:], [0, 1]))[0]
    for cell, image in ((cells[0, 1], three), (cells[1, 0], one), (cells[2, 0], two), (cells[2, 1], mixed)):
        assert np.abs(cell - image).max() <= 1
    assert (cells[0, 0] == 255).all()


def test_coarse_layers_are_those_of_small_features() -> None:
    assert coarse_layers(LatentSpace(tiny_model(stages=3))) == (0, 1)


def test_layers_are_numbers_and_ranges() -> None:
    assert parse_layers("0-2,5", 8, default=()) == (0, 1, 2, 5)
    assert parse_layers("", 8, default=(1,)) == (1,)
    for text, message in (
        ("8", "the model has 8, numbered 0 to 7"),
        ("x", "is none"),
        ("3-1", "smaller number first"),
    ):
        with pytest.raises(UserError, match=message):
            parse_layers(text, 8, default=())


def test_a_network_with_one_style_mixes_nothing() -> None:
    with pytest.raises(UserError, match="one style for all layers"):
        mix_grid(LatentSpace(tiny_model(mapped=False)), [Point(1)], [Point(2)], [0])
