"""Losses against torch's own losses, closed forms and autograd."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.functional import (
    AdversarialConfig,
    Scales,
    adversarial_d_loss,
    adversarial_g_loss,
    d_accuracy,
    feature_matching,
    image_margins,
    l1,
    logits,
)

ADVERSARIALS = (
    *("vanilla", "non-saturating", "lsgan", "hinge", "wasserstein", "loss-sensitive"),
    *("relativistic", "relativistic-average"),
)


def scales_of(*patches: Tensor) -> Scales:
    """Return the output of a discriminator with these logits and no features."""
    return [[p] for p in patches]


def random_scales(seed: int, batch: int = 2, sizes: tuple[int, ...] = (5, 3)) -> Scales:
    generator = torch.Generator().manual_seed(seed)
    return scales_of(*(3 * torch.randn(batch, 1, size, size, generator=generator) for size in sizes))


def margins_of(config: AdversarialConfig, batch: int) -> Tensor | None:
    """Different margins for the samples of a batch, for the loss that needs them."""
    return torch.linspace(0.5, 1.5, batch).view(-1, 1, 1, 1) if config.needs_margins else None


batches = st.integers(1, 4)
scale_sizes = st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple)


def reference_d_loss(config: AdversarialConfig, real: Tensor, fake: Tensor) -> Tensor:
    """The losses of one scale, written with torch's loss functions if there is one."""
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    a, b, _ = config.lsgan_targets
    match config.adversarial:
        case "vanilla":
            bce = F.binary_cross_entropy_with_logits
            return 0.5 * bce(real, ones) + 0.5 * bce(fake, zeros)
        case "non-saturating":
            return -F.logsigmoid(real).mean() - (1 - fake.double().sigmoid()).log().mean().float()
        case "lsgan":
            return 0.5 * F.mse_loss(real, b * ones) + 0.5 * F.mse_loss(fake, zeros + a)
        case "hinge":
            # For a target of −1 hinge_embedding_loss is max(0, margin − x).
            margin = partial(F.hinge_embedding_loss, target=-ones, margin=1.0)
            return 0.5 * margin(real) + 0.5 * margin(-fake)
        case "wasserstein":
            return fake.mean() - real.mean()
        case "loss-sensitive":
            margins = margins_of(config, len(real))
            total = 0.0
            for i in range(len(real)):  # the loss function L is the negative logit
                for loss_x, loss_g in zip(-real[i].flatten(), -fake[i].flatten(), strict=True):
                    total = total + loss_x + 3.0 * max(0, margins[i].item() + loss_x - loss_g)
            return total / real.numel()
        case "relativistic":
            return F.binary_cross_entropy_with_logits(real - fake, ones)
        case "relativistic-average":  # as in BasicSR's ESRGAN
            bce = F.binary_cross_entropy_with_logits
            return bce(real - fake.mean(), ones) * 0.5 + bce(fake - real.mean(), zeros) * 0.5


def reference_g_loss(config: AdversarialConfig, real: Tensor, fake: Tensor) -> Tensor:
    ones = torch.ones_like(fake)
    match config.adversarial:
        case "vanilla" | "non-saturating":
            return F.binary_cross_entropy_with_logits(fake, ones)
        case "lsgan":
            return F.mse_loss(fake, config.lsgan_targets[2] * ones)
        case "hinge" | "wasserstein" | "loss-sensitive":
            return -fake.mean()
        case "relativistic":
            return F.binary_cross_entropy_with_logits(fake - real, ones)
        case "relativistic-average":
            bce = F.binary_cross_entropy_with_logits
            return bce(real - fake.mean(), torch.zeros_like(real)) / 2 + bce(fake - real.mean(), ones) / 2


@pytest.mark.parametrize("adversarial", ADVERSARIALS)
@given(seed=st.integers(0, 1000), batch=batches, sizes=scale_sizes)
@settings(max_examples=20, deadline=None)
def test_adversarial_losses_are_the_reference_losses_summed_over_scales(adversarial, seed, batch, sizes):
    config = AdversarialConfig(adversarial=adversarial, lsgan_targets=(-0.9, 1.1, 0.7), margin_weight=3.0)
    real, fake = random_scales(seed, batch, sizes), random_scales(seed + 1, batch, sizes)
    pairs = list(zip(logits(real), logits(fake), strict=True))
    torch.testing.assert_close(
        adversarial_d_loss(config, real, fake, margins_of(config, batch)),
        sum(reference_d_loss(config, r, f) for r, f in pairs),
    )
    torch.testing.assert_close(
        adversarial_g_loss(config, fake, real), sum(reference_g_loss(config, r, f) for r, f in pairs)
    )


@pytest.mark.parametrize(
    ("adversarial", "d_loss", "g_loss"),
    [
        ("vanilla", math.log(2), math.log(2)),
        ("non-saturating", 2 * math.log(2), math.log(2)),
        ("lsgan", 0.5, 1.0),
        ("hinge", 1.0, 0.0),
        ("wasserstein", 0.0, 0.0),
        ("loss-sensitive", 10.0, 0.0),  # margins 0.5 and 1.5, times 10
        ("relativistic", math.log(2), math.log(2)),
        ("relativistic-average", math.log(2), math.log(2)),
    ],
)
def test_losses_of_zero_logits(adversarial, d_loss, g_loss):
    config = AdversarialConfig(adversarial=adversarial)
    undecided = scales_of(torch.zeros(2, 1, 4, 4))
    d = adversarial_d_loss(config, undecided, undecided, margins_of(config, 2))
    assert d.item() == pytest.approx(d_loss)
    assert adversarial_g_loss(config, undecided, undecided).item() == pytest.approx(g_loss)


@pytest.mark.parametrize("adversarial", ADVERSARIALS)
def test_discriminator_and_generator_move_the_logits_in_opposite_directions(adversarial):
    config = AdversarialConfig(adversarial=adversarial)
    real = torch.zeros(1, 1, 2, 2, requires_grad=True)
    fake = torch.zeros(1, 1, 2, 2, requires_grad=True)
    if adversarial == "lsgan":  # not at the targets, where the gradient is 0
        real, fake = (torch.full((1, 1, 2, 2), 0.5, requires_grad=True) for _ in range(2))
    d_loss = adversarial_d_loss(config, scales_of(real), scales_of(fake), margins_of(config, 1))
    d_real, d_fake = torch.autograd.grad(d_loss, [real, fake])
    assert (d_real < 0).all() and (d_fake > 0).all()
    (g_fake,) = torch.autograd.grad(adversarial_g_loss(config, scales_of(fake), scales_of(real)), [fake])
    assert (g_fake < 0).all()


@pytest.mark.parametrize("adversarial", [name for name in ADVERSARIALS if name != "relativistic-average"])
def test_mean_of_two_half_batches_is_the_whole_batch(adversarial):
    """Averaging gradients over two ranks is therefore equal to one rank with the doubled batch."""
    config = AdversarialConfig(adversarial=adversarial)
    real, fake, margins = random_scales(0, batch=4), random_scales(1, batch=4), margins_of(config, 4)
    halves = [
        adversarial_d_loss(
            config,
            [[s[0][part]] for s in real],
            [[s[0][part]] for s in fake],
            None if margins is None else margins[part],
        )
        for part in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), adversarial_d_loss(config, real, fake, margins))


@pytest.mark.parametrize("adversarial", ADVERSARIALS)
def test_huge_and_half_precision_logits_stay_finite(adversarial):
    config = AdversarialConfig(adversarial=adversarial)
    real = scales_of(torch.full((1, 1, 2, 2), -3e4, dtype=torch.float16))
    fake = scales_of(torch.full((1, 1, 2, 2), 3e4, dtype=torch.float16))
    d_loss = adversarial_d_loss(config, real, fake, margins_of(config, 1))
    for loss in (d_loss, adversarial_g_loss(config, fake, real)):
        assert loss.dtype == torch.float32
        assert loss.isfinite()


@pytest.mark.parametrize("adversarial", ["relativistic", "relativistic-average"])
def test_relativistic_generator_loss_needs_real_logits_and_gives_them_no_gradient(adversarial):
    config = AdversarialConfig(adversarial=adversarial)
    real, fake = torch.zeros(1, 1, 2, 2, requires_grad=True), torch.ones(1, 1, 2, 2, requires_grad=True)
    with pytest.raises(ValueError, match="the logits of real images"):
        adversarial_g_loss(config, scales_of(fake))
    adversarial_g_loss(config, scales_of(fake), scales_of(real)).backward()
    assert real.grad is None
    assert fake.grad is not None


def test_margins_are_mean_absolute_differences_without_gradient_and_need_images_alike():
    real, fake = torch.zeros(2, 1, 2, 2), torch.tensor([1.0, -3.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    fake = fake.clone().requires_grad_()
    margins = image_margins(real, fake)
    assert margins.shape == (2, 1, 1, 1) and margins.flatten().tolist() == [1.0, 3.0]
    assert not margins.requires_grad
    with pytest.raises(UserError, match=r"\(2, 1, 2, 2\) and \(2, 1, 4, 4\) instead of alike"):
        image_margins(torch.zeros(2, 1, 4, 4), fake)
    with pytest.raises(ValueError, match="image_margins"):
        adversarial_d_loss(AdversarialConfig(adversarial="loss-sensitive"), scales_of(real), scales_of(fake))


def test_scale_counts_must_agree():
    with pytest.raises(ValueError):
        adversarial_d_loss(AdversarialConfig(), random_scales(0, sizes=(3, 2)), random_scales(0, sizes=(3,)))


@pytest.mark.parametrize(
    "change",
    [
        {"gradient_penalty": -1.0},
        {"clip_weights": -0.1},
        {"r1": -1.0},
        {"r2": -1.0},
        {"r_interval": 0},
        {"lsgan_targets": (1.0, 0.0, 1.0)},
    ],
)
def test_values_out_of_range_are_refused_by_name(change):
    with pytest.raises(UserError, match=next(iter(change))):
        replace(AdversarialConfig(), **change)


# --- accuracy


def test_accuracy_counts_patches_and_averages_scales():
    real = scales_of(torch.tensor([1.0, 2.0, -1.0, 3.0]).view(1, 1, 2, 2), torch.ones(1, 1, 1, 1))
    fake = scales_of(torch.tensor([-1.0, 2.0, 1.0, 3.0]).view(1, 1, 2, 2), torch.ones(1, 1, 1, 1))
    for adversarial in ("vanilla", "hinge"):
        on_real, on_fake = d_accuracy(AdversarialConfig(adversarial=adversarial), real, fake)
        assert on_real.item() == pytest.approx((3 / 4 + 1) / 2)
        assert on_fake.item() == pytest.approx((1 / 4 + 0) / 2)


def test_lsgan_accuracy_has_its_threshold_between_the_targets():
    config = AdversarialConfig(adversarial="lsgan", lsgan_targets=(0.0, 1.0, 1.0))
    outputs = scales_of(torch.tensor([0.4, 0.6, 0.9, 2.0]).view(1, 1, 2, 2))
    on_real, on_fake = d_accuracy(config, outputs, outputs)
    assert (on_real.item(), on_fake.item()) == pytest.approx((3 / 4, 1 / 4))


@pytest.mark.parametrize("adversarial", ["wasserstein", "loss-sensitive", "relativistic"])
@given(shift=st.floats(-100, 100))
@settings(max_examples=20, deadline=None)
def test_relativistic_accuracy_ignores_a_common_shift(adversarial, shift):
    config = AdversarialConfig(adversarial=adversarial)
    real = scales_of(torch.tensor([4.0, 4.0, 4.0, -4.0]).view(1, 1, 2, 2) + shift)  # mean 2
    fake = scales_of(torch.tensor([-5.0, -5.0, 5.0, 1.0]).view(1, 1, 2, 2) + shift)  # mean −1
    on_real, on_fake = d_accuracy(config, real, fake)
    assert (on_real.item(), on_fake.item()) == pytest.approx((3 / 4, 3 / 4))


@pytest.mark.parametrize("adversarial", ADVERSARIALS)
def test_a_constant_discriminator_is_never_right_on_both_real_and_fake(adversarial):
    constant = scales_of(torch.zeros(2, 1, 3, 3, requires_grad=True))
    on_real, on_fake = d_accuracy(AdversarialConfig(adversarial=adversarial), constant, constant)
    assert on_real + on_fake <= 1
    assert not on_real.requires_grad


# --- feature matching and L1


def images(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def features(seed: int, scales: int, layers: int) -> list[list[Tensor]]:
    return [[images(seed + 10 * s + i, 2, 3, 4 + i, 5) for i in range(layers + 1)] for s in range(scales)]


@given(seed=st.integers(0, 1000), scales=st.integers(1, 3), layers=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_feature_matching_has_the_weights_of_pix2pixhd(seed, scales, layers):
    real, fake = features(seed, scales, layers), features(seed + 500, scales, layers)
    total = 0.0
    for real_scale, fake_scale in zip(real, fake, strict=True):
        for r, f in list(zip(real_scale, fake_scale, strict=True))[:-1]:
            total += (4 / layers) * (1 / scales) * (r - f).abs().double().mean().item()
    assert feature_matching(real, fake).item() == pytest.approx(total, rel=1e-5)


def test_feature_matching_by_hand():
    real = [[torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, 1)]]
    fake = [[torch.ones(1, 1, 2, 2), torch.full((1, 2, 1, 1), -2.0), torch.full((1, 1, 1, 1), 100.0)]]
    assert feature_matching(real, fake).item() == 4 / 2 * (1 + 2)


def test_feature_matching_has_gradients_for_fake_features_only():
    real, fake = torch.zeros(1, 1, 2, 2, requires_grad=True), torch.ones(1, 1, 2, 2, requires_grad=True)
    feature_matching([[real, real]], [[fake, fake]]).backward()
    assert real.grad is None
    assert fake.grad is not None


def test_feature_matching_without_features_is_refused():
    with pytest.raises(ValueError, match="features"):
        feature_matching(random_scales(0), random_scales(1))


def test_l1_equals_torchs_in_float32_and_never_broadcasts():
    a, b = images(0, 2, 3, 4, 4), images(1, 2, 3, 4, 4)
    torch.testing.assert_close(l1(a, b), F.l1_loss(a, b))
    assert l1(a.bfloat16(), b.bfloat16()).dtype == torch.float32
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) and \(2, 1, 4, 4\)"):
        l1(a, b[:, :1])
