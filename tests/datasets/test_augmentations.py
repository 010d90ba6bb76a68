"""Test that both sides get the same geometry, that only the source changes in value, and that all is seeded."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gan_tasks.datasets.augmentations import Framing, FramingConfig, PairAugmentation, resize, sample_seed
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import centred, read, to_float

AS_IS: dict[str, Any] = {"load_size": 0, "crop_size": (0, 0), "flip": False}


def augmentation(
    *, photometric: float = 0.0, denoise: float = 0.0, source_channels: int = 3, **framing: Any
) -> Callable[..., list[np.ndarray]]:
    """Return an augmentation to float32 in [-1, 1] that does only what the arguments ask for."""
    augment = PairAugmentation(
        FramingConfig(**AS_IS | framing), photometric=photometric, denoise=denoise, source_channels=source_channels
    )
    return lambda *arguments: [centred(image) for image in augment(*arguments)]


def noise(height: int, width: int, channels: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def positions(height: int, width: int, dtype: type = np.uint16) -> np.ndarray:
    """Return two channels that hold the row and the column of each pixel."""
    return np.dstack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij")).astype(dtype)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    crop=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    load_size=st.sampled_from([0, 8, 25]),
    keep_aspect=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_both_sides_get_the_same_geometry(
    size: tuple[int, int], crop: tuple[int, int], load_size: int, keep_aspect: bool, seed: int
) -> None:
    pixels = noise(*size, 3)
    augment = augmentation(load_size=load_size, keep_aspect=keep_aspect, crop_size=crop, flip=True)
    source, target = augment(pixels, pixels.copy(), rng(seed))
    assert source.shape == (3, *crop)
    np.testing.assert_array_equal(source, target)


@pytest.mark.parametrize(("source_channels", "target_channels"), [(1, 3), (4, 1), (2, 6), (7, 3)])
def test_sides_may_differ_in_channels_and_depth(source_channels: int, target_channels: int) -> None:
    pair = noise(30, 30, source_channels, np.uint16), noise(30, 30, target_channels)
    augment = augmentation(
        load_size=20, crop_size=(16, 16), flip=True, photometric=1.0, denoise=3.0, source_channels=source_channels
    )
    source, target = augment(*pair, rng())
    assert source.shape == (source_channels, 16, 16)
    assert target.shape == (target_channels, 16, 16)
    for side in (source, target):
        assert side.dtype == np.float32
        assert np.abs(side).max() <= 1


def test_crops_are_windows_of_the_image_and_half_are_flipped() -> None:
    augment = augmentation(crop_size=(5, 6), flip=True, source_channels=2)
    generator, flipped, corners = rng(), 0, set()
    for _ in range(200):
        source, _ = augment(positions(20, 30), noise(20, 30, 3), generator)
        rows, columns = np.rint((source + 1) * 32767.5).astype(int)
        assert (np.diff(rows, axis=0) == 1).all()
        assert (np.abs(np.diff(columns, axis=1)) == 1).all()
        flipped += columns[0, 0] > columns[0, 1]
        corners.add((rows.min(), columns.min()))
    assert 70 < flipped < 130
    assert len(corners) > 100


def test_crop_larger_than_the_image_is_padded_by_reflection() -> None:
    pixels = noise(4, 3, 3)
    source, _ = augmentation(crop_size=(4, 7))(pixels, pixels, rng())
    expected = np.pad(pixels, ((0, 0), (2, 2), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(source, to_float(expected))


@pytest.mark.parametrize("change", [{"photometric": 0.8}, {"denoise": 20.0}])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_photometric_changes_and_noise_apply_to_the_source_only(change: dict[str, float], dtype: type) -> None:
    source_pixels, target_pixels = noise(16, 16, 4, dtype), noise(16, 16, 3, dtype)
    source, target = augmentation(source_channels=4, **change)(source_pixels, target_pixels, rng())
    np.testing.assert_array_equal(target, to_float(target_pixels))
    np.testing.assert_array_equal(source[3], to_float(source_pixels)[3])  # alpha
    assert np.abs(source[:3] - to_float(source_pixels)[:3]).mean() > 0.01


def test_noise_has_the_given_deviation() -> None:
    gray = np.full((200, 200, 3), 128, np.uint8)
    source, _ = augmentation(denoise=10.0)(gray, gray, rng())
    np.testing.assert_allclose((source - to_float(gray)).std() * 255 / 2, 10, rtol=0.02)


def test_sample_depends_on_the_generator_only() -> None:
    options: dict[str, Any] = {"crop_size": (8, 8), "flip": True, "photometric": 0.5, "denoise": 2.0}
    pixels = noise(30, 30, 3)
    fresh, used = augmentation(**options), augmentation(**options)
    for seed in range(5):
        used(pixels, pixels, rng(seed + 100))
    for mine, theirs in zip(fresh(pixels, pixels, rng(7)), used(pixels, pixels, rng(7)), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("channels", [1, 3, 4, 6, 11])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(10, 8), (35, 50), (5, 60)])
def test_resizing_keeps_type_channels_and_mean(channels: int, dtype: type, size: tuple[int, int]) -> None:
    ramp = np.linspace(0, np.iinfo(dtype).max, 20 * 24 * channels).reshape(20, 24, channels).astype(dtype)
    resized = resize(ramp, *size)
    assert resized.shape == (*size, channels)
    assert resized.dtype == dtype
    np.testing.assert_allclose(resized.mean((0, 1)), ramp.mean((0, 1)), rtol=0.02)


@pytest.mark.parametrize("size", [(10, 8), (35, 50), (5, 60)])
def test_resizing_gives_the_pixels_of_pil(size: tuple[int, int]) -> None:
    pixels = 96 + noise(20, 24, 3) // 4  # PIL clips what overshoots after each axis
    expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC), np.int64)
    assert np.abs(resize(pixels, *size) - expected).max() <= 1
    deep = resize(pixels.astype(np.uint16) * np.uint16(257), *size)
    assert np.abs(deep / 257 - expected).max() <= 2


def waves(height: int, width: int) -> np.ndarray:
    """Return detail of all sizes and directions, weaker the finer it is."""
    x = np.linspace(0, 1, width) + np.linspace(0, 1, height)[:, None] ** 2
    image = sum(np.sin(2**octave * np.pi * x + octave) * 0.6**octave for octave in range(1, 9))
    return np.clip(128 + 60 * np.dstack([image, image**2, -image]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "divisor"), [((176, 400), 2), ((400, 168), 1), ((512, 600), 4), ((600, 504), 2), ((50, 60), 1)]
)
def test_a_reduced_image_is_within_a_grey_level(size: tuple[int, int], divisor: int) -> None:
    framing = Framing(FramingConfig(load_size=64, crop_size=(0, 0), flip=False))
    assert framing.reduction(*size) == divisor
    file = io.BytesIO()
    Image.fromarray(waves(*size)).save(file, "JPEG", quality=90)
    full, reduced = read(file.getvalue()).pixels, read(file.getvalue(), reduction=framing.reduction).pixels
    assert len(full) == divisor * len(reduced)
    (full,), (reduced,) = framing(rng(), full), framing(rng(), reduced)
    assert np.abs(full.astype(int) - reduced).mean() < 1


def test_images_that_are_not_resized_are_not_reduced() -> None:
    assert Framing(FramingConfig(load_size=0)).reduction(10_000, 10_000) == 1


def test_seeds_are_32_bit_and_distinct() -> None:
    seeds = {sample_seed(seed, epoch, index) for seed in range(10) for epoch in range(10) for index in range(100)}
    assert len(seeds) > 9_990  # of 10 000; about 0.01 collisions are expected
    assert 0 <= min(seeds) <= max(seeds) < 2**32
    assert max(seeds) > 2**31


@pytest.mark.parametrize("bad", [{"load_size": -1}, {"crop_size": (0, 8)}])
def test_invalid_options_are_rejected(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        FramingConfig(**bad)


def test_zoom_out_shrinks_down_to_a_fraction_and_not_below_the_crop() -> None:
    framing = Framing(FramingConfig(load_size=0, crop_size=(0, 0), flip=False, zoom_out=4))
    rng, image = np.random.default_rng(0), np.zeros((80, 40, 3), np.uint8)
    sizes = np.array([framing(rng, image, image)[1].shape[:2] for _ in range(50)]) / (80, 40)
    assert (sizes >= 1 / 4).all() and (sizes <= 1).all()
    assert sizes.min() < 0.35 and sizes.max() > 0.9
    assert not np.allclose(sizes[:, 0], sizes[:, 1], atol=0.1), "height and width are drawn apart"
    first, second = framing(rng, image, image)
    assert first.shape == second.shape, "images of a pair are resized alike"
    cropped = Framing(FramingConfig(load_size=0, crop_size=(60, 90), zoom_out=4))
    assert cropped(rng, image)[0].shape == (60, 90, 3)
