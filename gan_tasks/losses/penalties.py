"""Penalties on the gradient of a discriminator with respect to its images, as pure functions."""

from collections.abc import Callable

import torch
from torch import Tensor

from gan_tasks.losses.functional import Scales, logits
from gan_tasks.networks.layers import at_least_float32


def gradient_penalty(discriminate: Callable[[Tensor], Scales], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Return the gradient penalty of WGAN-GP, E(‖∇D(x)‖ − 1)² at x = mix·real + (1 − mix)·fake, a scalar.

    It is summed over the scales. D(x) is the mean of a sample's logits over its patches.
    Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028

    discriminate: the discriminator as a function of N×C×H×W images alone. Pass a conditional discriminator as a
        closure over its condition.
    real, fake: N×C×H×W images.
    mix: N×1×1×1 random numbers, uniform in [0, 1].
    """
    fake, real = at_least_float32(fake), at_least_float32(real)
    images = torch.lerp(fake, real, mix.to(real.dtype))
    gradients = _image_gradients(discriminate, images)
    return torch.stack([(g.flatten(1).norm(dim=1) - 1).square().mean() for g in gradients]).sum()


def zero_centred_penalty(discriminate: Callable[[Tensor], Scales], images: Tensor) -> Tensor:
    """Return the zero-centred gradient penalty ½·E‖∇D(x)‖², a scalar: R1 on real images, R2 on generated ones.

    It is summed over the scales. D(x) is the mean of a sample's logits over its patches, as in the adversarial
    losses. Mescheder et al. 2018, https://arxiv.org/abs/1801.04406

    discriminate: see `gradient_penalty`.
    images: N×C×H×W.
    """
    gradients = _image_gradients(discriminate, images)
    return torch.stack([g.flatten(1).square().sum(dim=1).mean() / 2 for g in gradients]).sum()


def _image_gradients(discriminate: Callable[[Tensor], Scales], images: Tensor) -> list[Tensor]:
    """Return ∂D(x)/∂x of each scale, N×C×H×W float32, differentiable with respect to the weights of D."""
    images = at_least_float32(images.detach()).requires_grad_()
    # Second derivatives of half-precision activations are too inexact to train with.
    with torch.autocast(images.device.type, enabled=False):
        scores = [patches.flatten(1).mean(dim=1).sum() for patches in logits(discriminate(images))]
        return [torch.autograd.grad(score, images, create_graph=True)[0] for score in scores]
