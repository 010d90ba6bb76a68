"""Super-resolution: enlarge images, learned from sharp images and their downscaled versions.

The first stage trains the generator with a pixel loss (SRResNet, RRDB). The second stage starts from the average of
its weights, and adds an adversarial and a perceptual loss (SRGAN, Ledig et al. 2017, https://arxiv.org/abs/1609.04802;
ESRGAN, Wang et al. 2018, https://arxiv.org/abs/1809.00219; Real-ESRGAN, Wang et al. 2021,
https://arxiv.org/abs/2107.10833). One command runs both stages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gan_tasks.datasets.degradations.on_device.real_esrgan import degrade_batch
from gan_tasks.datasets.degradations.on_device.unsharp_mask import sharpen
from gan_tasks.datasets.degradations.real_esrgan import draw_degradation
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import to_float, to_uint8
from gan_tasks.datasets.ranges import Checked, Count, LearningRate, Range, Weight, Width
from gan_tasks.datasets.super_resolution import (
    DEGRADED_MARGIN,
    FoundPhotographs,
    LowRes,
    SuperResolutionDataConfig,
    SuperResolutionImages,
    open_super_resolution,
)
from gan_tasks.losses.adversarial import d_objective, g_objective
from gan_tasks.losses.functional import AdversarialConfig, l1
from gan_tasks.losses.perceptual import PerceptualConfig
from gan_tasks.metrics.baselines import FloatImage, upscale_bicubic
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator, UNetDiscriminator
from gan_tasks.networks.projected import ProjectedDiscriminator
from gan_tasks.networks.super_resolution.convolutional import msr_resnet, rrdb, srresnet, srvgg
from gan_tasks.networks.super_resolution.realplksr import realplksr
from gan_tasks.networks.super_resolution.span import span
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.progress import reported
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import EvaluationSpec, Losses, Outputs, Split, Stage, Task
from gan_tasks.tasks.shared.pretrained_features import (
    add_pretrained_networks,
    discriminator_of,
    features_trained_with,
)

Network = Literal["rrdb", "srvgg", "msr-resnet", "srresnet", "span", "realplksr"]
PUBLISHED_SIZES: dict[Network, tuple[int, int]] = {
    "rrdb": (64, 23),
    "srvgg": (64, 16),
    "msr-resnet": (64, 16),
    "srresnet": (64, 16),
    "span": (48, 6),
    "realplksr": (64, 28),
}
"""Width and number of blocks of each network, as published."""


@dataclass(frozen=True)
class SuperResolutionConfig(Checked):
    """Options of super-resolution. The defaults are ESRGAN's recipe."""

    network: Network = "rrdb"
    """Architecture of the generator: rrdb of ESRGAN, srvgg of Real-ESRGAN (compact), msr-resnet of BasicSR (scales
    2, 3, 4 and 8), srresnet of SRGAN, span (small and quick), or realplksr (large kernels; between span and rrdb in
    cost and quality)."""
    width: Width | None = None
    """Channels of the features. The cost grows with the square of the width. Default: 48 in span, 64 elsewhere."""
    blocks: Annotated[int, Range(1, 1000)] | None = None
    """Number of blocks, or of inner convolutions in srvgg. Default: 23 in rrdb, 6 in span, 28 in realplksr, 16
    elsewhere."""
    discriminator: Literal["patch", "unet", "projected"] = "patch"
    """Type of discriminator. patch classifies patches of 70×70 pixels, unet classifies each pixel (Real-ESRGAN), and
    projected fixed random mixtures of four layers of EfficientNet-Lite0 (it ignores d_scales)."""
    d_width: Width = 64
    """Channels of the discriminator's first layer."""
    d_scales: Annotated[int, Range(1, 8)] = 1
    """Number of resolutions of the discriminator's input, each half of the one before."""
    reconstruction_l1: Weight = 1.0
    """Weight of the mean absolute difference to the target in the first stage. Values are in [0, 1]."""
    l1: Weight = 0.01
    """Weight of the mean absolute difference to the target in the adversarial stage. Values are in [0, 1]."""
    gan: Weight = 0.005
    """Weight of the adversarial loss."""
    sharpen_targets: bool = False
    """Compare the output with the sharpened target (unsharp mask), as Real-ESRGAN does."""
    adversarial_epochs: Count = 800
    """Epochs of the adversarial stage. 0 leaves this stage out."""
    adversarial_lr: LearningRate = 1e-4
    """Learning rate of the adversarial stage. It is halved after 1/8, 1/4, 1/2 and 3/4 of the stage."""
    adversarial: AdversarialConfig = AdversarialConfig(adversarial="relativistic-average")
    perceptual: PerceptualConfig = PerceptualConfig(perceptual=1.0, perceptual_layers="esrgan")
    optimisation: OptimisationConfig = OptimisationConfig(
        batch_size=16, lr=2e-4, betas=(0.9, 0.99), ema_halflife_images=11_000
    )
    schedule: ScheduleConfig = ScheduleConfig(schedule="cosine-restarts", epochs=2000)
    data: SuperResolutionDataConfig = SuperResolutionDataConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network == "srresnet" and self.data.scale == 1:
            raise UserError("srresnet only enlarges, and the scale is 1: give --network rrdb")

    @property
    def size(self) -> tuple[int, int]:
        """Width and number of blocks: those given, else those of the published network."""
        width, blocks = PUBLISHED_SIZES[self.network]
        return self.width or width, self.blocks or blocks


ESRGAN = SuperResolutionConfig()
SRGAN = replace(
    ESRGAN,
    network="srresnet",
    l1=0.0,
    gan=1e-3,
    adversarial=AdversarialConfig(adversarial="vanilla"),
    perceptual=PerceptualConfig(perceptual=0.006, perceptual_layers="esrgan"),
)
REAL_ESRGAN = replace(
    ESRGAN,
    discriminator="unet",
    l1=1.0,
    gan=0.1,
    sharpen_targets=True,
    adversarial=AdversarialConfig(adversarial="vanilla"),
    perceptual=PerceptualConfig(perceptual=1.0, perceptual_layers="real-esrgan"),
    data=SuperResolutionDataConfig(degradation="real-esrgan", crop_size=256),
)
COMPACT = replace(ESRGAN, network="srvgg", adversarial_epochs=0)
SPAN = replace(COMPACT, network="span", optimisation=replace(ESRGAN.optimisation, lr=5e-4))


class SuperResolution(Task[SuperResolutionConfig, LowRes[Tensor]]):
    name = "super-resolution"
    Config = SuperResolutionConfig
    presets = MappingProxyType({"srgan": SRGAN, "real-esrgan": REAL_ESRGAN, "compact": COMPACT, "span": SPAN})
    default_preset = "esrgan"

    def open_data(
        self, root: Path, split: Split, *, augment: bool, seed: int
    ) -> tuple[SuperResolutionImages, FoundPhotographs]:
        config = self.config.data
        if config.degrade_on == "auto":
            config = replace(config, degrade_on="device" if torch.cuda.is_available() else "workers")
        with reported("Reading every file once", "files") as on_progress:
            return open_super_resolution(root, split, config, seed, augment, on_progress=on_progress)

    def build(self, *, for_training: bool = True) -> None:
        config = self.config
        self.generators["g"] = make_generator(config)
        if for_training and config.adversarial_epochs:
            self.discriminators["d"] = make_discriminator(config)
            add_pretrained_networks(self, config.perceptual)

    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        config, epochs = self.config, self.config.adversarial_epochs
        reconstruction = Stage(
            name="reconstruction",
            images=config.schedule.epochs * dataset_size,
            optimisation=config.optimisation,
            schedule=config.schedule,
            update_order=("g",),
            best_by="psnr",
        )
        if not epochs:
            return (reconstruction,)
        adversarial = Stage(
            name="adversarial",
            images=epochs * dataset_size,
            optimisation=replace(config.optimisation, lr=config.adversarial_lr),
            schedule=ScheduleConfig(schedule="halving", epochs=epochs),
            update_order=("g", "d"),
            d_weight_clip=config.adversarial.clip_weights,
            best_by=None,  # realistic detail increases the distance to the target
        )
        return reconstruction, adversarial

    def prepared(self, x: LowRes[Tensor]) -> LowRes[Tensor]:
        """Make the low-resolution images on the device, if the data set does not make them."""
        config = self.config.data
        if not config.degrades_on_device:
            return x
        rng = np.random.default_rng((int(self.step.generator.initial_seed()), self.step.rank))
        draws = [draw_degradation(rng) for _ in x.high]
        low = degrade_batch(sharpen((x.high + 1) / 2), draws, config.scale) * 2 - 1
        return LowRes(cut(low, DEGRADED_MARGIN), cut(x.high, DEGRADED_MARGIN * config.scale))

    def generate(self, x: LowRes[Tensor]) -> Outputs:
        return {"fake": self.enlarge(x.low)}

    def d_losses(self, x: LowRes[Tensor], y: Outputs) -> Losses:
        d, adversarial = discriminator_of(self, "d"), self.config.adversarial
        losses, log = d_objective(self.step, adversarial, d, x.high, y["fake"])
        self.log(**log)
        return losses

    def g_losses(self, x: LowRes[Tensor], y: Outputs) -> Losses:
        config, fake = self.config, y["fake"]
        target = self.target(x.high)
        # The papers' weights are for images in [0, 1]; the range here is twice as large.
        distance = l1(fake, target) / 2
        if "d" not in self.step.stage.update_order:
            return {"l1": config.reconstruction_l1 * distance}
        d = discriminator_of(self, "d")
        losses = {"adversarial": config.gan * g_objective(self.step, config.adversarial, d, x.high, fake)}
        if config.l1:
            losses["l1"] = config.l1 * distance
        if config.perceptual.perceptual:
            losses["perceptual"] = config.perceptual.perceptual * self.auxiliary["perceptual"](fake, target)
        return losses

    def target(self, high: Tensor) -> Tensor:
        """Return the image that the output is compared with."""
        return sharpen((high + 1) / 2) * 2 - 1 if self.config.sharpen_targets else high

    def enlarge(self, low: Tensor) -> Tensor:
        """Run the generator. It uses images in [0, 1], so that public weights can be loaded."""
        image: Tensor = self.generators["g"]((low + 1) / 2)
        return image * 2 - 1

    def infer(self, *images: Tensor) -> Tensor:
        (low,) = images
        return self.enlarge(low).clamp(-1, 1)

    def spec(self) -> ModelSpec:
        data = self.config.data
        image = InputSpec("image", "image", data.channels, "any")
        discriminator = self.config.discriminator
        return ModelSpec(
            self.name,
            "upscale",
            (image,),
            data.channels,
            scale=data.scale,
            trained_with=features_trained_with(self.config.perceptual, discriminator=discriminator)
            if self.config.adversarial_epochs
            else (),
            **self.sizes()._asdict(),
        )

    def evaluation(self) -> EvaluationSpec:
        return EvaluationSpec(fit_baselines=lambda examples: {"bicubic": self.by_bicubic})

    @classmethod
    def for_model(cls, spec: ModelSpec) -> SuperResolution:
        # The crop size is not used, but it must be a multiple of the scale.
        data = SuperResolutionDataConfig(scale=spec.scale, crop_size=32 * spec.scale)
        return SuperResolution(SuperResolutionConfig(data=data))

    def inputs_and_target(self, x: LowRes[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        return (x.low,), x.high

    def shown_images(self, x: LowRes[Tensor], output: Tensor) -> dict[str, Tensor]:
        bicubic = torch.from_numpy(np.stack([self.by_bicubic(image.float().cpu().numpy()) for image in x.low]))
        return {"small": x.low, "bicubic": bicubic, "output": output, "target": x.high}

    def by_bicubic(self, low: FloatImage) -> FloatImage:
        """Enlarge C×H×W in [-1, 1] with MATLAB's bicubic interpolation."""
        return to_float(upscale_bicubic(to_uint8(low), self.config.data.scale))


def make_generator(config: SuperResolutionConfig) -> Generator:
    """Build the generator. Raises UserError if the network does not support the scale."""
    channels, scale = config.data.channels, config.data.scale
    width, blocks = config.size
    match config.network:
        case "rrdb":
            # As in Real-ESRGAN: small scales unshuffle pixels into channels. The cost then equals that of scale 4.
            unshuffle = {1: 4, 2: 2}.get(scale, 1)
            return rrdb(
                channels,
                channels,
                scale=scale,
                unshuffle=unshuffle,
                width=width,
                growth=width // 2,
                blocks=blocks,
            )
        case "srvgg":
            return srvgg(channels, channels, scale=scale, width=width, convs=blocks)
        case "msr-resnet":
            return msr_resnet(channels, channels, scale=scale, width=width, blocks=blocks)
        case "srresnet":
            return srresnet(channels, channels, scale=scale, width=width, blocks=blocks)
        case "span":
            # Without the published normalisation, as in neosr: it learns faster. --init-from brings it along.
            return span(channels, channels, scale=scale, width=width, blocks=blocks, normalised=False)
        case "realplksr":
            return realplksr(channels, scale=scale, width=width, blocks=blocks)


def make_discriminator(config: SuperResolutionConfig) -> nn.Module:
    if config.discriminator == "projected":
        return ProjectedDiscriminator(width=config.d_width)

    def make_scale() -> nn.Module:
        if config.discriminator == "unet":
            return UNetDiscriminator(config.data.channels, width=config.d_width)
        return PatchDiscriminator(config.data.channels, width=config.d_width, norm="none", spectral=True)

    return MultiScaleDiscriminator(make_scale, scales=config.d_scales)


def cut(images: Tensor, margin: int) -> Tensor:
    return images[..., margin:-margin, margin:-margin]
