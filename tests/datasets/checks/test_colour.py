"""Colour photographs are told from gray ones, however little of them is in colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import photo

from gan_tasks.datasets.checks.colour import has_colour


def gray_with(side_of_object: int) -> NDArray[np.uint8]:
    """A gray photograph of 400×500 with a bluish square."""
    pixels = np.repeat(photo(400, 500, seed=0, channels=1), 3, axis=2)
    pixels[100 : 100 + side_of_object, 200 : 200 + side_of_object] = (110, 120, 160)
    return pixels


@pytest.mark.parametrize(("side", "expected"), [(0, False), (20, False), (45, True), (400, True)])
def test_a_small_object_in_colour_is_enough_and_lettering_is_not(side: int, expected: bool) -> None:
    """The smaller squares are 0.2 and 1 % of the image, so that the mean difference between its channels is tiny."""
    assert has_colour(gray_with(side)) is expected


def test_small_images_deep_ones_and_alpha_are_looked_at_alike() -> None:
    for pixels, expected in ((gray_with(0), False), (gray_with(45), True)):
        deep = pixels.astype(np.uint16) * 257
        alpha = np.full((*pixels.shape[:2], 1), 9, np.uint8)
        assert has_colour(deep) is has_colour(np.dstack([pixels, alpha])) is expected
        assert has_colour(pixels[90:150, 190:250]) is expected
        assert has_colour(pixels[:1, :1]) is False


def test_gray_of_fewer_channels_and_of_a_jpeg_has_no_colour() -> None:
    gray = photo(90, 70, seed=1, channels=1)
    assert not has_colour(gray) and not has_colour(np.dstack([gray, gray // 2]))
    warm = np.clip(gray + np.array((1, 0, -1)), 0, 255).astype(np.uint8)  # as conversions of colour spaces round
    _, file = cv2.imencode(".jpg", warm, [cv2.IMWRITE_JPEG_QUALITY, 30])
    assert not has_colour(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR)))
