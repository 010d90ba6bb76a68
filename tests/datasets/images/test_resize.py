"""Compare bicubic resizing with files made by MATLAB, with PIL in the interior, and with closed forms."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gan_tasks.datasets.images import fit_channels, read
from gan_tasks.datasets.images.resize import bicubic

BENCHMARK = Path(__file__).parents[3].parent / "shared" / "data" / "sr_x4"
needs_benchmark = pytest.mark.skipif(not BENCHMARK.is_dir(), reason=f"no super-resolution benchmark at {BENCHMARK}")


@needs_benchmark
@pytest.mark.parametrize("name", ["Set5/{}/img_002.png", "Set5/{}/img_005.png", "Set14/{}/img_013.png"])
def test_quarter_size_equals_matlab_bit_for_bit(name):
    # The last image is a page of text: its overshoots show that MATLAB clips between the two axes.
    high, low = (fit_channels(read(BENCHMARK / name.format(side)).pixels, 3) for side in ("HR", "LR"))
    np.testing.assert_array_equal(bicubic(high, low.shape[:2]), low)


@pytest.mark.parametrize("size", [(100, 160), (61, 77), (300, 333), (128, 600), (512, 100)])
def test_interior_matches_pil(size):
    photo = skimage.data.astronaut()[:256, :320].astype(np.float32)
    theirs = [
        np.asarray(Image.fromarray(photo[..., c]).resize(size[::-1], Image.Resampling.BICUBIC)) for c in range(3)
    ]
    away = tuple(
        slice(int(np.ceil(3 * max(1, s / p))), -int(np.ceil(3 * max(1, s / p))))
        for s, p in zip(size, photo.shape[:2], strict=True)
    )
    np.testing.assert_allclose(bicubic(photo, size)[away], np.stack(theirs, axis=2)[away], atol=2e-3)


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
)
@settings(max_examples=60, deadline=None)
def test_flat_image_stays_flat_for_any_size_and_type(height, width, size, dtype):
    flat = np.full((height, width, 2), 200, dtype)
    resized = bicubic(flat, size)
    assert resized.shape == (*size, 2) and resized.dtype == dtype
    np.testing.assert_allclose(resized, 200, rtol=1e-6)


@given(seed=st.integers(0, 100), scale=st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_resize_commutes_with_mirroring_and_transposing(seed, scale):
    image = np.random.default_rng(seed).uniform(-1, 1, (8, 12, 1)).astype(np.float32)
    size = (8 * scale, 12 * scale)
    resized = bicubic(image, size)
    np.testing.assert_allclose(bicubic(image[::-1], size), resized[::-1], atol=1e-6)
    np.testing.assert_allclose(bicubic(image.transpose(1, 0, 2), size[::-1]), resized.transpose(1, 0, 2), atol=1e-6)


def test_interior_of_a_ramp_stays_a_ramp():
    ramp = np.tile(np.arange(32, dtype=np.float32)[None, :, None], (4, 1, 1))
    np.testing.assert_allclose(bicubic(ramp, (4, 64))[0, 8:-8, 0], np.arange(8, 56) / 2 - 0.25, atol=1e-5)


def test_fine_stripes_become_gray_without_aliasing():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))[..., None]
    assert np.ptp(bicubic(stripes, (21, 21))[3:-3, 3:-3].astype(int)) <= 6


def test_same_size_returns_the_same_image():
    photo = skimage.data.chelsea()[:20, :30]
    np.testing.assert_array_equal(bicubic(photo, (20, 30)), photo)


@pytest.mark.parametrize(("shape", "size"), [((4, 4), (2, 2)), ((0, 4, 3), (2, 2)), ((4, 4, 3), (0, 2))])
def test_empty_images_and_sizes_are_rejected(shape, size):
    with pytest.raises(ValueError, match="cannot resize"):
        bicubic(np.zeros(shape, np.uint8), size)
