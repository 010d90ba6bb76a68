"""Full-reference metrics against scikit-image on real photographs, scipy, published values and closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gan_tasks.datasets.images import read, to_float
from gan_tasks.metrics.baselines import upscale_bicubic
from gan_tasks.metrics.reference import crop_border, full_reference, l1, luma, ms_ssim, psnr, ssim

BENCHMARK = Path(__file__).parents[3].parent / "shared" / "data" / "sr_x4"

PHOTOS = {
    "colour": skimage.data.astronaut()[100:241, 150:310],
    "also colour": skimage.data.chelsea()[100:241, 150:310],
    "gray": skimage.data.camera()[100:241, 150:310, None],
}


def damaged(photo: np.ndarray) -> dict[str, np.ndarray]:
    """Return the photo with several kinds of changes, uint8 H×W×C."""
    noise = np.random.default_rng(0).normal(0, 20, photo.shape)
    return {
        "noise": np.clip(photo + noise, 0, 255).astype(np.uint8),
        "dark": photo // 2,
        "shifted": np.roll(photo, 3, axis=1),
        "one level off": np.where(photo < 255, photo + 1, 254).astype(np.uint8),
    }


def tensor(photo: np.ndarray) -> torch.Tensor:
    """Convert to a tensor 1×C×H×W in [-1, 1]."""
    return torch.from_numpy(photo.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


PAIRS = [
    pytest.param(photo, changed, id=f"{name}-{damage}")
    for name, photo in PHOTOS.items()
    for damage, changed in damaged(photo).items()
]


@pytest.mark.parametrize(("photo", "changed"), PAIRS)
def test_psnr_and_l1_equal_those_of_the_8_bit_images(photo, changed):
    assert psnr(tensor(changed), tensor(photo)).item() == pytest.approx(
        peak_signal_noise_ratio(photo, changed, data_range=255), abs=1e-3
    )
    expected = np.abs(photo.astype(float) - changed).mean() / 255
    assert l1(tensor(changed), tensor(photo)).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("photo", "changed"), PAIRS)
def test_ssim_equals_that_of_scikit_image_without_padding(photo, changed):
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


@pytest.mark.parametrize("metric", [l1, psnr, ssim])
def test_metrics_of_a_batch_equal_those_of_its_images(metric):
    photos = [tensor(PHOTOS[name]) for name in ("colour", "also colour")]
    changed = [tensor(damaged(PHOTOS["colour"])["noise"]), tensor(damaged(PHOTOS["also colour"])["dark"])]
    together = metric(torch.cat(changed), torch.cat(photos))
    apart = torch.cat([metric(c, p) for c, p in zip(changed, photos, strict=True)])
    torch.testing.assert_close(together, apart)
    assert together.shape == (2,)


def test_equal_images_have_the_best_values():
    photo = tensor(PHOTOS["colour"])
    assert l1(photo, photo).item() == 0
    assert psnr(photo, photo).item() == math.inf
    assert ssim(photo, photo).item() == pytest.approx(1, abs=1e-5)


def test_opposite_images_have_the_worst_values():
    black, white = -torch.ones(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    assert l1(black, white).item() == 1
    assert psnr(black, white).item() == 0
    assert ssim(black, white).item() < 0.001


def test_ssim_is_computed_in_full_precision():
    photo, changed = tensor(PHOTOS["colour"]), tensor(damaged(PHOTOS["colour"])["one level off"])
    plain = ssim(changed, photo)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ssim(changed.requires_grad_(), photo), plain)
    assert ssim(photo.bfloat16(), photo.bfloat16()).dtype == torch.float32


@given(height=st.integers(1, 14), width=st.integers(1, 14))
@settings(max_examples=20, deadline=None)
def test_ssim_is_nan_only_for_images_smaller_than_a_window(height, width):
    image = torch.rand(2, 1, height, width)
    values = ssim(image, image)
    assert values.shape == (2,)
    assert values.isnan().all() if min(height, width) < 11 else (values > 0.999).all()


@pytest.mark.parametrize("metric", [l1, psnr, ssim, ms_ssim, full_reference])
def test_shapes_that_differ_are_refused(metric):
    with pytest.raises(ValueError, match="shapes must be equal"):
        metric(torch.zeros(2, 1, 16, 16), torch.zeros(2, 3, 16, 16))


# --- luma and borders


def test_luma_is_the_studio_range_of_bt_601():
    levels = {(0, 0, 0): 16, (255, 255, 255): 235, (255, 0, 0): 81.481, (0, 255, 0): 144.553, (0, 0, 255): 40.966}
    for colour, expected in levels.items():
        pixel = tensor(np.array(colour, np.uint8).reshape(1, 1, 3))
        assert ((luma(pixel) + 1) * 127.5).item() == pytest.approx(expected, abs=1e-3)


def test_luma_of_a_photo_equals_that_of_scikit_image():
    photo = PHOTOS["colour"]
    expected = skimage.color.rgb2ycbcr(photo)[..., 0]
    np.testing.assert_allclose((luma(tensor(photo))[0, 0].numpy() + 1) * 127.5, expected, atol=1e-3)


def test_luma_of_gray_is_unchanged_and_other_channels_are_refused():
    gray = tensor(PHOTOS["gray"])
    assert torch.equal(luma(gray), gray)
    with pytest.raises(ValueError, match="2 channels"):
        luma(torch.zeros(1, 2, 4, 4))


def test_errors_in_the_cropped_border_have_no_effect():
    photo = tensor(PHOTOS["colour"])
    changed = photo.clone()
    changed[..., :3, :] = changed[..., -3:, :] = changed[..., :, :3] = changed[..., :, -3:] = 0
    assert l1(crop_border(changed, 3), crop_border(photo, 3)).item() == 0
    assert l1(crop_border(changed, 2), crop_border(photo, 2)).item() > 0
    for border_px in (-1, 71):
        with pytest.raises(ValueError, match="cannot crop"):
            crop_border(photo, border_px)


@pytest.mark.skipif(not BENCHMARK.is_dir(), reason=f"no super-resolution benchmark at {BENCHMARK}")
@pytest.mark.parametrize(("name", "published_db"), [("Set5", 28.42), ("Set14", 26.00)])
def test_bicubic_upscaling_by_four_has_the_published_psnr(name, published_db):
    values = []
    for path in sorted((BENCHMARK / name / "HR").iterdir()):
        high, low = read(path).pixels, read(BENCHMARK / name / "LR" / path.name).pixels
        upscaled = upscale_bicubic(low, 4)
        images = [crop_border(torch.from_numpy(to_float(pixels))[None], 4) for pixels in (upscaled, high)]
        values.append(psnr(*map(luma, images)).item())
    assert np.mean(values) == pytest.approx(published_db, abs=0.05)


# --- MS-SSIM

LARGE = {"colour": skimage.data.astronaut()[:230, 100:300], "gray": skimage.data.camera()[:181, 100:277, None]}


def ms_ssim_by_scipy(photo: np.ndarray, changed: np.ndarray) -> float:
    """Compute each channel with scipy's Gaussian (its radius of 3.5 σ is the window of 11) and 2×2 means."""
    values = []
    for c in range(photo.shape[2]):
        x, y, value = photo[..., c] / 255, changed[..., c] / 255, 1.0
        for scale, exponent in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):

            def mean(a):
                return scipy.ndimage.gaussian_filter(a, 1.5, truncate=3.5)[5:-5, 5:-5]

            covariance = mean(x * y) - mean(x) * mean(y)
            variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
            similarity = (2 * covariance + 0.03**2) / (variances + 0.03**2)
            if scale == 4:
                similarity = similarity * (2 * mean(x) * mean(y) + 1e-4) / (mean(x) ** 2 + mean(y) ** 2 + 1e-4)
            value *= similarity.mean() ** exponent
            x, y = (a[: a.shape[0] // 2 * 2, : a.shape[1] // 2 * 2] for a in (x, y))
            x, y = ((a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2]) / 4 for a in (x, y))
        values.append(value)
    return float(np.mean(values))


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("damage", ["noise", "dark", "shifted", "one level off"])
def test_ms_ssim_equals_its_definition_computed_with_scipy(name, damage):
    photo, changed = LARGE[name], damaged(LARGE[name])[damage]
    assert ms_ssim(tensor(changed), tensor(photo)).item() == pytest.approx(ms_ssim_by_scipy(photo, changed), abs=2e-5)


def test_ms_ssim_of_equal_opposite_and_small_images():
    photo = tensor(LARGE["colour"])
    assert ms_ssim(photo, photo).item() == pytest.approx(1, abs=1e-5)
    assert ms_ssim(-photo, photo).item() == 0  # the contrast is negative
    small = torch.zeros(1, 1, 176, 175)
    with pytest.raises(ValueError, match="176 px"):
        ms_ssim(small, small)


# --- all metrics


def test_full_reference_names_each_metric_with_its_channels():
    photo, changed = tensor(LARGE["colour"]), tensor(damaged(LARGE["colour"])["noise"])
    values = full_reference(changed, photo, border_px=4)
    assert set(values) == {"l1_rgb", "psnr_rgb", "ssim_rgb", "ms_ssim_rgb", "psnr_y", "ssim_y", "ms_ssim_y"}
    a, b = crop_border(changed, 4), crop_border(photo, 4)
    assert torch.equal(values["psnr_rgb"], psnr(a, b))
    assert torch.equal(values["ssim_y"], ssim(luma(a), luma(b)))
    assert values["psnr_y"].item() > values["psnr_rgb"].item() + 1


def test_full_reference_of_small_images_and_of_other_channels():
    values = full_reference(torch.zeros(2, 5, 32, 32), torch.zeros(2, 5, 32, 32))
    assert set(values) == {"l1_rgb", "psnr_rgb", "ssim_rgb", "ms_ssim_rgb"}
    assert values["ms_ssim_rgb"].isnan().all() and values["ssim_rgb"].shape == (2,)
