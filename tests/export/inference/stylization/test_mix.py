"""Several style pictures as one."""

from __future__ import annotations

import re

import numpy as np
import pytest

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels
from gan_tasks.export.inference.stylization.mix import mix_styles


def plain(height: int, width: int, value: int, channels: int = 3) -> Pixels:
    return np.full((height, width, channels), value, np.uint8)


@pytest.mark.parametrize("weights", [(), (2.0, 2.0), (3.0, 1.0), (0.2, 0.8)])
def test_each_picture_takes_the_share_of_its_weight(weights: tuple[float, ...]) -> None:
    mixed = mix_styles([plain(20, 30, 100), plain(40, 100, 200)], weights)
    assert mixed.shape[0] == 20
    share = float((mixed == 200).mean())
    assert share == pytest.approx(weights[1] / sum(weights) if weights else 0.5, abs=0.02)
    assert ((mixed == 100) | (mixed == 200)).all()


def test_the_mean_of_the_mixture_is_that_of_the_pictures() -> None:
    """A narrow picture is mirrored again and again, so that all of it counts alike."""
    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, 256, (16, width, 3), np.uint8) for width in (8, 56))
    mixed = mix_styles([one, other])
    assert mixed.shape == (16, 64, 3)
    assert np.array_equal(mixed[:, :8], one) and np.array_equal(mixed[:, 8:16], one[:, ::-1])
    assert mixed[:, :32].mean() == pytest.approx(one.mean())


def test_one_picture_is_taken_as_it_is() -> None:
    gray, other = plain(5, 7, 9, channels=1), plain(3, 3, 1)
    assert mix_styles([gray]) is gray
    assert mix_styles([gray, other], [1, 0]) is gray
    assert mix_styles([gray, other]).shape == (5, 12, 3)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ((1.0,), "2 style pictures and 1 weight: give one for each"),
        ((0.0, 0.0), "no style picture has a weight above 0"),
    ],
)
def test_weights_that_do_not_fit(weights: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        mix_styles([plain(2, 2, 0), plain(2, 2, 0)], weights)
