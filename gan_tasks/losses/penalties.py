"""Penalties on the gradient of a discriminator with respect to its images, as pure functions, and their weight."""

import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

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
        with eager():
            scores = [patches.flatten(1).mean(dim=1).sum() for patches in logits(discriminate(images))]
        return [torch.autograd.grad(score, images, create_graph=True)[0] for score in scores]


def eager() -> AbstractContextManager[object]:
    """Return a context in which compiled networks run as they were: they cannot be differentiated twice."""
    is_compiled = "torch._dynamo" in sys.modules  # importing it takes seconds
    return torch.compiler.set_stance("force_eager") if is_compiled else nullcontext()


R3GAN_GAMMA = ((32, 0.05), (64, 2.0), (256, 150.0))
"""Resolution and γ at the start of R3GAN's trainings on CIFAR-10 and FFHQ, of 512, 256 and 256 images a step."""


def default_gamma(family: str, resolution: float, batch: int) -> float:
    """Return the weight γ of R1 (for r3gan of R1 and R2) for a family of networks, where nothing better is known.

    - r3gan: the values of its `train.py`, https://github.com/brownvc/R3GAN, interpolated in log space. They are those
      at the start of the training, and fall to a tenth. Beyond them γ is proportional to the number of pixels. The
      batch has no effect.
    - stylegan3: 0.001·resolution²/batch, which gives the values recommended in `docs/configs.md` of
      https://github.com/NVlabs/stylegan3 for its batches of 32 images.
    - others: 0.0002·resolution²/batch, as the automatic configuration of StyleGAN2-ADA has it,
      https://github.com/NVlabs/stylegan2-ada-pytorch.

    Args:
        family: name of the generator's architecture; the variants stylegan3-t and stylegan3-r are alike.
        resolution: side of the images in pixels; of rectangular ones the square root of the number of pixels.
        batch: images of a step, over all ranks.
    """
    if family != "r3gan":
        return (0.001 if family.startswith("stylegan3") else 0.0002) * resolution**2 / batch
    (smallest, first), *_, (largest, last) = R3GAN_GAMMA
    if resolution <= smallest:
        return first * (resolution / smallest) ** 2
    if resolution >= largest:
        return last * (resolution / largest) ** 2
    (low, low_gamma), (high, high_gamma) = next(pair for pair in pairwise(R3GAN_GAMMA) if resolution <= pair[1][0])
    share = math.log(resolution / low) / math.log(high / low)
    return float(low_gamma * (high_gamma / low_gamma) ** share)
