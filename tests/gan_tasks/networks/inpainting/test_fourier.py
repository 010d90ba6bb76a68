"""Fast Fourier convolutions: both forms of the transform, what a pixel influences, and gradients."""

from __future__ import annotations

import pytest
import torch

from gan_tasks.networks.inpainting.fourier import (
    Channels,
    FastTransform,
    FourierConv,
    FourierUnit,
    MatrixTransform,
    quadrants_of,
)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (5, 7), (3, 8), (16, 9), (33, 64)])
def test_the_exported_form_of_the_transform_is_that_of_pytorch(height: int, width: int) -> None:
    random = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, height, width, generator=random, dtype=torch.double)
    fast, matrices = FastTransform(image), MatrixTransform(image)
    spectrum = fast.spectrum_of(image)
    assert spectrum.shape == (2, 6, height, width // 2 + 1)
    torch.testing.assert_close(matrices.spectrum_of(image), spectrum, rtol=0, atol=1e-12)
    torch.testing.assert_close(fast.image_of(spectrum), image, rtol=0, atol=1e-12)
    any_spectrum = torch.randn(spectrum.shape, generator=random, dtype=torch.double)
    torch.testing.assert_close(matrices.image_of(any_spectrum), fast.image_of(any_spectrum), rtol=0, atol=1e-12)


def test_real_and_imaginary_parts_follow_one_another() -> None:
    image = torch.randn(1, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = torch.fft.rfft2(image, norm="ortho")
    spectrum = FastTransform(image).spectrum_of(image)
    torch.testing.assert_close(spectrum[0, 2], expected[0, 1].real)
    torch.testing.assert_close(spectrum[0, 3], expected[0, 1].imag)


def test_quadrants_are_stacked_column_by_column() -> None:
    image = torch.arange(2 * 4 * 6.0).view(1, 2, 4, 6)
    stacked = quadrants_of(image)
    assert stacked.shape == (1, 8, 2, 3)
    quadrants = [image[..., :2, :3], image[..., 2:, :3], image[..., :2, 3:], image[..., 2:, 3:]]
    assert torch.equal(stacked, torch.cat(quadrants, dim=1))


@pytest.mark.parametrize(
    ("inputs", "outputs", "quadrants"),
    [
        (Channels(4, 8), Channels(4, 8), True),
        (Channels(5, 0), Channels(2, 6), False),
        (Channels(0, 6), Channels(0, 4), False),
        (Channels(3, 4), Channels(6, 0), False),
    ],
)
def test_kinds_of_channels_may_be_absent(inputs: Channels, outputs: Channels, quadrants: bool) -> None:
    conv = FourierConv(inputs, outputs, quadrants=quadrants)
    x = torch.randn(2, sum(inputs), 6, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = conv(x)
    assert y.shape == (2, sum(outputs), 6, 8)
    y.square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().amax((0, 2, 3)).min() > 0
    assert all(parameter.grad is not None for parameter in conv.parameters())


def test_a_pixel_influences_global_channels_everywhere_and_local_ones_nearby() -> None:
    torch.manual_seed(0)
    conv = FourierConv(Channels(4, 4), Channels(4, 4)).eval()
    x = torch.randn(1, 8, 16, 16)
    for first, last in ((0, 4), (4, 8)):  # a local channel, and a global one
        changed = x.clone()
        changed[:, first:last, 2, 2] += 3
        difference = (conv(changed) - conv(x)).abs().amax(1 if first else (1,))[0] > 1e-6
        by_kind = [((conv(changed) - conv(x))[:, part].abs() > 1e-6).sum() for part in (slice(0, 4), slice(4, 8))]
        assert difference.any() and by_kind[0] <= 4 * 9
        assert (by_kind[1] > 4 * 100) == (first == 4)


def test_half_precision_keeps_a_size_that_is_no_power_of_two() -> None:
    unit = FourierUnit(4)
    x = torch.randn(1, 4, 6, 10, generator=torch.Generator().manual_seed(0))
    expected = unit(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = unit(x.bfloat16())
    assert found.shape == x.shape and found.isfinite().all()
    assert (found - expected).abs().mean() < 0.1 * expected.abs().mean()
