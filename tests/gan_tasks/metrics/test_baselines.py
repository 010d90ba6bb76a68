"""Baselines against numpy's least squares and closed forms."""

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import to_float
from gan_tasks.metrics.baselines import (
    denoise_non_local_means,
    fill_harmonic,
    fill_navier_stokes,
    fill_telea,
    fit_baselines,
    noise_level,
    non_local_means,
    upscale_bicubic,
)
from gan_tasks.metrics.reference import psnr

# --- pairs


def noise_images(seed: int, count: int, channels: int, *sizes: tuple[int, int]) -> list[np.ndarray]:
    """Return random uint8 images H×W×C, one of each size."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*sizes[i % len(sizes)], channels), np.uint8) for i in range(count)]


def as_float(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1


def test_mean_is_the_mean_image_or_the_mean_colour_for_another_size():
    targets = noise_images(0, 5, 3, (4, 6))
    baselines = fit_baselines(noise_images(1, 5, 1, (4, 6)), targets)
    mean = np.mean([as_float(t) for t in targets], axis=0)
    np.testing.assert_allclose(baselines.mean(targets[0]), mean, atol=1e-6)
    elsewhere = baselines.mean(np.zeros((2, 3, 1), np.uint8))
    assert elsewhere.shape == (3, 2, 3)
    np.testing.assert_allclose(elsewhere[:, 1, 2], mean.mean(axis=(1, 2)), atol=1e-6)


def test_mean_of_targets_of_several_sizes_is_the_mean_colour_of_all_pixels():
    sizes = ((4, 6), (2, 2))
    targets = noise_images(0, 5, 3, *sizes)
    baselines = fit_baselines(noise_images(1, 5, 3, *sizes), targets)
    pixels = np.concatenate([as_float(t).reshape(3, -1) for t in targets], axis=1)
    baseline = baselines.mean(targets[0])
    assert baseline.shape == (3, 4, 6)
    np.testing.assert_allclose(baseline[:, 0, 0], pixels.mean(axis=1), atol=1e-6)
    assert np.ptp(baseline, axis=(1, 2)).max() == 0


@given(seed=st.integers(0, 1000), source_channels=st.integers(1, 4), target_channels=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_affine_recovers_an_affine_relation_of_colours(seed, source_channels, target_channels):
    rng = np.random.default_rng(seed)
    matrix = rng.uniform(-0.2, 0.2, (target_channels, source_channels))
    offset = rng.uniform(-0.1, 0.1, target_channels)
    sources = [as_float(p) for p in noise_images(seed, 3, source_channels, (5, 4), (3, 7))]
    targets = [np.einsum("ts,shw->thw", matrix, s) + offset[:, None, None] for s in sources]
    baselines = fit_baselines(sources[:2], targets[:2])
    np.testing.assert_allclose(baselines.affine(sources[2]), targets[2], atol=1e-5)


def test_affine_has_the_error_of_numpys_least_squares():
    sources, targets = noise_images(0, 4, 3, (6, 5)), noise_images(1, 4, 3, (6, 5))
    baselines = fit_baselines(sources, targets)
    x = np.concatenate([as_float(s).reshape(3, -1) for s in sources], axis=1).T
    y = np.concatenate([as_float(t).reshape(3, -1) for t in targets], axis=1).T
    x = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    solution = np.linalg.lstsq(x, y.astype(np.float64))[0]
    expected = np.clip(x[:30] @ solution, -1, 1).T.reshape(3, 6, 5)
    np.testing.assert_allclose(baselines.affine(sources[0]), expected, atol=1e-6)


def test_affine_is_defined_for_equal_channels():
    gray = noise_images(0, 3, 1, (4, 4))
    baselines = fit_baselines([g.repeat(3, axis=2) for g in gray], gray)
    np.testing.assert_allclose(baselines.affine(gray[0].repeat(3, axis=2)), as_float(gray[0]), atol=1e-5)


def test_identity_converts_to_the_channels_of_the_target():
    gray, colour = noise_images(0, 2, 1, (4, 4)), noise_images(1, 2, 3, (4, 4))
    np.testing.assert_allclose(fit_baselines(colour, colour).identity(colour[0]), as_float(colour[0]))
    repeated = fit_baselines(gray, colour).identity(gray[0])
    np.testing.assert_allclose(repeated, as_float(gray[0]).repeat(3, axis=0))
    luma = np.einsum("c,chw->hw", [0.299, 0.587, 0.114], as_float(colour[0]))
    np.testing.assert_allclose(fit_baselines(colour, gray).identity(colour[0])[0], luma, atol=1e-6)
    with pytest.raises(UserError, match="5 channels"):
        fit_baselines(noise_images(2, 2, 5, (4, 4)), colour).identity(np.zeros((4, 4, 5), np.uint8))


@pytest.mark.parametrize("name", ["identity", "mean", "affine"])
def test_pixels_and_floats_of_an_image_give_the_same_baselines(name):
    sources, targets = noise_images(0, 3, 3, (4, 5)), noise_images(1, 3, 3, (4, 5))
    from_pixels = fit_baselines(sources, targets)
    from_floats = fit_baselines(map(as_float, sources), map(as_float, targets))
    of_pixels = getattr(from_pixels, name)(sources[0])
    of_floats = getattr(from_floats, name)(as_float(sources[0]))
    np.testing.assert_allclose(of_pixels, of_floats, atol=1e-6)
    assert of_pixels.dtype == np.float32
    of_uint16 = getattr(from_pixels, name)(sources[0].astype(np.uint16) * 257)
    np.testing.assert_allclose(of_uint16, of_pixels, atol=1e-6)


def test_missing_and_unequally_sized_pairs_are_refused():
    photos = noise_images(0, 2, 3, (4, 4))
    with pytest.raises(ValueError, match="no training pairs"):
        fit_baselines([], [])
    with pytest.raises(ValueError, match=r"\(4, 4\) px has a target of \(4, 5\)"):
        fit_baselines(photos, noise_images(1, 2, 3, (4, 5)))
    with pytest.raises(ValueError):
        fit_baselines(photos, photos[:1])


# --- super-resolution


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_upscaling_multiplies_the_size_and_keeps_the_mean(scale):
    photo = skimage.data.coffee()[:40, :50]
    large = upscale_bicubic(photo, scale)
    assert large.shape == (40 * scale, 50 * scale, 3)
    assert large.mean() == pytest.approx(photo.mean(), abs=0.5)


# --- restoration


def test_non_local_means_filters_lightness_and_chroma_of_rgb():
    photo = skimage.data.astronaut()[:40, 200:250].astype(float)
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 20, photo.shape), 0, 255).astype(np.uint8)
    of_bgr = cv2.fastNlMeansDenoisingColored(noisy[..., ::-1].copy(), None, 15, 15, 7, 21)
    denoised = non_local_means(noisy, 15)
    np.testing.assert_array_equal(denoised, of_bgr[..., ::-1])
    assert np.abs(denoised - photo).mean() < 0.8 * np.abs(noisy - photo).mean()
    gray = noisy[..., :1]
    np.testing.assert_array_equal(non_local_means(gray, 15)[..., 0], cv2.fastNlMeansDenoising(gray, None, 15))


def noisy(sigma: float, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth picture with an edge, and the same with Gaussian noise, uint8 H×W×C."""
    y, x = np.mgrid[:72, :80] / 80
    clean = np.stack([128 + 30 * np.sin(5 * x + 3 * y + number) for number in range(channels)], axis=2)
    clean[20:50, 30:60] += 20
    noise = sigma * np.random.default_rng(0).standard_normal(clean.shape)
    return np.rint(clean).astype(np.uint8), np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [5, 15, 30])
def test_the_level_of_noise_is_found(sigma):
    clean, pixels = noisy(sigma)
    assert noise_level(pixels) == pytest.approx(sigma, rel=0.1)
    assert noise_level(clean) < 1


@pytest.mark.parametrize("channels", [1, 3])
def test_non_local_means_remove_noise_and_leave_the_rest(channels):
    clean, pixels = (to_float(each) for each in noisy(15, channels))
    before, after = (
        float(psnr(torch.from_numpy(each)[None], torch.from_numpy(clean)[None]))
        for each in (pixels, denoise_non_local_means(pixels))
    )
    assert after > before + 3
    assert np.abs(denoise_non_local_means(clean) - clean).max() < 5 / 127.5


# --- inpainting


def blob(height: int, width: int, seed: int) -> np.ndarray:
    """Return an irregular mask that may touch the border."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return smooth > np.quantile(smooth, 0.6)


@given(seed=st.integers(0, 100), height=st.integers(3, 24), width=st.integers(3, 24))
@settings(max_examples=30, deadline=None)
def test_every_filled_pixel_is_the_mean_of_its_neighbours(seed, height, width):
    mask = blob(height, width, seed)
    image = np.random.default_rng(seed).uniform(-1, 1, (height, width, 2))
    filled = fill_harmonic(image, mask)
    padded = np.pad(filled, ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    around = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    np.testing.assert_allclose(filled[mask], np.nanmean(around, axis=0)[mask], atol=1e-9)
    np.testing.assert_array_equal(filled[~mask], image[~mask])


def test_a_linear_ramp_is_filled_without_error():
    rows, columns = np.mgrid[:30, :40]
    ramp = (2.0 * rows - columns + 5)[..., None]
    mask = np.zeros((30, 40), bool)
    mask[4:20, 7:33] = True
    np.testing.assert_allclose(fill_harmonic(ramp, mask), ramp, atol=1e-9)


@pytest.mark.parametrize("fill", [fill_harmonic, fill_telea, fill_navier_stokes])
@pytest.mark.parametrize("channels", [1, 3])
def test_fills_keep_unmasked_pixels_and_approximate_masked_ones(fill, channels):
    photo = skimage.data.astronaut()[:128, 150:280, :channels]
    mask = blob(128, 130, 0)
    damaged = np.where(mask[..., None], 255, photo).astype(np.uint8)
    filled = fill(damaged, mask)
    assert filled.dtype == np.uint8 and filled.shape == photo.shape
    np.testing.assert_array_equal(filled[~mask], photo[~mask])
    error, error_of_mean = (
        np.abs(baseline - photo[mask].astype(float)).mean() for baseline in (filled[mask], photo[~mask].mean(axis=0))
    )
    assert error < 0.7 * error_of_mean
    np.testing.assert_array_equal(fill(np.where(mask[..., None], 0, photo).astype(np.uint8), mask), filled)


@pytest.mark.parametrize("fill", [fill_harmonic, fill_telea, fill_navier_stokes])
def test_empty_mask_changes_nothing_and_full_mask_is_refused(fill):
    photo = skimage.data.astronaut()[:20, :30]
    np.testing.assert_array_equal(fill(photo, np.zeros((20, 30), bool)), photo)
    with pytest.raises(ValueError, match="whole image"):
        fill(photo, np.ones((20, 30), bool))
    with pytest.raises(ValueError, match="expected bool"):
        fill(photo, np.zeros((30, 20), bool))
    with pytest.raises(ValueError, match="expected bool"):
        fill(photo, np.zeros((20, 30), np.uint8))
