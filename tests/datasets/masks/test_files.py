"""Painted masks to holes: every kind of picture, both polarities, other sizes, empty and full ones."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import read
from gan_tasks.datasets.masks.files import fillable, resize_mask, to_mask, useless

HOLE = np.random.default_rng(0).random((9, 7)) < 0.4
WHITE_ON_BLACK = HOLE.astype(np.uint8) * 255


def layer(paint: int) -> np.ndarray:
    """RGBA: paint of one gray on a transparent ground."""
    return np.dstack([*[np.full(HOLE.shape, paint, np.uint8)] * 3, WHITE_ON_BLACK])


SPELLINGS: dict[str, np.ndarray] = {
    "bool": HOLE,
    "H×W": WHITE_ON_BLACK,
    "gray": WHITE_ON_BLACK[..., None],
    "RGB": np.dstack([WHITE_ON_BLACK] * 3),
    "16 bits": WHITE_ON_BLACK[..., None].astype(np.uint16) * 257,
    "16-bit RGB": np.dstack([WHITE_ON_BLACK] * 3).astype(np.uint16) * 257,
    "float from 0": HOLE[..., None].astype(np.float32),
    "float from -1": HOLE[..., None].astype(np.float32) * 2 - 1,
    "gray, opaque": np.dstack([WHITE_ON_BLACK, np.full(HOLE.shape, 255, np.uint8)]),
    "RGB, opaque": np.dstack([*[WHITE_ON_BLACK] * 3, np.full(HOLE.shape, 255, np.uint8)]),
    "a layer painted white": layer(255),
    "a layer painted black": layer(0),
    "a layer in 16 bits": layer(90).astype(np.uint16) * 257,
    "soft edges": np.where(HOLE, 140, 120).astype(np.uint8),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_mask_is_the_same_hole(spelling: str) -> None:
    mask = to_mask(SPELLINGS[spelling])
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, HOLE)
    np.testing.assert_array_equal(to_mask(SPELLINGS[spelling], invert=True), ~HOLE)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
def test_files_of_every_kind(mode: str, tmp_path: Path) -> None:
    if mode == "I;16":
        image = Image.fromarray(WHITE_ON_BLACK.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(WHITE_ON_BLACK).convert(mode)
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(to_mask(read(tmp_path / "mask.png").pixels), HOLE)


def test_a_jpeg_s_noise_is_no_hole(tmp_path: Path) -> None:
    box = np.zeros((64, 64), np.uint8)
    box[16:40, 16:48] = 255
    Image.fromarray(box).save(tmp_path / "mask.jpg", quality=60)
    np.testing.assert_array_equal(to_mask(read(tmp_path / "mask.jpg").pixels), box == 255)


@settings(max_examples=50)
@given(levels=arrays.arrays(np.uint8, (4, 5)), threshold=st.integers(1, 255), invert=st.booleans())
def test_the_threshold_is_the_same_at_any_depth(levels: np.ndarray, threshold: int, invert: bool) -> None:
    expected = (levels < threshold) if invert else (levels >= threshold)
    for mask in (levels, levels.astype(np.uint16) * 257, levels.astype(np.float32) / 255, np.dstack([levels] * 3)):
        np.testing.assert_array_equal(to_mask(mask, threshold, invert), expected)


def test_colour_counts_by_its_luma() -> None:
    red_green_blue = np.eye(3, dtype=np.uint8)[None] * 255
    assert to_mask(red_green_blue, 77).tolist() == [[False, True, False]]
    assert to_mask(red_green_blue, 76).tolist() == [[True, True, False]]
    assert to_mask(red_green_blue, 29).all()


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)), resized=st.tuples(st.integers(1, 40), st.integers(1, 40))
)
def test_resizing_takes_the_nearest_pixel(size: tuple[int, int], resized: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(size) < 0.5
    result = resize_mask(mask, *resized)
    assert result.shape == resized
    for row, column in np.ndindex(resized):
        centre = (Fraction(2 * row + 1, 2 * resized[0]) * size[0], Fraction(2 * column + 1, 2 * resized[1]) * size[1])
        assert result[row, column] == mask[int(centre[0]), int(centre[1])]
    np.testing.assert_array_equal(
        resize_mask(mask, 3 * size[0], 2 * size[1]), mask.repeat(3, axis=0).repeat(2, axis=1)
    )


def test_what_is_useless_and_which_threshold_would_do() -> None:
    zeros_and_ones = HOLE.astype(np.uint8)
    reason = useless(to_mask(zeros_and_ones), zeros_and_ones)
    assert reason is not None and "no hole" in reason and "--mask-threshold 1 " in reason
    np.testing.assert_array_equal(to_mask(zeros_and_ones, 1), HOLE)

    pale = np.where(HOLE, 255, 200).astype(np.uint8)
    reason = useless(to_mask(pale), pale)
    assert reason is not None and "all over" in reason and "--mask-threshold 228 " in reason
    np.testing.assert_array_equal(to_mask(pale, 228), HOLE)

    white = np.full((3, 3), 255, np.uint8)
    assert useless(to_mask(white), white) == "is hole all over, with nothing to fill it from: all its values are 255"
    assert useless(to_mask(white, invert=True), white) == "has no hole to fill: all its values are 255"
    assert useless(HOLE, WHITE_ON_BLACK) is None


def test_a_mask_for_one_picture() -> None:
    options: dict[str, Any] = {"threshold": 128, "invert": False, "name": "mask.png"}
    np.testing.assert_array_equal(fillable(WHITE_ON_BLACK, (9, 7), **options), HOLE)
    assert not fillable(np.zeros((9, 7), np.uint8), (9, 7), **options).any()
    with pytest.raises(UserError, match=r"mask\.png: is 7 × 9 px but its picture is 9 × 7 px"):
        fillable(WHITE_ON_BLACK, (7, 9), **options)
    with pytest.raises(UserError, match=r"mask\.png: is hole all over"):
        fillable(np.full((9, 7), 255, np.uint8), (9, 7), **options)


@pytest.mark.parametrize(
    ("mask", "threshold", "message"),
    [
        (WHITE_ON_BLACK, 0, "mask_threshold is 0"),
        (WHITE_ON_BLACK, 256, "mask_threshold is 256"),
        (np.zeros((4, 4, 5), np.uint8), 128, "has the shape"),
        (np.zeros((4, 4), np.int64), 128, "int64"),
    ],
)
def test_what_is_no_mask_is_refused(mask: np.ndarray, threshold: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        to_mask(mask, threshold)
