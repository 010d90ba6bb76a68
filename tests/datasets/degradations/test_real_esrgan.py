"""Test the second-order degradation: its random distribution, and the effect of each step on an image."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import correlate

from gan_tasks.datasets.degradations.kernels import Bell, Blur, Sinc
from gan_tasks.datasets.degradations.real_esrgan import Degradation, Noise, Stage, degrade, draw_degradation

NOTHING = Stage(blur=None, zoom=1.0, interpolation="area", noise=None, jpeg_quality=None)
IDENTITY = Degradation(first=NOTHING, second=NOTHING, interpolation="area", sinc=None, jpeg_last=True)

PHOTO: NDArray[np.uint8] = skimage.data.astronaut()[40:168, 170:310]
DRAWS = [draw_degradation(np.random.default_rng(seed)) for seed in range(1000)]


def first(stage: Stage) -> Degradation:
    return replace(IDENTITY, first=stage)


def jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file))


def distance(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the mean absolute difference in grey levels."""
    return float(np.abs(image.astype(float) - other.astype(float)).mean())


# Random distribution


def frequency(outcomes: list[bool]) -> float:
    return sum(outcomes) / len(outcomes)


def within(probability: float, draws: int = len(DRAWS)) -> object:
    """Return a comparison with the probability that allows four standard deviations."""
    return pytest.approx(probability, abs=4 * math.sqrt(probability * (1 - probability) / draws))


def kind(blur: Blur) -> str:
    if isinstance(blur, Sinc):
        return "sinc"
    return f"{blur.profile} {'isotropic' if blur.sigmas[0] == blur.sigmas[1] else 'anisotropic'}"


@pytest.mark.parametrize(("name", "largest_sigma"), [("first", 3.0), ("second", 1.5)])
def test_blur_distribution_matches_real_esrgan(name: str, largest_sigma: float) -> None:
    blurs = [blur for draw in DRAWS if (blur := getattr(draw, name).blur)]
    assert len(blurs) / len(DRAWS) == (1 if name == "first" else within(0.8))
    bells = [blur for blur in blurs if isinstance(blur, Bell)]
    counts = Counter(map(kind, blurs))
    expected = {
        "sinc": 0.1,
        "gaussian isotropic": 0.9 * 0.45,
        "gaussian anisotropic": 0.9 * 0.25,
        "generalized isotropic": 0.9 * 0.12,
        "generalized anisotropic": 0.9 * 0.03,
        "plateau isotropic": 0.9 * 0.12,
        "plateau anisotropic": 0.9 * 0.03,
    }
    assert counts.keys() == expected.keys()
    for which, probability in expected.items():
        assert counts[which] / len(blurs) == within(probability, len(blurs)), which

    assert {blur.size for blur in blurs} == {7, 9, 11, 13, 15, 17, 19, 21}
    sigmas = [sigma for blur in bells for sigma in blur.sigmas]
    assert 0.2 <= min(sigmas) < 0.25 and largest_sigma - 0.05 < max(sigmas) <= largest_sigma
    assert all(blur.angle == 0 for blur in bells if kind(blur).endswith(" isotropic"))
    betas = {profile: [b.beta for b in bells if b.profile == profile] for profile in ("gaussian", "generalized")}
    assert set(betas["gaussian"]) == {1.0}
    assert 0.5 <= min(betas["generalized"]) < 0.6 and 3.5 < max(betas["generalized"]) <= 4
    assert frequency([beta < 1 for beta in betas["generalized"]]) == within(0.5, len(betas["generalized"]))
    assert all(1 <= b.beta <= 2 for b in bells if b.profile == "plateau")
    for blur in blurs:
        if isinstance(blur, Sinc):
            assert math.pi / (5 if blur.size >= 13 else 3) <= blur.cutoff <= math.pi


@pytest.mark.parametrize(
    ("name", "smallest", "largest", "up", "down", "largest_gaussian", "largest_poisson"),
    [("first", 0.15, 1.5, 0.2, 0.7, 30, 3.0), ("second", 0.3, 1.2, 0.3, 0.4, 25, 2.5)],
)
def test_resize_noise_and_jpeg_distributions_match_real_esrgan(
    name: str,
    smallest: float,
    largest: float,
    up: float,
    down: float,
    largest_gaussian: float,
    largest_poisson: float,
) -> None:
    stages: list[Stage] = [getattr(draw, name) for draw in DRAWS]
    zooms = [stage.zoom for stage in stages]
    assert smallest <= min(zooms) and max(zooms) <= largest
    assert frequency([zoom > 1 for zoom in zooms]) == within(up)
    assert frequency([zoom < 1 for zoom in zooms]) == within(down)
    for interpolation in ("area", "bilinear", "bicubic"):
        assert frequency([stage.interpolation == interpolation for stage in stages]) == within(1 / 3)

    noises = [stage.noise for stage in stages if stage.noise]
    assert len(noises) == len(DRAWS)
    assert frequency([noise.kind == "gaussian" for noise in noises]) == within(0.5)
    assert frequency([noise.gray for noise in noises]) == within(0.4)
    assert len({noise.seed for noise in noises}) == len(DRAWS)
    strengths = {k: [noise.strength for noise in noises if noise.kind == k] for k in ("gaussian", "poisson")}
    assert (
        1 <= min(strengths["gaussian"]) < 2 and largest_gaussian - 1 < max(strengths["gaussian"]) <= largest_gaussian
    )
    assert 0.05 <= min(strengths["poisson"]) < 0.15
    assert largest_poisson - 0.1 < max(strengths["poisson"]) <= largest_poisson

    assert {stage.jpeg_quality for stage in stages} == set(range(30, 96))


def test_final_steps_distribution_matches_real_esrgan() -> None:
    sincs = [draw.sinc for draw in DRAWS if draw.sinc]
    assert len(sincs) / len(DRAWS) == within(0.8)
    assert all(math.pi / 3 <= sinc.cutoff <= math.pi for sinc in sincs)
    assert {sinc.size for sinc in sincs} == {7, 9, 11, 13, 15, 17, 19, 21}
    assert frequency([draw.jpeg_last for draw in DRAWS]) == within(0.5)
    assert {draw.interpolation for draw in DRAWS} == {"area", "bilinear", "bicubic"}


def test_kernels_sum_to_one_and_are_symmetric() -> None:
    for draw in DRAWS[:200]:
        for blur in (draw.first.blur, draw.second.blur, draw.sinc):
            if blur:
                kernel = blur.kernel()
                assert kernel.shape == (blur.size, blur.size) and kernel.dtype == np.float32
                assert kernel.sum() == pytest.approx(1, abs=1e-5)
                np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-6)


def test_degradation_depends_on_the_generator_only() -> None:
    assert draw_degradation(np.random.default_rng(7)) == DRAWS[7]
    assert len(set(DRAWS)) == len(DRAWS)
    for draw in DRAWS[:4]:
        np.testing.assert_array_equal(degrade(PHOTO, draw, 4), degrade(PHOTO, draw, 4))


# Effect of each step


@given(
    seed=st.integers(0, 2**32),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    scale=st.sampled_from([1, 2, 3, 4]),
)
@settings(deadline=None, max_examples=60)
def test_size_is_exact_and_remaining_rows_and_columns_are_ignored(
    seed: int, height: int, width: int, scale: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    draw = draw_degradation(rng)
    if min(height, width) < scale:
        with pytest.raises(ValueError, match=f"cannot downscale an image of {height}×{width} px by {scale}"):
            degrade(image, draw, scale)
        return
    low = degrade(image, draw, scale)
    assert low.shape == (height // scale, width // scale, 3) and low.dtype == np.uint8
    whole = image[: height // scale * scale, : width // scale * scale]
    np.testing.assert_array_equal(degrade(whole, draw, scale), low)


def test_degradation_without_steps_changes_nothing() -> None:
    np.testing.assert_array_equal(degrade(PHOTO, IDENTITY, 1), PHOTO)
    np.testing.assert_array_equal(degrade((PHOTO / 255).astype(np.float32), IDENTITY, 1), PHOTO)


def test_area_downscaling_averages_the_covered_pixels() -> None:
    means = PHOTO.reshape(32, 4, 35, 4, 3).mean(axis=(1, 3))
    assert np.abs(degrade(PHOTO, IDENTITY, 4) - means).max() <= 0.51
    halved = first(replace(NOTHING, zoom=0.5))
    assert np.abs(degrade(PHOTO, halved, 2) - PHOTO.reshape(64, 2, 70, 2, 3).mean(axis=(1, 3))).max() <= 0.51


@given(width=st.integers(1, 40), zoom=st.floats(1, 1.5))
@settings(deadline=None, max_examples=50)
def test_area_upscaling_averages_the_covered_parts_of_pixels(width: int, zoom: float) -> None:
    row = PHOTO[64:65, :width]
    wide = max(1, int(width * zoom))
    enlarged = replace(IDENTITY, first=replace(NOTHING, zoom=zoom))
    supersampled = np.repeat(np.repeat(row, wide, axis=1).reshape(1, wide, width, 3).mean(axis=2), width, axis=1)
    expected = supersampled.reshape(1, width, wide, 3).mean(axis=2)  # enlarged, then reduced to the original size
    assert np.abs(degrade(row, enlarged, 1) - expected).max() <= 0.51


@pytest.mark.parametrize("blur", [Bell("generalized", 21, (3, 0.5), 0.7, 1.5), Sinc(13, 1.0)])
def test_blur_is_a_correlation_with_mirrored_border(blur: Bell | Sinc) -> None:
    kernel = blur.kernel().astype(float)
    expected = np.stack([correlate(PHOTO[..., c].astype(float), kernel, mode="mirror") for c in range(3)], axis=-1)
    expected = expected.clip(0, 255)
    assert np.abs(degrade(PHOTO, first(replace(NOTHING, blur=blur)), 1) - expected).max() <= 0.51
    second = replace(IDENTITY, second=replace(NOTHING, blur=blur))
    assert np.abs(degrade(PHOTO, second, 1) - expected).max() <= 0.51
    if isinstance(blur, Sinc):
        assert np.abs(degrade(PHOTO, replace(IDENTITY, sinc=blur), 1) - expected).max() <= 0.51


def noise_added(image: NDArray[np.float32], noise: Noise) -> NDArray[np.float64]:
    noisy = degrade(image, first(replace(NOTHING, noise=noise)), 1)
    return noisy / 255 - image.astype(np.float64)


@pytest.mark.parametrize("gray", [False, True])
def test_gaussian_noise_has_the_given_deviation(gray: bool) -> None:
    middle = np.full((120, 120, 3), 0.5, np.float32)
    added = noise_added(middle, Noise("gaussian", 20, gray, seed=3))
    assert added.std() * 255 == pytest.approx(20, rel=0.05) and abs(added.mean()) * 255 < 0.5
    correlation = np.corrcoef(added[..., 0].ravel(), added[..., 1].ravel())[0, 1]
    assert correlation == pytest.approx(1 if gray else 0, abs=0.05)


@pytest.mark.parametrize("gray", [False, True])
def test_poisson_noise_grows_with_brightness(gray: bool) -> None:
    levels = np.linspace(0, 1, 256, dtype=np.float32)  # all levels occur, so 256 photons correspond to white
    image = np.tile(levels[:, None, None], (1, 400, 3))
    added = noise_added(image, Noise("poisson", 0.5, gray, seed=4))
    for level in (40, 128, 200):
        light = levels[level]
        assert added[level].std() == pytest.approx(0.5 * math.sqrt(light / 256), rel=0.15)
        assert abs(added[level].mean()) < 0.005
    assert not added[0].any()
    correlation = np.corrcoef(added[128, :, 0], added[128, :, 1])[0, 1]
    assert correlation == pytest.approx(1 if gray else 0, abs=0.15)


@pytest.mark.parametrize("noise_kind", ["gaussian", "poisson"])
def test_noise_depends_on_the_seed(noise_kind: Literal["gaussian", "poisson"]) -> None:
    one, other = (first(replace(NOTHING, noise=Noise(noise_kind, 1.0, False, seed))) for seed in (1, 2))
    assert distance(degrade(PHOTO, one, 1), degrade(PHOTO, other, 1)) > 0.5


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_jpeg_matches_a_file_of_the_same_quality(quality: int) -> None:
    compressed = degrade(PHOTO, first(replace(NOTHING, jpeg_quality=quality)), 1)
    assert distance(compressed, jpeg(PHOTO, quality)) < 0.2 < 1 < distance(compressed, PHOTO)


def test_second_jpeg_is_before_or_after_the_final_resize_and_sinc() -> None:
    sinc = Sinc(13, 1.2)
    without = replace(IDENTITY, sinc=sinc)
    with_jpeg = replace(without, second=replace(NOTHING, jpeg_quality=30))
    after = degrade(PHOTO, with_jpeg, 2)
    assert distance(after, jpeg(degrade(PHOTO, without, 2), 30)) < 0.2

    before = degrade(PHOTO, replace(with_jpeg, jpeg_last=False), 2)
    at_low_size = jpeg(degrade(PHOTO, IDENTITY, 2), 30)
    assert distance(before, degrade(at_low_size, without, 1)) < 0.2
    assert distance(before, after) > 1


def test_module_does_not_import_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from gan_tasks.datasets.degradations.real_esrgan import degrade, draw_degradation\n"
        "degrade(np.zeros((32, 32, 3), np.uint8), draw_degradation(np.random.default_rng(0)), 4)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
