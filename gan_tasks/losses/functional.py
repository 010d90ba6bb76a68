"""Losses that all tasks share, as pure functions on tensors.

A discriminator returns `Scales`: for each scale, the features of its layers. The last features of a scale are its
logits, one per patch. An adversarial loss is the mean over the batch and the patches of a scale, summed over the
scales (pix2pixHD, https://arxiv.org/abs/1711.11585).

All losses are means over the batch. Their average over several ranks is therefore the loss of the whole batch, except
for relativistic-average, which compares with the mean over the batch of its own rank.

All losses are computed in float32 or float64, whatever the precision of the networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import Checked, PositiveCount, Range, Weight
from gan_tasks.losses.diff_augment import Augmentation
from gan_tasks.networks.layers import at_least_float32

Scales: TypeAlias = Sequence[Sequence[Tensor]]
"""Output of a discriminator: scales → layers → features N×C×h×w, where the last layer holds the logits."""


Adversarial = Literal[
    "vanilla",
    "non-saturating",
    "lsgan",
    "hinge",
    "wasserstein",
    "loss-sensitive",
    "relativistic",
    "relativistic-average",
]
ReconstructionLoss = Literal["l1", "l2", "psnr"]
Target = Annotated[float, Range(-1e6, 1e6)]
"""A value that logits are compared with."""


@dataclass(frozen=True)
class AdversarialConfig(Checked):
    """Options of the adversarial objective."""

    adversarial: Adversarial = "vanilla"
    """Adversarial loss on the discriminator's logits."""
    lsgan_targets: tuple[Target, Target, Target] = (0.0, 1.0, 1.0)
    """Targets of the lsgan loss: D's target for generated patches, D's target for real ones, and G's target."""
    margin_weight: Weight = 10.0
    """Weight λ of the margins in the loss-sensitive loss."""
    gradient_penalty: Weight = 0.0
    """Weight of the WGAN-GP gradient penalty (10 in the paper; 0 = off)."""
    drift: Weight = 0.0
    """Weight of the mean square of the discriminator's logits of real images. It keeps them near 0 (PGGAN: 0.001)."""
    clip_weights: Weight = 0.0
    """Limit to which the discriminator's weights are clipped after each step (0.01 in the WGAN paper; 0 = off)."""
    r1: Weight = 0.0
    """Weight γ of R1, the zero-centred gradient penalty on real images (0 = off)."""
    r2: Weight = 0.0
    """Weight γ of R2, the zero-centred gradient penalty on generated images (0 = off)."""
    r_interval: PositiveCount = 1
    """Steps from one R1 or R2 penalty to the next (lazy regularisation); the penalty is multiplied by this number."""
    d_augment: tuple[Augmentation, ...] = ()
    """Random augmentations of real and generated images before the discriminator. For few images use colour,
    translation and cutout, and with --d-augment-adaptive flip and geometry, too."""
    d_augment_adaptive: bool = False
    """Apply each augmentation of d_augment with a probability that rises while the discriminator overfits (ADA)."""
    d_pseudo_real: bool = False
    """Show the discriminator generated images as real ones, with a probability that rises while it overfits (APA).
    Not with the relativistic losses and loss-sensitive."""
    d_adaptive_target: Annotated[float, Range(-1, 1)] = 0.6
    """Mean sign of the discriminator's logits of real images (1 = it classifies all of them as real) above which the
    probability of ADA and APA rises, and below which it falls."""
    d_adaptive_images: PositiveCount = 500_000
    """Number of images that the probability of ADA and APA takes from 0 to 1. Lower it for short trainings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_augment_adaptive and not self.d_augment:
            raise UserError(
                "--d-augment-adaptive adapts how often --d-augment is applied: give that too, such as "
                "--d-augment colour translation cutout flip geometry"
            )
        if self.d_pseudo_real and (self.is_relativistic or self.needs_margins):
            raise UserError(
                f"--d-pseudo-real does not work with --adversarial {self.adversarial}, which would compare a "
                "generated image with itself: use --d-augment-adaptive instead, or a loss such as --adversarial hinge"
            )
        generated, real, _ = self.lsgan_targets
        if generated >= real:
            raise UserError(
                f"lsgan_targets has {generated} for generated and {real} for real patches: "
                "the first must be the smaller, as in 0 1 1"
            )

    @property
    def is_adaptive(self) -> bool:
        """Whether a probability follows the overfitting of the discriminator."""
        return self.d_augment_adaptive or self.d_pseudo_real

    @property
    def is_relativistic(self) -> bool:
        """Whether the generator's loss needs the discriminator's logits of real images."""
        return self.adversarial in ("relativistic", "relativistic-average")

    @property
    def needs_margins(self) -> bool:
        """Whether the discriminator's loss needs the margins between real and generated images."""
        return self.adversarial == "loss-sensitive"


def logits(scales: Scales) -> list[Tensor]:
    """Return the logits of each scale, N×1×h×w in float32 (float64 stays as it is)."""
    return [at_least_float32(features[-1]) for features in scales]


def image_margins(real: Tensor, fake: Tensor) -> Tensor:
    """Return the margins Δ of the loss-sensitive loss, N×1×1×1: the mean absolute difference of the paired images.

    real, fake: N×C×H×W. The i-th real and the i-th generated image are a pair. Raises UserError if the shapes differ.
    """
    if real.shape != fake.shape:
        raise UserError(
            f"--adversarial loss-sensitive compares each generated image with a real one: they are "
            f"{tuple(fake.shape)} and {tuple(real.shape)} instead of alike. Choose another loss, such as "
            "--adversarial non-saturating"
        )
    difference = at_least_float32(real) - at_least_float32(fake)
    return difference.detach().abs().mean(dim=(1, 2, 3), keepdim=True)


def adversarial_d_loss(
    config: AdversarialConfig, real: Scales, fake: Scales, margins: Tensor | None = None
) -> Tensor:
    """Return the discriminator's adversarial loss, a scalar.

    real: the discriminator's output on real images.
    fake: its output on detached generated images.
    margins: `image_margins` of the images, N×1×1×1. Only loss-sensitive needs them.

    - vanilla: binary cross-entropy on logits, https://arxiv.org/abs/1406.2661
    - non-saturating: twice vanilla's, which is the sum of the real and the generated term, as StyleGAN has it,
      https://arxiv.org/abs/1812.04948. The generator's loss is the same.
    - lsgan: squared distance to the targets, https://arxiv.org/abs/1611.04076
    - hinge: https://arxiv.org/abs/1705.02894
    - wasserstein: the difference of the mean logits, https://arxiv.org/abs/1701.07875
    - loss-sensitive: L(x) + λ·(Δ(x, G(z)) + L(x) − L(G(z)))₊, https://arxiv.org/abs/1701.06264. Its loss function L
      is small for real images: L is the negative logit. The optimal generator's density is within 2/λ of the data's.
    - relativistic: the logits of each real patch relative to those of the generated patch at the same position,
      https://arxiv.org/abs/2501.05441
    - relativistic-average: the logits of each patch relative to the mean of the other kind in the batch of this rank,
      https://arxiv.org/abs/1807.00734 (used in ESRGAN). Two ranks therefore give another loss than one rank with the
      doubled batch.

    vanilla, lsgan, hinge and relativistic-average are the mean of a real and a generated term, as in pix2pix and
    BasicSR.

    Raises ValueError if loss-sensitive gets no `margins`.
    """
    if config.needs_margins and margins is None:
        raise ValueError(
            "the loss-sensitive loss needs margins: pass image_margins(real, fake) to adversarial_d_loss"
        )
    pairs = zip(logits(real), logits(fake), strict=True)
    return torch.stack([_d_loss(config, r, f, margins) for r, f in pairs]).sum()


def _d_loss(config: AdversarialConfig, real: Tensor, fake: Tensor, margins: Tensor | None = None) -> Tensor:
    match config.adversarial:
        case "vanilla":
            return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
        case "non-saturating":
            return F.softplus(-real).mean() + F.softplus(fake).mean()
        case "lsgan":
            fake_target, real_target, _ = config.lsgan_targets
            return ((real - real_target).square().mean() + (fake - fake_target).square().mean()) / 2
        case "hinge":
            return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
        case "wasserstein":
            return fake.mean() - real.mean()
        case "loss-sensitive":
            assert margins is not None
            return -real.mean() + config.margin_weight * F.relu(margins - real + fake).mean()
        case "relativistic":
            return F.softplus(fake - real).mean()
        case "relativistic-average":
            return (F.softplus(fake.mean() - real).mean() + F.softplus(fake - real.mean()).mean()) / 2


def adversarial_g_loss(config: AdversarialConfig, fake: Scales, real: Scales | None = None) -> Tensor:
    """Return the generator's adversarial loss, a scalar: the non-saturating counterpart of `adversarial_d_loss`.

    fake: the discriminator's output on generated images.
    real: its output on real images. Only the relativistic losses need it. It is detached here, because the generator
        has no influence on it.

    Raises ValueError if a relativistic loss gets no `real`.
    """
    if not config.is_relativistic:
        return torch.stack([_g_loss(config, f) for f in logits(fake)]).sum()
    if real is None:
        raise ValueError("a relativistic loss needs the logits of real images: pass `real` to adversarial_g_loss")
    pairs = zip(logits(real), logits(fake), strict=True)
    # The discriminator's loss with real and generated exchanged.
    return torch.stack([_d_loss(config, f, r.detach()) for r, f in pairs]).sum()


def _g_loss(config: AdversarialConfig, fake: Tensor) -> Tensor:
    match config.adversarial:
        case "vanilla" | "non-saturating":
            return F.softplus(-fake).mean()
        case "lsgan":
            return (fake - config.lsgan_targets[2]).square().mean()
        case _:  # hinge, wasserstein and loss-sensitive
            return -fake.mean()


@torch.no_grad()
def d_accuracy(
    config: AdversarialConfig, real: Scales, fake: Scales, *, relative: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the discriminator's accuracy on real and on generated patches: two scalars in [0, 1].

    Each is the mean over the scales. A patch counts as real if its logit is above a threshold: 0, or for lsgan the
    middle of the discriminator's two targets. A logit equal to the threshold counts as wrong. Wasserstein,
    loss-sensitive and relativistic logits have no fixed zero: there the threshold for real patches is the mean logit
    of the generated ones, and the threshold for generated patches is the mean logit of the real ones. `relative`: the
    logits have no fixed zero, whatever the loss.
    """
    real_right, fake_right = [], []
    for r, f in zip(logits(real), logits(fake), strict=True):
        threshold_for_real: Tensor | float
        threshold_for_fake: Tensor | float
        if relative or config.adversarial in ("wasserstein", "loss-sensitive") or config.is_relativistic:
            threshold_for_real, threshold_for_fake = f.mean(), r.mean()
        else:
            middle = sum(config.lsgan_targets[:2]) / 2 if config.adversarial == "lsgan" else 0.0
            threshold_for_real = threshold_for_fake = middle
        real_right.append((r > threshold_for_real).float().mean())
        fake_right.append((f < threshold_for_fake).float().mean())
    return torch.stack(real_right).mean(), torch.stack(fake_right).mean()


def feature_matching(real: Scales, fake: Scales) -> Tensor:
    """Return the feature-matching loss, a scalar: L1 between the discriminator's features of real and fake images.

    The logits are left out, and `real` is detached. The loss is 4 × the mean over the layers of a scale, then the
    mean over the scales. These are the weights of pix2pixHD, 4 / (n_layers + 1) / num_D, where n_layers + 1 is the
    number of layers before the logits. Wang et al. 2018, https://arxiv.org/abs/1711.11585

    Raises ValueError if a scale holds nothing but logits.
    """
    scales = []
    for real_features, fake_features in zip(real, fake, strict=True):
        layers = list(zip(real_features[:-1], fake_features[:-1], strict=True))
        if not layers:
            raise ValueError("feature matching needs the features of the discriminator, which returned only logits")
        scales.append(4 * torch.stack([l1(f, r.detach()) for r, f in layers]).mean())
    return torch.stack(scales).mean()


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean absolute difference, a scalar. Raises ValueError if the shapes differ."""
    if a.shape != b.shape:  # otherwise broadcasting would hide the mistake
        raise ValueError(f"l1 needs two tensors of the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return F.l1_loss(at_least_float32(a), at_least_float32(b))


PSNR_EPSILON = 1e-3
"""Constant that the psnr loss adds to the mean squared difference, so that nearly perfect samples do not dominate."""


def weighted_difference(kind: ReconstructionLoss, output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean difference over pixels.

    Output and target are N×C×H×W in [-1, 1], weights are N×1×H×W. For psnr, it is the mean of the negative PSNR of
    each sample, which is limited to about 36 dB.
    """
    difference = at_least_float32(output) - at_least_float32(target)
    each = difference.abs() if kind == "l1" else difference.square()
    if kind != "psnr":
        return (each * weights).sum() / (weights.sum() * each.shape[1]).clamp_min(1e-6)
    squared = (each * weights).sum((1, 2, 3)) / (weights.sum((1, 2, 3)) * each.shape[1]).clamp_min(1e-6)
    return 10 * torch.log10((squared + PSNR_EPSILON) / 4).mean()
