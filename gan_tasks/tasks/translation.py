"""Options and networks that the translation tasks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError, did_you_mean
from gan_tasks.datasets.ranges import Checked, Range, Weight, Width
from gan_tasks.losses.functional import AdversarialConfig
from gan_tasks.losses.perceptual import PerceptualConfig
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Norm, Upsampling
from gan_tasks.networks.discriminators import translation_discriminator
from gan_tasks.networks.projected import ProjectedDiscriminator
from gan_tasks.networks.residual import as_residual, check_residual
from gan_tasks.networks.translation import TranslationNetwork, translation_generator
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.tasks.base import Task, known_channels
from gan_tasks.tasks.shared.pretrained_features import add_pretrained_networks, features_trained_with


@dataclass(frozen=True)
class TranslationConfig(Checked):
    """Options of generators, discriminators and their training. The defaults are those of pix2pix."""

    generator: TranslationNetwork = "unet-256"
    """Architecture of the generator. Each takes any image size; unet-256 pads to multiples of 256 pixels."""
    width: Width = 64
    """Channels of a generator's first layer. The cost grows with the square of the width."""
    upsampling: Upsampling = "transposed"
    """Upsampling in the generators: transposed convolution, or resize and convolution, nearest-neighbour or bilinear
    (no checkerboard)."""
    anti_alias: bool = False
    """Blur the features where ResNet generators and patch discriminators downsample. A small shift of the image then
    changes little else. A step takes longer."""
    residual: bool = False
    """The generator computes a residual, which is added to its input and is zero at the start. Use it if input and
    output look similar. Both need the same number of channels."""
    residual_downscale: Annotated[int, Range(1, 64)] = 1
    """Compute the residual at 1/N of the size and upsample it. This changes colours and light at a fraction of the
    cost and keeps every detail. The input of the discriminators is reduced to 1/N of the size, too."""
    norm: Norm = "batch"
    """Normalisation in generators and discriminators."""
    dropout: bool = True
    """Dropout in the generators during training."""
    discriminator: Literal["patch", "pixel", "features", "projected"] = "patch"
    """Type of discriminator. patch classifies patches (70×70 pixels with 3 layers), pixel single pixels, features the
    features of four layers of the perceptual network, and projected fixed random mixtures of four layers of
    EfficientNet-Lite0. The last two ignore d_layers and d_scales."""
    d_norm: Norm | Literal["same"] = "same"
    """Normalisation in the discriminators. same is that of the generators."""
    d_width: Width = 64
    """Channels of a discriminator's first layer."""
    d_layers: Annotated[int, Range(1, 8)] = 3
    """Number of downsamplings in a discriminator. 1, 2, 3 and 4 give patches of 16, 34, 70 and 142 pixels."""
    d_scales: Annotated[int, Range(1, 8)] = 1
    """Number of resolutions of a discriminator's input, each half of the one before."""
    d_spectral: bool = False
    """Spectral normalisation of the discriminators."""
    gan: Weight = 1.0
    """Weight of the adversarial loss. 0 trains without a discriminator."""
    adversarial: AdversarialConfig = AdversarialConfig()
    perceptual: PerceptualConfig = PerceptualConfig()
    optimisation: OptimisationConfig = OptimisationConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_residual(self.residual_downscale, self.residual)


Config = TypeVar("Config", bound=TranslationConfig)
Direction = Literal["a-to-b", "b-to-a"]


def checked_direction(direction: str) -> Direction:
    """Return the direction. Raises UserError if it is not a-to-b or b-to-a."""
    match direction:
        case "a-to-b" | "b-to-a":
            return direction
    hint = did_you_mean(direction, ("a-to-b", "b-to-a"), ": expected a-to-b or b-to-a")
    raise UserError(f"unknown direction {direction!r}{hint}")


MODERN_ADVERSARIAL = AdversarialConfig(
    adversarial="relativistic", r1=1.0, r2=1.0, r_interval=4, d_augment=("colour", "translation", "cutout")
)
"""The adversarial objective of R3GAN, https://arxiv.org/abs/2501.05441, with augmentation for small data sets."""
MODERN_OPTIMISATION = OptimisationConfig(betas=(0.0, 0.99), ema_halflife_images=1000)
PROJECTED_ADVERSARIAL = AdversarialConfig(adversarial="hinge", d_augment=("colour", "translation", "cutout"))
"""The adversarial objective of Projected GAN, https://arxiv.org/abs/2111.01007"""


def with_projected_discriminator(config: Config) -> Config:
    """Return the options with the discriminator of Projected GAN and its objective."""
    return replace(
        config, discriminator="projected", d_norm="batch", d_spectral=True, adversarial=PROJECTED_ADVERSARIAL
    )


def make_generator(config: TranslationConfig, in_channels: int, out_channels: int) -> Generator:
    """Build a generator. Raises UserError for unknown channels, and for a residual between different ones."""
    known_channels(in_channels, out_channels)
    generator = translation_generator(
        config.generator,
        in_channels,
        out_channels,
        width=config.width,
        norm=config.norm,
        dropout=config.dropout,
        upsampling=config.upsampling,
        anti_alias=config.anti_alias,
    )
    if not config.residual:
        return generator
    if in_channels != out_channels:
        raise UserError(
            f"--residual adds to the input, which has {in_channels} channels and the output {out_channels}: "
            "read both with the same number of channels, or leave --residual out"
        )
    return as_residual(generator, in_channels, residual_downscale=config.residual_downscale)


def make_discriminator(config: TranslationConfig, in_channels: Sequence[int]) -> nn.Module:
    """Build a discriminator.

    in_channels: the channels of each of the images that are concatenated to its input.
    """
    norm = config.norm if config.d_norm == "same" else config.d_norm
    if config.discriminator == "projected":
        return ProjectedDiscriminator(len(in_channels), width=config.d_width, norm=norm, spectral=config.d_spectral)
    return translation_discriminator(
        config.discriminator,
        in_channels,
        width=config.d_width,
        layers=config.d_layers,
        scales=config.d_scales,
        norm=norm,
        spectral=config.d_spectral,
        anti_alias=config.anti_alias,
    )


def discriminator_input(config: TranslationConfig, image: Tensor) -> Tensor:
    """Return the discriminator input for N×C×H×W images.

    With a downscaled residual it is the block means, because the generator cannot change finer detail.
    """
    return functional.avg_pool2d(image, config.residual_downscale) if config.residual_downscale > 1 else image


def add_discriminators(task: Task[Any, Any], in_channels: Mapping[str, Sequence[int]]) -> None:
    """Add the networks that only training needs: discriminators, and the network of the perceptual loss.

    in_channels: for the name of each discriminator, the channels of the images that are concatenated to its input.
    """
    config: TranslationConfig = task.config
    if config.gan:
        for name, channels in in_channels.items():
            task.discriminators[name] = make_discriminator(config, channels)
    add_pretrained_networks(task, config.perceptual)


def trained_with(config: TranslationConfig) -> tuple[str, ...]:
    """Return the names of the pretrained networks that the training uses, for `ModelSpec`."""
    return features_trained_with(config.perceptual, discriminator=config.discriminator if config.gan else "")
