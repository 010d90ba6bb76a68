"""The losses that every task shares, as pure functions on tensors.

A discriminator answers with `Scales`: for each scale it looks at, the features of each of its layers, the
last of them being its logits, one a patch. An adversarial loss is the mean over the batch and the patches of
a scale, summed over the scales (pix2pixHD, https://arxiv.org/abs/1711.11585). Being means over the batch, all
losses here may be averaged over ranks; only relativistic-average, which compares with a mean over its own batch, is
then not that of the whole. They are computed in float32 at least, whatever the precision of the networks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.diff_augment import Augmentation

Scales: TypeAlias = Sequence[Sequence[Tensor]]


@dataclass(frozen=True)
class AdversarialConfig:
    """How generator and discriminator are set against each other. A value out of range raises UserError."""

    adversarial: Literal["vanilla", "lsgan", "hinge", "wasserstein", "relativistic", "relativistic-average"] = (
        "vanilla"
    )
    """What the discriminator's logits are trained with."""
    lsgan_targets: tuple[float, float, float] = (0.0, 1.0, 1.0)
    """lsgan: D's target for generated patches, D's target for real ones, and what G wants D to say."""
    gradient_penalty: float = 0.0
    """Weight of the WGAN-GP gradient penalty (10 in its paper; 0 = off)."""
    clip_weights: float = 0.0
    """D's weights are clipped to ± this after each of its steps (WGAN, 0.01 in its paper; 0 = off)."""
    r1: float = 0.0
    """γ of R1, the zero-centred gradient penalty on real images (0 = off)."""
    r2: float = 0.0
    """γ of R2, the zero-centred gradient penalty on generated images (0 = off)."""
    r_interval: int = 1
    """Steps from one R1/R2 penalty to the next; each is scaled up by as much (lazy regularisation)."""
    d_augment: tuple[Augmentation, ...] = ()
    """What is changed, at random, in all that the discriminator sees, real or generated; for few images all three."""

    def __post_init__(self) -> None:
        weights = {
            "gradient_penalty": self.gradient_penalty,
            "clip_weights": self.clip_weights,
            "r1": self.r1,
            "r2": self.r2,
        }
        for name, value in weights.items():
            if value < 0:
                raise UserError(f"{name} is {value}: give 0 to switch it off or a positive number")
        if self.r_interval < 1:
            raise UserError(f"r_interval is {self.r_interval} steps: give 1 (every step) or more")
        generated, real, _ = self.lsgan_targets
        if generated >= real:
            raise UserError(
                f"lsgan_targets has {generated} for generated and {real} for real patches: "
                "the first must be the smaller, as in 0 1 1"
            )

    @property
    def is_relativistic(self) -> bool:
        """Whether G's loss depends on D's answer to real images."""
        return self.adversarial in ("relativistic", "relativistic-average")


def logits(scales: Scales) -> list[Tensor]:
    """The logits of each scale, N×1×H×W float32, from all that a discriminator answered."""
    return [at_least_float32(features[-1]) for features in scales]


def at_least_float32(x: Tensor) -> Tensor:
    """float64 stays as it is: what rounding does to a training can be told from a mistake in it only so."""
    return x if x.dtype == torch.float64 else x.float()


def adversarial_d_loss(config: AdversarialConfig, real: Scales, fake: Scales) -> Tensor:
    """What the discriminator minimises, a scalar; `fake` is its answer to detached images.

    - vanilla: binary cross-entropy on logits, https://arxiv.org/abs/1406.2661
    - lsgan: squared distance to the targets, https://arxiv.org/abs/1611.04076
    - hinge: https://arxiv.org/abs/1705.02894
    - wasserstein: the critic's difference, https://arxiv.org/abs/1701.07875
    - relativistic: each real patch against the generated one in its place, https://arxiv.org/abs/2501.05441
    - relativistic-average: each against the mean of the others in its rank's batch, so that two ranks differ from one
      with the doubled batch; ESRGAN, https://arxiv.org/abs/1807.00734

    The first three and the last average the real and the generated half, as pix2pix and BasicSR do.
    """
    pairs = zip(logits(real), logits(fake), strict=True)
    return torch.stack([_d_loss(config, r, f) for r, f in pairs]).sum()


def _d_loss(config: AdversarialConfig, real: Tensor, fake: Tensor) -> Tensor:
    match config.adversarial:
        case "vanilla":
            return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
        case "lsgan":
            fake_target, real_target, _ = config.lsgan_targets
            return ((real - real_target).square().mean() + (fake - fake_target).square().mean()) / 2
        case "hinge":
            return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
        case "wasserstein":
            return fake.mean() - real.mean()
        case "relativistic":
            return F.softplus(fake - real).mean()
        case "relativistic-average":
            return (F.softplus(fake.mean() - real).mean() + F.softplus(fake - real.mean()).mean()) / 2


def adversarial_g_loss(config: AdversarialConfig, fake: Scales, real: Scales | None = None) -> Tensor:
    """What the generator minimises, a scalar: the non-saturating counterpart of `adversarial_d_loss`.

    `real` is needed by the relativistic losses alone, and is detached here: G has no part in it.
    Raises ValueError where it is missing.
    """
    if not config.is_relativistic:
        return torch.stack([_g_loss(config, f) for f in logits(fake)]).sum()
    if real is None:
        raise ValueError("a relativistic loss compares with real images: pass D(real) to adversarial_g_loss too")
    pairs = zip(logits(real), logits(fake), strict=True)
    # G wants of its images what D wants of real ones.
    return torch.stack([_d_loss(config, f, r.detach()) for r, f in pairs]).sum()


def _g_loss(config: AdversarialConfig, fake: Tensor) -> Tensor:
    match config.adversarial:
        case "vanilla":
            return F.softplus(-fake).mean()
        case "lsgan":
            return (fake - config.lsgan_targets[2]).square().mean()
        case _:  # hinge and wasserstein
            return -fake.mean()


@torch.no_grad()
def d_accuracy(config: AdversarialConfig, real: Scales, fake: Scales) -> tuple[Tensor, Tensor]:
    """How often D is right: the share of real patches it calls real, of generated ones it calls generated.

    Two scalars in [0, 1], each the mean over the scales. The border is a logit of 0, for lsgan the middle
    between D's two targets; a patch on the border counts as wrong. Wasserstein and relativistic logits have
    no zero: there a real patch is held against the mean of the generated ones, and the other way round.
    """
    real_right, fake_right = [], []
    for r, f in zip(logits(real), logits(fake), strict=True):
        if config.adversarial == "wasserstein" or config.is_relativistic:
            border_for_real, border_for_fake = f.mean(), r.mean()
        else:
            middle = sum(config.lsgan_targets[:2]) / 2 if config.adversarial == "lsgan" else 0.0
            border_for_real = border_for_fake = r.new_tensor(middle)
        real_right.append((r > border_for_real).float().mean())
        fake_right.append((f < border_for_fake).float().mean())
    return torch.stack(real_right).mean(), torch.stack(fake_right).mean()


def gradient_penalty(discriminate: Callable[[Tensor], Scales], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """The penalty of WGAN-GP, E(‖∇D(x)‖ − 1)² at x = mix·real + (1 − mix)·fake, summed over the scales.

    `real` and `fake` are N×C×H×W, `mix` is N×1×1×1, drawn uniformly from [0, 1] by the caller. `discriminate`
    takes the images alone: pass a conditional D as a closure over its condition. D(x) is the mean of a
    sample's logits over its patches. https://arxiv.org/abs/1704.00028
    """
    fake, real = at_least_float32(fake), at_least_float32(real)
    images = torch.lerp(fake, real, mix.to(real.dtype))
    gradients = _image_gradients(discriminate, images)
    return torch.stack([(g.flatten(1).norm(dim=1) - 1).square().mean() for g in gradients]).sum()


def zero_centred_penalty(discriminate: Callable[[Tensor], Scales], images: Tensor) -> Tensor:
    """R1 on real images, R2 on generated ones: ½·E‖∇D(x)‖² for N×C×H×W images, summed over the scales.

    D(x) is the mean of a sample's logits over its patches: the very function that the losses above train.
    `discriminate` is as in `gradient_penalty`. https://arxiv.org/abs/1801.04406
    """
    gradients = _image_gradients(discriminate, images)
    return torch.stack([g.flatten(1).square().sum(dim=1).mean() / 2 for g in gradients]).sum()


def _image_gradients(discriminate: Callable[[Tensor], Scales], images: Tensor) -> list[Tensor]:
    """For each scale ∂D(x)/∂x, N×C×H×W float32, itself differentiable with respect to D's weights."""
    images = at_least_float32(images.detach()).requires_grad_()
    # Second derivatives of half-precision activations are too coarse to train with.
    with torch.autocast(images.device.type, enabled=False):
        scores = [patches.flatten(1).mean(dim=1).sum() for patches in logits(discriminate(images))]
        return [torch.autograd.grad(score, images, create_graph=True)[0] for score in scores]


def feature_matching(real: Scales, fake: Scales) -> Tensor:
    """L1 between D's features of real and of generated images, logits left out; `real` is detached here.

    A scalar: 4 × the mean over the layers of a scale, then the mean over the scales. These are the weights
    of pix2pixHD, 4 / (n_layers + 1) / num_D, whose n_layers + 1 counts the layers before the logits
    (https://arxiv.org/abs/1711.11585). Raises ValueError where a scale holds nothing but logits.
    """
    scales = []
    for real_features, fake_features in zip(real, fake, strict=True):
        layers = list(zip(real_features[:-1], fake_features[:-1], strict=True))
        if not layers:
            raise ValueError("feature matching needs the features of D's layers: this D answered with logits only")
        scales.append(4 * torch.stack([l1(f, r.detach()) for r, f in layers]).mean())
    return torch.stack(scales).mean()


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference, a float32 scalar. Raises ValueError where the two shapes differ."""
    if a.shape != b.shape:  # broadcasting would hide it
        raise ValueError(f"l1 compares tensors of one shape, these are {tuple(a.shape)} and {tuple(b.shape)}")
    return F.l1_loss(at_least_float32(a), at_least_float32(b))
