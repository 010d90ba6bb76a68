"""Compare the degradation of tensors with that of arrays, its JPEG with JPEG files, and its filters with scipy."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from gan_tasks.datasets.degradations.on_device import jpeg
from gan_tasks.datasets.degradations.on_device.filters import correlate
from gan_tasks.datasets.degradations.on_device.real_esrgan import degrade_batch
from gan_tasks.datasets.degradations.real_esrgan import Degradation, Noise, Stage, degrade, draw_degradation

PHOTO: NDArray[np.uint8] = skimage.data.astronaut()[60:156, 170:290]
NOTHING = Stage(blur=None, zoom=1.0, interpolation="area", noise=None, jpeg_quality=None)
IDENTITY = Degradation(first=NOTHING, second=NOTHING, interpolation="area", sinc=None, jpeg_last=True)


def drawn(seed: int) -> Degradation:
    return draw_degradation(np.random.default_rng(seed))


def quiet(draw: Degradation, *, keep_jpeg: bool = False) -> Degradation:
    def stage(of: Stage) -> Stage:
        return replace(of, noise=None, jpeg_quality=of.jpeg_quality if keep_jpeg else None)

    return replace(draw, first=stage(draw.first), second=stage(draw.second))


def to_tensor(*images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def to_levels(images: Tensor) -> NDArray[np.float32]:
    """Return N×H×W×3 grey levels, after checking that they are integers."""
    levels = images.permute(0, 2, 3, 1).numpy() * 255
    np.testing.assert_allclose(levels, levels.round(), atol=1e-3)
    return levels.round()


@given(
    seed=st.integers(0, 2**32),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    scale=st.sampled_from([1, 2, 3, 4]),
)
@settings(deadline=None, max_examples=50)
def test_result_without_noise_and_jpeg_equals_the_array_version(
    seed: int, height: int, width: int, scale: int
) -> None:
    height, width = max(height, scale), max(width, scale)
    image, draw = np.ascontiguousarray(PHOTO[:height, :width]), quiet(drawn(seed))
    low = to_levels(degrade_batch(to_tensor(image), [draw], scale))[0]
    assert low.shape == (height // scale, width // scale, 3)
    assert np.abs(low - degrade(image, draw, scale)).max() <= 2


def test_result_with_jpeg_is_close_to_the_array_version() -> None:
    draws = [quiet(drawn(seed), keep_jpeg=True) for seed in range(16)]
    low = to_levels(degrade_batch(to_tensor(*[PHOTO] * 16), draws, 2))
    theirs = np.stack([degrade(PHOTO, draw, 2) for draw in draws])
    without = np.stack([degrade(PHOTO, quiet(draw), 2) for draw in draws]).astype(float)
    lost, lost_theirs = (np.abs(image - without).mean(axis=(1, 2, 3)) for image in (low, theirs))
    np.testing.assert_allclose(lost, lost_theirs, rtol=0.08)
    # The second JPEG may increase rounding errors of the first.
    assert np.abs(low - theirs).mean() < 0.4 * lost_theirs.mean()


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize(("kind", "strength"), [("gaussian", 18.0), ("poisson", 1.5)])
def test_noise_has_the_deviation_of_the_array_version(
    kind: Literal["gaussian", "poisson"], strength: float, gray: bool
) -> None:
    ramp = np.tile(np.linspace(70, 180, 128).astype(np.uint8)[:, None, None], (1, 128, 3))
    noise = Noise(kind, strength, gray, seed=5)
    draw = replace(IDENTITY, first=replace(NOTHING, noise=noise))
    ours = to_levels(degrade_batch(to_tensor(ramp), [draw], 1))[0] - ramp
    theirs = degrade(ramp, draw, 1).astype(float) - ramp
    for part in (slice(0, 64), slice(64, 128)):
        assert ours[part].std() == pytest.approx(theirs[part].std(), rel=0.05)
        assert ours[part].mean() == pytest.approx(theirs[part].mean(), abs=1)
    channels = [np.corrcoef(added[..., 0].ravel(), added[..., 2].ravel())[0, 1] for added in (ours, theirs)]
    np.testing.assert_allclose(channels, 1 if gray else 0, atol=0.05)


def test_mean_and_deviation_match_the_array_version() -> None:
    draws = [drawn(seed) for seed in range(24)]
    ours = to_levels(degrade_batch(to_tensor(*[PHOTO] * 24), draws, 2)).astype(float)
    theirs = np.stack([degrade(PHOTO, draw, 2) for draw in draws]).astype(float)
    gap = ours.mean(axis=(1, 2, 3)) - theirs.mean(axis=(1, 2, 3))
    assert np.abs(gap).max() < 5 and abs(gap.mean()) < 1
    spread = ours.std(axis=(1, 2, 3)) / theirs.std(axis=(1, 2, 3))
    np.testing.assert_allclose(spread, 1, atol=0.1)


def test_each_image_of_a_batch_has_its_own_degradation_and_seed() -> None:
    draws = [drawn(seed) for seed in range(5)]
    images = to_tensor(*(np.roll(PHOTO, shift, axis=1) for shift in range(5)))
    together = degrade_batch(images, draws, 4)
    assert together.shape == (5, 3, 24, 30) and together.dtype == torch.float32
    alone = torch.cat([degrade_batch(images[n : n + 1], [draw], 4) for n, draw in enumerate(draws)])
    # The first blur of a batch sums in another order; its rounding may change a few grey levels.
    assert (together - alone).abs().mean() < 0.1 / 255
    torch.testing.assert_close(degrade_batch(images, draws, 4), together, rtol=0, atol=0)
    other = replace(draws[0], first=replace(draws[0].first, noise=Noise("gaussian", 20, False, seed=1)))
    again = replace(draws[0], first=replace(draws[0].first, noise=Noise("gaussian", 20, False, seed=2)))
    one, two = degrade_batch(images[:1].repeat(2, 1, 1, 1), [other, again], 4)
    assert (one - two).abs().mean() > 2 / 255


def test_autocast_has_no_effect_and_no_gradient_is_recorded() -> None:
    image, draw = to_tensor(PHOTO), drawn(3)
    plain = degrade_batch(image, [draw], 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = degrade_batch(image.requires_grad_(), [draw], 4)
    torch.testing.assert_close(low, plain, rtol=0, atol=0)
    assert not low.requires_grad


def test_wrong_number_of_degradations_and_small_images_are_rejected() -> None:
    with pytest.raises(ValueError, match="got 2 images and 1 degradations"):
        degrade_batch(to_tensor(PHOTO, PHOTO), [drawn(0)], 4)
    with pytest.raises(ValueError, match="cannot downscale an image of 3×9 px by 4"):
        degrade_batch(torch.zeros(1, 3, 3, 9), [drawn(0)], 4)


@pytest.mark.parametrize(("height", "width"), [(96, 112), (61, 77), (33, 16), (1, 40)])
@pytest.mark.parametrize("quality", [30, 50, 75, 95])
def test_jpeg_matches_a_file_of_the_same_quality(height: int, width: int, quality: int) -> None:
    image = np.ascontiguousarray(PHOTO[:height, :width])
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    theirs = np.asarray(Image.open(file)).astype(float)
    ours = to_levels(jpeg.compress(to_tensor(image), quality))[0]
    assert np.abs(ours - theirs).mean() < 0.35 * np.abs(theirs - image).mean()


def test_jpeg_clips_values_out_of_range() -> None:
    white = jpeg.compress(torch.full((1, 3, 8, 8), 1.7), 90)
    torch.testing.assert_close(white, torch.ones(1, 3, 8, 8))


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    taps=st.tuples(st.sampled_from([1, 3, 21]), st.sampled_from([1, 5, 21])),
)
@settings(deadline=None, max_examples=40)
def test_filters_match_scipy(height: int, width: int, taps: tuple[int, int]) -> None:
    rng = np.random.default_rng(height * width)
    images, kernels = rng.normal(size=(2, 3, height, width)), rng.normal(size=(2, *taps))
    ours = correlate(torch.from_numpy(images), torch.from_numpy(kernels))
    theirs = [
        [ndimage.correlate(plane, k, mode="mirror") for plane in image]
        for image, k in zip(images, kernels, strict=True)
    ]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    shared = correlate(torch.from_numpy(images), torch.from_numpy(kernels[:1]))
    np.testing.assert_allclose(shared[0], theirs[0], atol=1e-9)
