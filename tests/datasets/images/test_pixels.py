"""Test the conversion of channels and value ranges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from gan_tasks.datasets.images import ImageError, centred, channels_fit, fit_channels, to_float, to_planes, to_uint8

RGBA = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6))


@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)))
def test_uint8_round_trip_is_exact(pixels: np.ndarray) -> None:
    values = to_float(pixels)
    assert values.dtype == np.float32
    assert values.shape == (pixels.shape[2], *pixels.shape[:2])
    assert values.flags.c_contiguous
    np.testing.assert_array_equal(to_uint8(values), pixels)


def test_round_trip_keeps_every_level() -> None:
    np.testing.assert_array_equal(to_uint8(to_float(LEVELS)), LEVELS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_full_range_maps_to_minus_1_to_1(dtype: type) -> None:
    largest = np.iinfo(dtype).max
    values = to_float(np.array([[[0], [largest]]], dtype))
    np.testing.assert_array_equal(values, [[[-1, 1]]])


def test_uint16_agrees_with_uint8() -> None:
    np.testing.assert_allclose(to_float(LEVELS.astype(np.uint16) * 257), to_float(LEVELS), atol=1e-6)


def test_floats_are_clipped_in_both_directions() -> None:
    np.testing.assert_array_equal(to_float(np.array([[[-3.0], [0.5], [2.0]]], np.float32)), [[[-1, 0.5, 1]]])
    np.testing.assert_array_equal(to_uint8(np.array([[[-3, 0, 3]]], np.float32))[0, :, 0], [0, 128, 255])


def test_to_uint8_rounds_to_the_nearest_level() -> None:
    step = np.float32(2 / 255)
    np.testing.assert_array_equal(to_uint8(to_float(LEVELS) + np.float32(0.49) * step), LEVELS)


def test_gray_of_rgb_matches_pil() -> None:
    rgb = RGBA[..., :3]
    expected = np.asarray(Image.fromarray(rgb).convert("L"))
    np.testing.assert_allclose(fit_channels(rgb, 1)[..., 0].astype(int), expected.astype(int), atol=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("present", [1, 2, 3, 4])
@pytest.mark.parametrize("wanted", [1, 2, 3, 4])
def test_channels_are_converted(present: int, wanted: int, dtype: type) -> None:
    opaque = 1.0 if dtype is np.float32 else np.iinfo(dtype).max
    pixels = (RGBA[..., :present] / 255 * opaque).astype(dtype)
    fitted = fit_channels(pixels, wanted)
    assert fitted.dtype == dtype
    assert fitted.shape == (9, 7, wanted)
    if wanted in (2, 4):
        expected_alpha = pixels[..., -1] if present in (2, 4) else np.full((9, 7), opaque, dtype)
        np.testing.assert_array_equal(fitted[..., -1], expected_alpha)
    if present <= 2:  # gray input: every colour channel equals it
        for channel in range(1 if wanted <= 2 else 3):
            np.testing.assert_array_equal(fitted[..., channel], pixels[..., 0])
    elif wanted >= 3:
        np.testing.assert_array_equal(fitted[..., :3], pixels[..., :3])


@pytest.mark.parametrize(("present", "wanted"), [(5, 3), (3, 5), (1, 6), (7, 8)])
def test_other_channel_counts_are_rejected(present: int, wanted: int) -> None:
    assert not channels_fit(present, wanted)
    with pytest.raises(ImageError, match=f"{present} channels and {wanted}"):
        fit_channels(np.zeros((2, 2, present), np.uint8), wanted)


def test_many_channels_are_unchanged() -> None:
    assert fit_channels(np.zeros((2, 2, 7), np.uint8), 7).shape == (2, 2, 7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_planes_say_the_same_as_floats(dtype: type) -> None:
    pixels = np.arange(256 * 3).reshape(16, 16, 3).astype(dtype)
    planes = to_planes(pixels)
    assert (planes.dtype, planes.flags["C_CONTIGUOUS"]) == (np.uint8 if dtype is np.uint8 else np.float32, True)
    np.testing.assert_array_equal(centred(planes), to_float(pixels))
