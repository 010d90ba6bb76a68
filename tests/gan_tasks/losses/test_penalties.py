"""Gradient penalties against closed forms."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gan_tasks.losses.functional import Scales
from gan_tasks.losses.penalties import default_gamma, gradient_penalty, zero_centred_penalty

batches = st.integers(1, 4)


def images(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Linear(nn.Module):
    """D(x) = Σ w·x with one patch per scale, so that ∇D = w everywhere."""

    def __init__(self, *slopes: Tensor) -> None:
        super().__init__()
        self.slopes = nn.ParameterList(slopes)

    def forward(self, images: Tensor) -> Scales:
        return [[(images * slope).sum(dim=(1, 2, 3), keepdim=True)] for slope in self.slopes]


@given(seed=st.integers(0, 1000), batch=batches, height=st.integers(1, 5), scales=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_penalties_of_a_linear_discriminator(seed, batch, height, scales):
    slopes = [images(seed + i, 1, 2, height, 3) for i in range(scales)]
    real, fake = images(seed + 10, batch, 2, height, 3), images(seed + 11, batch, 2, height, 3)
    norms = [slope.norm().item() for slope in slopes]
    penalty = gradient_penalty(Linear(*slopes), real, fake, torch.rand(batch, 1, 1, 1))
    assert penalty.item() == pytest.approx(sum((norm - 1) ** 2 for norm in norms), rel=1e-4)
    penalty = zero_centred_penalty(Linear(*slopes), real)
    assert penalty.item() == pytest.approx(sum(norm**2 / 2 for norm in norms), rel=1e-4)


def test_penalties_have_the_right_gradient_for_the_weights():
    slope = images(0, 1, 2, 3, 3)
    linear = Linear(slope.clone())
    zero_centred_penalty(linear, images(1, 4, 2, 3, 3)).backward()
    torch.testing.assert_close(linear.slopes[0].grad, slope)  # of ½‖w‖²
    linear = Linear(slope.clone())
    gradient_penalty(linear, *(images(i, 4, 2, 3, 3) for i in (1, 2)), torch.rand(4, 1, 1, 1)).backward()
    torch.testing.assert_close(linear.slopes[0].grad, 2 * (slope.norm() - 1) * slope / slope.norm())


def test_gradient_penalty_is_computed_between_real_and_fake():
    """For D(x) = ½‖x‖², ∇D is x: the penalty shows at which point it was computed."""
    real, fake = images(0, 3, 1, 4, 4), images(1, 3, 1, 4, 4)
    mix = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1)
    points = mix * real + (1 - mix) * fake
    expected = torch.stack([(point.norm() - 1) ** 2 for point in points]).mean()

    def half_square(x: Tensor) -> Scales:
        return [[x.square().sum(dim=(1, 2, 3), keepdim=True) / 2]]

    torch.testing.assert_close(gradient_penalty(half_square, real, fake, mix), expected)
    expected = torch.stack([point.square().sum() / 2 for point in real]).mean()
    torch.testing.assert_close(zero_centred_penalty(half_square, real), expected)


def test_patches_are_averaged_not_summed():
    """A discriminator that repeats its single logit at every patch is the same function."""
    one = Linear(images(0, 1, 1, 4, 4))
    x = images(1, 2, 1, 4, 4)
    repeated = zero_centred_penalty(lambda x: [[one(x)[0][-1].expand(-1, -1, 6, 6)]], x)
    torch.testing.assert_close(repeated, zero_centred_penalty(one, x))


def test_penalties_of_a_constant_discriminator_have_finite_gradients():
    linear = Linear(torch.zeros(1, 1, 2, 2))
    penalty = gradient_penalty(linear, torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.rand(1, 1, 1, 1))
    penalty.backward()
    assert penalty.item() == 1
    assert linear.slopes[0].grad.isfinite().all()


def test_penalties_run_in_float32_inside_autocast_and_do_not_change_the_images():
    conv = nn.Conv2d(1, 1, 3)
    dtypes = []

    def discriminate(x: Tensor) -> Scales:
        dtypes.append((x.dtype, conv(x).dtype))
        return [[conv(x)]]

    x = images(0, 2, 1, 6, 6).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalties = [
            zero_centred_penalty(discriminate, x),
            gradient_penalty(discriminate, x, x, torch.rand(2, 1, 1, 1)),
        ]
    torch.stack(penalties).sum().backward()
    assert dtypes == [(torch.float32, torch.float32)] * 2
    assert x.grad is None
    assert conv.weight.grad is not None


# --- the default weight


@pytest.mark.parametrize(
    ("family", "resolution", "batch", "gamma"),
    [
        ("stylegan2", 1024, 32, 6.5536),  # the automatic configuration of StyleGAN2-ADA
        ("stylegan2", 256, 64, 0.2048),
        ("dcgan", 64, 16, 0.0512),
        ("stylegan3-t", 128, 32, 0.5),
        ("stylegan3-r", 1024, 32, 32.0),
        ("r3gan", 32, 512, 0.05),
        ("r3gan", 64, 256, 2.0),
        ("r3gan", 256, 256, 150.0),
        ("r3gan", 128, 256, (2.0 * 150.0) ** 0.5),  # the geometric mean, halfway in log space
        ("r3gan", 512, 256, 600.0),
        ("r3gan", 16, 256, 0.0125),
    ],
)
def test_the_default_gamma_is_the_published_one(family: str, resolution: int, batch: int, gamma: float) -> None:
    assert default_gamma(family, resolution, batch) == pytest.approx(gamma, rel=0.03)


@pytest.mark.parametrize("family", ["stylegan2", "stylegan3-t", "r3gan"])
def test_the_default_gamma_rises_with_the_resolution(family: str) -> None:
    gammas = [default_gamma(family, resolution, 32) for resolution in (16, 31, 33, 48, 63, 65, 200, 255, 257, 1024)]
    assert gammas == sorted(set(gammas))
