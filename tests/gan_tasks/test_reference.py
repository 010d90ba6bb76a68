"""The measures against scikit-image on real photographs, scipy, and closed forms."""

import math

import numpy as np
import pytest
import scipy.stats
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gan_tasks.datasets.errors import UserError
from gan_tasks.metrics import bootstrap_interval, diversity, l1, psnr, ssim, trivial_answers

PHOTOS = {
    "colour": skimage.data.astronaut()[100:241, 150:310],
    "also colour": skimage.data.chelsea()[100:241, 150:310],
    "gray": skimage.data.camera()[100:241, 150:310, None],
}


def damaged(photo: np.ndarray) -> dict[str, np.ndarray]:
    """The photo in several states, all uint8 H×W×C."""
    noise = np.random.default_rng(0).normal(0, 20, photo.shape)
    return {
        "noise": np.clip(photo + noise, 0, 255).astype(np.uint8),
        "dark": photo // 2,
        "shifted": np.roll(photo, 3, axis=1),
        "one level off": np.where(photo < 255, photo + 1, 254).astype(np.uint8),
    }


def tensor(photo: np.ndarray) -> torch.Tensor:
    """1×C×H×W in [-1, 1]."""
    return torch.from_numpy(photo.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


PAIRS = [
    pytest.param(photo, changed, id=f"{name}-{damage}")
    for name, photo in PHOTOS.items()
    for damage, changed in damaged(photo).items()
]


@pytest.mark.parametrize(("photo", "changed"), PAIRS)
def test_psnr_and_l1_are_those_of_the_8_bit_images(photo, changed):
    assert psnr(tensor(changed), tensor(photo)).item() == pytest.approx(
        peak_signal_noise_ratio(photo, changed, data_range=255), abs=1e-3
    )
    expected = np.abs(photo.astype(float) - changed).mean() / 255
    assert l1(tensor(changed), tensor(photo)).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("photo", "changed"), PAIRS)
def test_ssim_is_that_of_scikit_image_over_whole_windows(photo, changed):
    _, windows = structural_similarity(
        photo,
        changed,
        data_range=255,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert ssim(tensor(changed), tensor(photo)).item() == pytest.approx(windows[5:-5, 5:-5].mean(), abs=2e-5)


@pytest.mark.parametrize("measure", [l1, psnr, ssim])
def test_each_image_is_measured_on_its_own(measure):
    photos = [tensor(PHOTOS[name]) for name in ("colour", "also colour")]
    changed = [tensor(damaged(PHOTOS["colour"])["noise"]), tensor(damaged(PHOTOS["also colour"])["dark"])]
    together = measure(torch.cat(changed), torch.cat(photos))
    apart = torch.cat([measure(c, p) for c, p in zip(changed, photos, strict=True)])
    torch.testing.assert_close(together, apart)
    assert together.shape == (2,)


def test_equal_images_have_the_best_values():
    photo = tensor(PHOTOS["colour"])
    assert l1(photo, photo).item() == 0
    assert psnr(photo, photo).item() == math.inf
    assert ssim(photo, photo).item() == pytest.approx(1, abs=1e-5)


def test_opposite_images_have_the_worst():
    black, white = -torch.ones(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    assert l1(black, white).item() == 1
    assert psnr(black, white).item() == 0
    assert ssim(black, white).item() < 0.001


def test_autocast_and_low_precision_inputs_do_not_coarsen_ssim():
    photo, changed = tensor(PHOTOS["colour"]), tensor(damaged(PHOTOS["colour"])["one level off"])
    plain = ssim(changed, photo)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ssim(changed.requires_grad_(), photo), plain)
    assert ssim(photo.bfloat16(), photo.bfloat16()).dtype == torch.float32


@given(height=st.integers(1, 14), width=st.integers(1, 14))
@settings(max_examples=20, deadline=None)
def test_ssim_is_nan_exactly_where_no_window_fits(height, width):
    image = torch.rand(2, 1, height, width)
    values = ssim(image, image)
    assert values.shape == (2,)
    assert values.isnan().all() if min(height, width) < 11 else (values > 0.999).all()


@pytest.mark.parametrize("measure", [l1, psnr, ssim])
def test_shapes_that_differ_are_refused(measure):
    with pytest.raises(ValueError, match="shapes must agree"):
        measure(torch.zeros(2, 1, 16, 16), torch.zeros(2, 3, 16, 16))


# --- diversity


def test_diversity_compares_all_pairs():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.rand(5, 3, 4, 6, generator=generator)
    references = torch.rand(4, 3, 8, 2, generator=generator)

    def spread(images):
        n = len(images)
        return np.mean([(images[i] - images[j]).abs().mean().item() for i in range(n) for j in range(i)])

    assert diversity(outputs, references) == pytest.approx(spread(outputs) / spread(references), rel=1e-4)


def test_diversity_of_collapsed_equal_and_halved_outputs():
    references = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert diversity(references[:1].repeat(6, 1, 1, 1), references) == 0
    assert diversity(references, references) == pytest.approx(1)
    assert diversity(references / 2, references) == pytest.approx(0.5)
    assert math.isnan(diversity(references[:1], references))


# --- bootstrap


def test_bootstrap_agrees_with_scipys_percentile_interval():
    values = np.random.default_rng(1).gamma(2.0, size=60)
    reference = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(2)
    ).confidence_interval
    low, high = bootstrap_interval(values, samples=5000)
    width = reference.high - reference.low
    assert low == pytest.approx(reference.low, abs=0.06 * width)
    assert high == pytest.approx(reference.high, abs=0.06 * width)


def test_bootstrap_is_repeatable_and_narrows_with_the_level():
    values = list(np.random.default_rng(3).normal(size=30))
    low, high = bootstrap_interval(values, seed=4)
    assert (low, high) == bootstrap_interval(values, seed=4)
    assert (low, high) != bootstrap_interval(values, seed=5)
    low_half, high_half = bootstrap_interval(values, seed=4, level=0.5)
    assert low < low_half < np.mean(values) < high_half < high


def test_bootstrap_of_one_value_of_infinities_and_of_none():
    assert bootstrap_interval([3.0]) == (3.0, 3.0)
    assert bootstrap_interval([math.inf, math.inf]) == (math.inf, math.inf)
    low, high = bootstrap_interval([1.0] * 50 + [math.inf])
    assert (low, high) == (1.0, math.inf)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])


# --- trivial answers


def noise_images(seed: int, count: int, channels: int, *sizes: tuple[int, int]) -> list[np.ndarray]:
    """uint8 H×W×C, of each size in turn."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*sizes[i % len(sizes)], channels), np.uint8) for i in range(count)]


def as_float(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1


def test_mean_is_the_mean_photo_where_sizes_agree_and_its_colour_elsewhere():
    targets = noise_images(0, 5, 3, (4, 6))
    answers = trivial_answers(noise_images(1, 5, 1, (4, 6)), targets)
    mean = np.mean([as_float(t) for t in targets], axis=0)
    np.testing.assert_allclose(answers.mean(targets[0]), mean, atol=1e-6)
    elsewhere = answers.mean(np.zeros((2, 3, 1), np.uint8))
    assert elsewhere.shape == (3, 2, 3)
    np.testing.assert_allclose(elsewhere[:, 1, 2], mean.mean(axis=(1, 2)), atol=1e-6)


def test_mean_of_targets_of_several_sizes_is_their_pixels_mean_colour():
    sizes = ((4, 6), (2, 2))
    targets = noise_images(0, 5, 3, *sizes)
    answers = trivial_answers(noise_images(1, 5, 3, *sizes), targets)
    pixels = np.concatenate([as_float(t).reshape(3, -1) for t in targets], axis=1)
    answer = answers.mean(targets[0])
    assert answer.shape == (3, 4, 6)
    np.testing.assert_allclose(answer[:, 0, 0], pixels.mean(axis=1), atol=1e-6)
    assert np.ptp(answer, axis=(1, 2)).max() == 0


@given(seed=st.integers(0, 1000), source_channels=st.integers(1, 4), target_channels=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_affine_recovers_an_affine_relation_of_colours(seed, source_channels, target_channels):
    rng = np.random.default_rng(seed)
    matrix = rng.uniform(-0.2, 0.2, (target_channels, source_channels))
    offset = rng.uniform(-0.1, 0.1, target_channels)
    sources = [as_float(p) for p in noise_images(seed, 3, source_channels, (5, 4), (3, 7))]
    targets = [np.einsum("ts,shw->thw", matrix, s) + offset[:, None, None] for s in sources]
    answers = trivial_answers(sources[:2], targets[:2])
    np.testing.assert_allclose(answers.affine(sources[2]), targets[2], atol=1e-5)


def test_affine_has_the_residual_of_numpys_least_squares():
    sources, targets = noise_images(0, 4, 3, (6, 5)), noise_images(1, 4, 3, (6, 5))
    answers = trivial_answers(sources, targets)
    x = np.concatenate([as_float(s).reshape(3, -1) for s in sources], axis=1).T
    y = np.concatenate([as_float(t).reshape(3, -1) for t in targets], axis=1).T
    x = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    solution = np.linalg.lstsq(x, y.astype(np.float64))[0]
    expected = np.clip(x[:30] @ solution, -1, 1).T.reshape(3, 6, 5)
    np.testing.assert_allclose(answers.affine(sources[0]), expected, atol=1e-6)


def test_affine_of_channels_that_say_the_same_is_still_defined():
    gray = noise_images(0, 3, 1, (4, 4))
    answers = trivial_answers([g.repeat(3, axis=2) for g in gray], gray)
    np.testing.assert_allclose(answers.affine(gray[0].repeat(3, axis=2)), as_float(gray[0]), atol=1e-5)


def test_identity_takes_the_targets_channels():
    gray, colour = noise_images(0, 2, 1, (4, 4)), noise_images(1, 2, 3, (4, 4))
    np.testing.assert_allclose(trivial_answers(colour, colour).identity(colour[0]), as_float(colour[0]))
    repeated = trivial_answers(gray, colour).identity(gray[0])
    np.testing.assert_allclose(repeated, as_float(gray[0]).repeat(3, axis=0))
    luma = np.einsum("c,chw->hw", [0.299, 0.587, 0.114], as_float(colour[0]))
    np.testing.assert_allclose(trivial_answers(colour, gray).identity(colour[0])[0], luma, atol=1e-6)
    with pytest.raises(UserError, match="5 channels"):
        trivial_answers(noise_images(2, 2, 5, (4, 4)), colour).identity(np.zeros((4, 4, 5), np.uint8))


@pytest.mark.parametrize("name", ["identity", "mean", "affine"])
def test_files_pixels_and_the_projects_floats_are_the_same_image(name):
    sources, targets = noise_images(0, 3, 3, (4, 5)), noise_images(1, 3, 3, (4, 5))
    from_pixels = trivial_answers(sources, targets)
    from_floats = trivial_answers(map(as_float, sources), map(as_float, targets))
    of_pixels = getattr(from_pixels, name)(sources[0])
    of_floats = getattr(from_floats, name)(as_float(sources[0]))
    np.testing.assert_allclose(of_pixels, of_floats, atol=1e-6)
    assert of_pixels.dtype == np.float32
    of_uint16 = getattr(from_pixels, name)(sources[0].astype(np.uint16) * 257)
    np.testing.assert_allclose(of_uint16, of_pixels, atol=1e-6)


def test_pairs_that_cannot_be_fitted_are_refused():
    photos = noise_images(0, 2, 3, (4, 4))
    with pytest.raises(ValueError, match="no training pairs"):
        trivial_answers([], [])
    with pytest.raises(ValueError, match=r"\(4, 4\) px has a target of \(4, 5\)"):
        trivial_answers(photos, noise_images(1, 2, 3, (4, 5)))
    with pytest.raises(ValueError):
        trivial_answers(photos, photos[:1])
