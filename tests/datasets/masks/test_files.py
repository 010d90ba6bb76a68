"""Test reading masks: all pixel formats, both polarities, other sizes, and masks of no pixel or of all pixels."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import read
from gan_tasks.datasets.masks.files import fillable, resize_mask, to_mask, unusable_reason

MASK = np.random.default_rng(0).random((9, 7)) < 0.4
WHITE_ON_BLACK = MASK.astype(np.uint8) * 255


def layer(paint: int) -> np.ndarray:
    """Return RGBA: paint of one gray level on a transparent background."""
    return np.dstack([*[np.full(MASK.shape, paint, np.uint8)] * 3, WHITE_ON_BLACK])


ENCODINGS: dict[str, np.ndarray] = {
    "bool": MASK,
    "H×W": WHITE_ON_BLACK,
    "gray": WHITE_ON_BLACK[..., None],
    "RGB": np.dstack([WHITE_ON_BLACK] * 3),
    "16 bits": WHITE_ON_BLACK[..., None].astype(np.uint16) * 257,
    "16-bit RGB": np.dstack([WHITE_ON_BLACK] * 3).astype(np.uint16) * 257,
    "float from 0": MASK[..., None].astype(np.float32),
    "float from -1": MASK[..., None].astype(np.float32) * 2 - 1,
    "gray, opaque": np.dstack([WHITE_ON_BLACK, np.full(MASK.shape, 255, np.uint8)]),
    "RGB, opaque": np.dstack([*[WHITE_ON_BLACK] * 3, np.full(MASK.shape, 255, np.uint8)]),
    "a layer painted white": layer(255),
    "a layer painted black": layer(0),
    "a layer in 16 bits": layer(90).astype(np.uint16) * 257,
    "soft edges": np.where(MASK, 140, 120).astype(np.uint8),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_encodings_of_a_mask_are_equal(encoding: str) -> None:
    mask = to_mask(ENCODINGS[encoding])
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, MASK)
    np.testing.assert_array_equal(to_mask(ENCODINGS[encoding], invert=True), ~MASK)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
def test_mask_files_of_every_mode_are_read(mode: str, tmp_path: Path) -> None:
    if mode == "I;16":
        image = Image.fromarray(WHITE_ON_BLACK.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(WHITE_ON_BLACK).convert(mode)
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(to_mask(read(tmp_path / "mask.png").pixels), MASK)


def test_jpeg_noise_is_not_masked(tmp_path: Path) -> None:
    box = np.zeros((64, 64), np.uint8)
    box[16:40, 16:48] = 255
    Image.fromarray(box).save(tmp_path / "mask.jpg", quality=60)
    np.testing.assert_array_equal(to_mask(read(tmp_path / "mask.jpg").pixels), box == 255)


@settings(max_examples=50)
@given(levels=arrays.arrays(np.uint8, (4, 5)), threshold=st.integers(1, 255), invert=st.booleans())
def test_threshold_is_the_same_at_any_bit_depth(levels: np.ndarray, threshold: int, invert: bool) -> None:
    assume(len(np.unique(levels)) != 2)  # see the tests of two values
    expected = (levels < threshold) if invert else (levels >= threshold)
    for mask in (levels, levels.astype(np.uint16) * 257, levels.astype(np.float32) / 255, np.dstack([levels] * 3)):
        np.testing.assert_array_equal(to_mask(mask, threshold, invert), expected)


def test_colours_are_compared_by_luma() -> None:
    red_green_blue = np.eye(3, dtype=np.uint8)[None] * 255
    assert to_mask(red_green_blue, 77).tolist() == [[False, True, False]]
    assert to_mask(red_green_blue, 76).tolist() == [[True, True, False]]
    assert to_mask(red_green_blue, 29).all()


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)), resized=st.tuples(st.integers(1, 40), st.integers(1, 40))
)
def test_resize_takes_the_nearest_pixel(size: tuple[int, int], resized: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(size) < 0.5
    result = resize_mask(mask, *resized)
    assert result.shape == resized
    for row, column in np.ndindex(resized):
        centre = (Fraction(2 * row + 1, 2 * resized[0]) * size[0], Fraction(2 * column + 1, 2 * resized[1]) * size[1])
        assert result[row, column] == mask[int(centre[0]), int(centre[1])]
    np.testing.assert_array_equal(
        resize_mask(mask, 3 * size[0], 2 * size[1]), mask.repeat(3, axis=0).repeat(2, axis=1)
    )


def colour(*channels: int) -> np.ndarray:
    """Return RGB: one colour on black."""
    return MASK[..., None] * np.array(channels, np.uint8)


TWO_VALUES: dict[str, np.ndarray] = {
    "0 and 1": MASK.astype(np.uint8),
    "1 and 2": MASK.astype(np.uint8) + 1,
    "200 and 255": np.where(MASK, 255, 200).astype(np.uint8),
    "0 and 1 in 16 bits": MASK.astype(np.uint16)[..., None],
    "0 and 255 in 16 bits": MASK.astype(np.uint16)[..., None] * 255,
    "0 and 1023 in 16 bits": MASK.astype(np.uint16)[..., None] * 1023,
    "0 and 0.1": MASK.astype(np.float32) / 10,
    "red": colour(255, 0, 0),
    "green": colour(0, 255, 0),
    "blue": colour(0, 0, 255),
    "the first class of a palette": colour(128, 0, 0),
    "a faint layer": np.dstack([*[np.zeros(MASK.shape, np.uint8)] * 3, MASK.astype(np.uint8) * 90]),
    "a colour that is wholly transparent": np.dstack([*[WHITE_ON_BLACK] * 3, np.zeros(MASK.shape, np.uint8)]),
}


@pytest.mark.parametrize("values", TWO_VALUES)
def test_of_two_values_the_higher_is_masked(values: str) -> None:
    np.testing.assert_array_equal(to_mask(TWO_VALUES[values]), MASK)
    np.testing.assert_array_equal(to_mask(TWO_VALUES[values], invert=True), ~MASK)
    options: dict[str, Any] = {"threshold": 128, "name": "mask.png"}
    np.testing.assert_array_equal(fillable(TWO_VALUES[values], (9, 7), invert=False, **options), MASK)
    np.testing.assert_array_equal(fillable(TWO_VALUES[values], (9, 7), invert=True, **options), ~MASK)


def test_a_palette_file_is_masked_where_its_class_is(tmp_path: Path) -> None:
    image = Image.fromarray(MASK.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(tmp_path / "classes.png")
    np.testing.assert_array_equal(to_mask(read(tmp_path / "classes.png").pixels), MASK)


@pytest.mark.parametrize(
    ("mask", "invert", "threshold"),
    [
        (np.arange(63, dtype=np.uint8).reshape(9, 7), False, 31),  # soft edges of a dark colour
        (np.arange(63, dtype=np.uint16).reshape(9, 7) * 100, False, 12),
        (np.arange(192, 255, dtype=np.uint8).reshape(9, 7), True, 223),
        (np.dstack([WHITE_ON_BLACK // 3 * 2, np.arange(63, dtype=np.uint8).reshape(9, 7)]), False, 31),
    ],
)
def test_a_mask_of_other_values_is_never_empty(mask: np.ndarray, invert: bool, threshold: int) -> None:
    options: dict[str, Any] = {"size": (9, 7), "invert": invert, "name": "mask.png"}
    with pytest.raises(UserError, match=rf"mask\.png: no pixel is masked.* try --mask-threshold {threshold}$"):
        fillable(mask, threshold=128, **options)
    assert 0 < fillable(mask, threshold=threshold, **options).mean() < 1


@pytest.mark.parametrize(("value", "invert", "blank"), [(0, False, True), (255, True, True), (1, False, False)])
def test_only_a_mask_of_the_unmasked_value_is_empty(value: int, invert: bool, blank: bool) -> None:
    mask = np.full((9, 7), value, np.uint8)
    options: dict[str, Any] = {"threshold": 128, "invert": invert, "name": "mask.png"}
    if blank:
        assert not fillable(mask, (9, 7), **options).any()
    else:
        with pytest.raises(UserError, match="all its values are 1: give a mask that is partly white"):
            fillable(mask, (9, 7), **options)


def test_unusable_masks_are_reported_with_a_better_threshold() -> None:
    dark = np.where(MASK, 60, 1).astype(np.uint8)
    dark[0, 0] = 2
    reason = unusable_reason(to_mask(dark), dark)
    assert reason is not None and "no pixel is masked" in reason and "--mask-threshold 31" in reason
    np.testing.assert_array_equal(to_mask(dark, 31), MASK)

    pale = np.where(MASK, 255, 200).astype(np.uint8)
    pale[0, 0] = 201
    reason = unusable_reason(to_mask(pale), pale)
    assert reason is not None and "all pixels are masked" in reason and "--mask-threshold 228" in reason
    np.testing.assert_array_equal(to_mask(pale, 228), MASK)

    white = np.full((3, 3), 255, np.uint8)
    assert unusable_reason(to_mask(white), white) == (
        "all pixels are masked, expected some unmasked; all its values are 255: give a mask that is partly white"
    )
    assert unusable_reason(to_mask(white, invert=True), white) == (
        "no pixel is masked, expected some masked; all its values are 255: give a mask that is partly white"
    )
    assert unusable_reason(MASK, WHITE_ON_BLACK) is None


def test_mask_must_have_the_size_of_its_image_and_an_unmasked_pixel() -> None:
    options: dict[str, Any] = {"threshold": 128, "invert": False, "name": "mask.png"}
    np.testing.assert_array_equal(fillable(WHITE_ON_BLACK, (9, 7), **options), MASK)
    assert not fillable(np.zeros((9, 7), np.uint8), (9, 7), **options).any()
    with pytest.raises(UserError, match=r"mask\.png: is 7 × 9 px but its image is 9 × 7 px"):
        fillable(WHITE_ON_BLACK, (7, 9), **options)
    with pytest.raises(UserError, match=r"mask\.png: all pixels are masked"):
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
def test_invalid_masks_and_thresholds_are_rejected(mask: np.ndarray, threshold: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        to_mask(mask, threshold)
