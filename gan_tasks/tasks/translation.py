"""What the translation tasks share: the options of their networks, and making these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.adversarial import Discriminate
from gan_tasks.losses.functional import AdversarialConfig
from gan_tasks.losses.perceptual import Perceptual, PerceptualConfig, load_perceptual
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Norm, Upsampling
from gan_tasks.networks.discriminators import FeatureHeads, translation_discriminator
from gan_tasks.networks.residual import as_residual, check_residual
from gan_tasks.networks.translation import TranslationNetwork, translation_generator
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.progress import reported
from gan_tasks.tasks.base import Task


@dataclass(frozen=True)
class TranslationConfig:
    """Options of generators and discriminators, and how they learn. The defaults are pix2pix's."""

    generator: TranslationNetwork = "unet-256"
    """Architecture of the generator. Each takes any image size; unet-256 pads to multiples of 256 pixels."""
    width: int = 64
    """Channels of a generator's first layer. The cost grows with the square of the width."""
    upsampling: Upsampling = "transposed"
    """How a generator upsamples: by transposed convolution, or by resizing and a convolution (no checkerboard)."""
    residual: bool = False
    """The generator computes a residual, which is added to its input, and begins as the identity. Good where input
    and output look alike. Both need the same number of channels."""
    residual_downscale: int = 1
    """Compute the residual at 1/N of the size and upsample it. This changes colours and light at a fraction of the
    cost and keeps every detail. The discriminators then see images at 1/N of the size, too."""
    norm: Norm = "batch"
    """Normalisation in generators and discriminators."""
    dropout: bool = True
    """Dropout in the generators during training."""
    discriminator: Literal["patch", "pixel", "features"] = "patch"
    """The discriminator classifies patches (of 70×70 pixels with 3 layers), single pixels, or the features of the
    perceptual network in four of its layers (d_layers and d_scales then do not count)."""
    d_norm: Norm | Literal["same"] = "same"
    """Normalisation in the discriminators; same = as in the generators."""
    d_width: int = 64
    """Channels of a discriminator's first layer."""
    d_layers: int = 3
    """Halvings in a discriminator. 1, 2, 3, 4 halvings see patches of 16, 34, 70, 142 pixels."""
    d_scales: int = 1
    """Number of resolutions that a discriminator sees, each half of the one before."""
    d_spectral: bool = False
    """Spectral normalisation of the discriminators."""
    gan: float = 1.0
    """Weight of the adversarial loss. 0 trains without a discriminator."""
    adversarial: AdversarialConfig = AdversarialConfig()
    perceptual: PerceptualConfig = PerceptualConfig()
    optimisation: OptimisationConfig = OptimisationConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    def __post_init__(self) -> None:
        check_residual(self.residual_downscale, self.residual)


Direction = Literal["a-to-b", "b-to-a"]


def checked_direction(direction: str) -> Direction:
    """Raises UserError for a direction that there is not."""
    match direction:
        case "a-to-b" | "b-to-a":
            return direction
    raise UserError(f"no direction {direction!r}: expected a-to-b or b-to-a")


MODERN_ADVERSARIAL = AdversarialConfig(
    adversarial="relativistic", r1=1.0, r2=1.0, r_interval=4, d_augment=("colour", "translation", "cutout")
)
"""The adversarial objective of R3GAN, https://arxiv.org/abs/2501.05441, with augmentation for few images."""
MODERN_OPTIMISATION = OptimisationConfig(betas=(0.0, 0.99), ema_halflife_images=1000)


def make_generator(config: TranslationConfig, in_channels: int, out_channels: int) -> Generator:
    generator = translation_generator(
        config.generator,
        in_channels,
        out_channels,
        width=config.width,
        norm=config.norm,
        dropout=config.dropout,
        upsampling=config.upsampling,
    )
    if not config.residual:
        return generator
    if in_channels != out_channels:
        raise UserError(
            f"--change adds to the input, which has {in_channels} channels and the output {out_channels}: "
            "read both with as many channels, or leave it out"
        )
    return as_residual(generator, in_channels, residual_downscale=config.residual_downscale)


def make_discriminator(config: TranslationConfig, in_channels: Sequence[int]) -> nn.Module:
    """in_channels: of each of the images that the discriminator sees together."""
    return translation_discriminator(
        config.discriminator,
        in_channels,
        width=config.d_width,
        layers=config.d_layers,
        scales=config.d_scales,
        norm=config.norm if config.d_norm == "same" else config.d_norm,
        spectral=config.d_spectral,
    )


def discriminator_input(config: TranslationConfig, image: Tensor) -> Tensor:
    """What a discriminator sees of N×C×H×W: the image, or the block means that a downscaled residual can change."""
    return functional.avg_pool2d(image, config.residual_downscale) if config.residual_downscale > 1 else image


def add_discriminators(task: Task[Any, Any], in_channels: Mapping[str, Sequence[int]]) -> None:
    """Add what only training needs: a discriminator of each name, and the network of the perceptual loss.

    in_channels: by name, of each of the images that a discriminator sees together.
    """
    config: TranslationConfig = task.config
    if config.gan:
        for name, channels in in_channels.items():
            task.discriminators[name] = make_discriminator(config, channels)
    if config.perceptual.perceptual or (config.gan and config.discriminator == "features"):
        with reported("Downloading the perceptual network", "bytes") as on_progress:
            task.auxiliary["perceptual"] = load_perceptual(config.perceptual, on_progress)


def discriminator_of(task: Task[Any, Any], name: str) -> Discriminate:
    """The task's discriminator of that name. One on features sees images through the perceptual network."""
    d = task.discriminators[name]
    if isinstance(d, FeatureHeads):
        return partial(d.discriminate, cast(Perceptual, task.auxiliary["perceptual"]).features)
    return d


def learned_from_vgg(config: TranslationConfig) -> bool:
    """Whether a VGG network takes part in the training."""
    return bool(config.perceptual.perceptual) or (config.gan > 0 and config.discriminator == "features")
