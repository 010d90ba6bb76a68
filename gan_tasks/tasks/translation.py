"""What the tasks that translate images share: the options of their networks, and the making of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.functional import AdversarialConfig
from gan_tasks.losses.perceptual import PerceptualConfig, load_perceptual
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Norm, Upsampling
from gan_tasks.networks.discriminators import translation_discriminator
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
    """Architecture; any image size works with each, unet-256 thinks in blocks of 256 pixels."""
    width: int = 64
    """Channels of a generator's first layer; cost grows with its square."""
    upsampling: Upsampling = "transposed"
    """How a generator enlarges: by transposed convolution, or by resizing and a convolution (no checkerboard)."""
    residual: bool = False
    """A generator makes a change that is added to its input, and begins without any: for looks that are near each
    other. Input and output need as many channels."""
    residual_downscale: int = 1
    """Work the change out on means over blocks of so many pixels a side, and enlarge it: for colours and light, at a
    fraction of the cost, and every detail stays. The discriminators see these means, too."""
    norm: Norm = "batch"
    """Normalisation in generators and discriminators."""
    dropout: bool = True
    """Dropout in the generators while they learn."""
    discriminator: Literal["patch", "pixel", "features"] = "patch"
    """Judge patches of 70×70 pixels (with 3 layers), each pixel on its own, or features: what the perceptual loss's
    frozen network sees in four of its layers, whatever d_layers and d_scales."""
    d_norm: Norm | Literal["same"] = "same"
    """Normalisation in the discriminators, where it is not to be the same."""
    d_width: int = 64
    """Channels of a discriminator's first layer."""
    d_layers: int = 3
    """Halvings in a discriminator: 1, 2, 3, 4 see patches of 16, 34, 70, 142 pixels."""
    d_scales: int = 1
    """How many resolutions a discriminator looks at, each half the one before."""
    d_spectral: bool = False
    """Spectral normalisation of the discriminators."""
    gan: float = 1.0
    """Weight of the adversarial loss; 0 trains without a discriminator."""
    adversarial: AdversarialConfig = AdversarialConfig()
    perceptual: PerceptualConfig = PerceptualConfig()
    optimisation: OptimisationConfig = OptimisationConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    def __post_init__(self) -> None:
        check_residual(self.residual_downscale, self.residual)


MODERN_ADVERSARIAL = AdversarialConfig(
    adversarial="relativistic", r1=1.0, r2=1.0, r_interval=4, d_augment=("colour", "translation", "cutout")
)
"""The game of https://arxiv.org/abs/2501.05441, with augmentation for few images."""
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
    """in_channels: of each of the images that are judged together."""
    return translation_discriminator(
        config.discriminator,
        in_channels,
        width=config.d_width,
        layers=config.d_layers,
        scales=config.d_scales,
        norm=config.norm if config.d_norm == "same" else config.d_norm,
        spectral=config.d_spectral,
    )


def judged(config: TranslationConfig, image: Tensor) -> Tensor:
    """What a discriminator sees of N×C×H×W: all, or what a change can be made to."""
    return functional.avg_pool2d(image, config.residual_downscale) if config.residual_downscale > 1 else image


def add_discriminators(task: Task[Any, Any], judged: Mapping[str, Sequence[int]]) -> None:
    """What a training needs beside the generators: a discriminator by each name, of images of these channels, and the
    network of the perceptual loss, as far as the config wants them."""
    config: TranslationConfig = task.config
    if config.gan:
        for name, in_channels in judged.items():
            task.discriminators[name] = make_discriminator(config, in_channels)
        task.d_weight_clip = config.adversarial.clip_weights
    if config.perceptual.perceptual or (config.gan and config.discriminator == "features"):
        with reported("Downloading the perceptual network", "bytes") as on_progress:
            task.auxiliary["perceptual"] = load_perceptual(config.perceptual, on_progress)
