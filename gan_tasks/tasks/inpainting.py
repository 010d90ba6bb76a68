"""Inpainting: fill the masked regions of images, learned from images on which masks are drawn.

DeepFill v2 (Yu et al. 2019, https://arxiv.org/abs/1806.03589) has a generator with a coarse and a refined stage. It
copies features from the surroundings of the mask, and a patch discriminator. DeepFill v1 (Yu et al. 2018,
https://arxiv.org/abs/1801.07892) has plain convolutions, and a second discriminator for the surroundings of the mask.
The Context Encoder (Pathak et al. 2016, https://arxiv.org/abs/1604.07379) has a bottleneck. LaMa (Suvorov et al.
2022, https://arxiv.org/abs/2109.07161) filters the spectrum of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import to_float, to_uint8
from gan_tasks.datasets.images.pixels import Pixels
from gan_tasks.datasets.inpainting import FoundMasked, Masked, MaskedConfig, MaskedImages, open_masked
from gan_tasks.datasets.masks.draw import Mask, MaskConfig
from gan_tasks.datasets.ranges import Checked, Range, Weight, Width
from gan_tasks.losses.adversarial import d_objective, on_one_draw
from gan_tasks.losses.functional import (
    AdversarialConfig,
    ReconstructionLoss,
    adversarial_g_loss,
    feature_matching,
    weighted_difference,
)
from gan_tasks.losses.perceptual import PerceptualConfig
from gan_tasks.metrics.baselines import Baseline, FloatImage, fill_harmonic, fill_navier_stokes, fill_telea
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator, SNPatchDiscriminator
from gan_tasks.networks.inpainting.context_encoder import context_encoder
from gan_tasks.networks.inpainting.deepfill import deepfill_v1, deepfill_v2
from gan_tasks.networks.inpainting.inpainter import Inpainter, as_residual_of_smooth_fill
from gan_tasks.networks.inpainting.lama import lama
from gan_tasks.networks.inpainting.unet import unet
from gan_tasks.networks.projected import ProjectedDiscriminator
from gan_tasks.networks.residual import check_residual
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.progress import reported
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import EvaluationSpec, Losses, Outputs, Split, Stage, Task, known_channels
from gan_tasks.tasks.shared.pretrained_features import (
    add_pretrained_networks,
    discriminator_of,
    features_trained_with,
)

Network = Literal["deepfill-v2", "deepfill-v1", "context-encoder", "lama", "unet"]

BOUNDARY_PX = 4
"""Width of the strip of masked pixels along the boundary for which `boundary_weight` counts."""


@dataclass(frozen=True)
class InpaintingConfig(Checked):
    """Options of inpainting. The defaults are DeepFill v2's recipe."""

    network: Network = "deepfill-v2"
    """Architecture of the generator."""
    width: Width = 48
    """Channels after the first downsampling. The cost grows with the square of the width. The papers use 48 (DeepFill
    v2), 64 (DeepFill v1 and Context Encoder) and 128 (LaMa). In unet it is the number at the size of the image."""
    blocks: Annotated[int, Range(1, 64)] = 9
    """Number of residual blocks of the network lama. The paper uses 9, and 18 for Big LaMa."""
    global_ratio: Annotated[float, Range(0, 1, below=True)] = 0.75
    """Share of the channels that the network lama filters in the spectrum of the whole image."""
    residual: bool = False
    """The generator computes a residual, which is added to a smooth fill of the masked region. It is zero at the
    start."""
    residual_downscale: Annotated[int, Range(1, 64)] = 1
    """Compute the residual at 1/N of the size and upsample it. The receptive field then covers larger masks at a
    fraction of the cost, but the output has no fine detail. Initialise it from a run on images of 1/N of the size."""
    local_discriminator: bool = False
    """Add a second discriminator for the surroundings of the mask, a crop of half the height and width."""
    discriminator: Literal["sn-patch", "patch", "projected"] = "sn-patch"
    """Type of discriminator. sn-patch is that of DeepFill v2 and gets the image and the mask. patch is that of LaMa,
    which classifies patches of 142 pixels and gets the image alone. projected classifies fixed random mixtures of
    four layers of EfficientNet-Lite0, and gets the mask too (it ignores d_scales)."""
    d_width: Width = 64
    """Channels of the discriminators' first layer."""
    d_scales: Annotated[int, Range(1, 8)] = 1
    """Number of resolutions of a discriminator's input, each half of the one before."""
    reconstruction: Weight = 1.0
    """Weight of the difference between output and image, for the coarse and for the refined output."""
    reconstruction_loss: ReconstructionLoss = "l1"
    """The reconstruction loss. l1 is the mean absolute difference, l2 the mean squared difference. psnr is the
    negative PSNR in dB, which gives images that are easy to fill the same weight as others."""
    mask_weight: Weight = 1.0
    """Weight of a masked pixel in the reconstruction loss; a known pixel has 1."""
    boundary_weight: Weight = 1.0
    """Factor on mask_weight for the masked pixels within 4 px of the mask's boundary."""
    gan: Weight = 1.0
    """Weight of the adversarial loss. 0 trains without a discriminator."""
    feature_matching: Weight = 0.0
    """Weight of the feature matching loss, the difference in the discriminator's features (pix2pixHD: 10)."""
    adversarial: AdversarialConfig = AdversarialConfig(adversarial="hinge")
    perceptual: PerceptualConfig = PerceptualConfig()
    optimisation: OptimisationConfig = OptimisationConfig(batch_size=16, lr=1e-4)
    schedule: ScheduleConfig = ScheduleConfig(schedule="constant", epochs=1000)
    data: MaskedConfig = MaskedConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_residual(self.residual_downscale, self.residual)
        if self.network == "lama":
            check_lama(self.width, self.global_ratio)
        elif self.network in ("deepfill-v1", "deepfill-v2") and self.width % 4:
            raise UserError(f"width is {self.width}: expected a multiple of 4 for the network {self.network}")


def check_lama(width: int, global_ratio: float) -> None:
    """Check the options of the network lama. Raises UserError if they do not fit together."""
    if width % 2:
        raise UserError(f"width is {width}: expected an even number for the network lama")
    if int(4 * width * global_ratio) < 2:
        raise UserError(
            f"global_ratio is {global_ratio}: expected two or more of {4 * width} channels, {0.5 / width:g} or more"
        )


DEEPFILL_V1 = InpaintingConfig(
    network="deepfill-v1",
    width=64,
    local_discriminator=True,
    reconstruction=1.2,
    gan=1e-3,
    adversarial=AdversarialConfig(adversarial="wasserstein", gradient_penalty=10.0),
)
CONTEXT_ENCODER = InpaintingConfig(
    network="context-encoder",
    width=64,
    reconstruction=0.999,
    reconstruction_loss="l2",
    boundary_weight=10.0,
    gan=1e-3,
    adversarial=AdversarialConfig(adversarial="vanilla"),
    optimisation=OptimisationConfig(batch_size=64, lr=2e-3, lr_d=2e-4),
)
LAMA = InpaintingConfig(
    network="lama",
    width=128,
    discriminator="patch",
    reconstruction=5.0,
    mask_weight=0.0,
    gan=10.0,
    feature_matching=10.0,
    adversarial=AdversarialConfig(adversarial="vanilla", r1=520.0),
    perceptual=PerceptualConfig(perceptual_network="vgg16"),
    optimisation=OptimisationConfig(batch_size=8, lr=1e-3, lr_d=1e-4, betas=(0.9, 0.999)),
)
"""LaMa's recipe, as far as its parts are here. These differ from the paper:

- Its perceptual loss needs a dilated ResNet that was trained for segmentation. Here it is that of VGG16. It is off
  until `--perceptual` gives it a weight, because the weights of the VGG have to be given or downloaded.
- The discriminator gets the result with the known pixels put back, and all its patches count as generated. In the
  paper it gets the whole output, and patches outside the mask count as real.
- L1: the paper's weight of 10 is for images in [0, 1] and the mean over all pixels, of which the masked ones count 0.
  Here it is 5 for images in [-1, 1], and the mean is over the known pixels. With half of the image masked it is twice
  the paper's.
- R1: the paper's weight of 0.001 is for the sum of the logits and for images in [0, 1]. For their mean and images in
  [-1, 1] it is 0.004 · 361², as crops of 256 pixels have 19×19 logits.
- Feature matching: the paper's weight of 100 is for squared differences. 10 is pix2pixHD's for absolute ones.
"""
SMALL = InpaintingConfig(
    network="unet",
    width=16,
    residual=True,
    reconstruction_loss="psnr",
    mask_weight=1000.0,
    gan=0.0,
    optimisation=OptimisationConfig(batch_size=16, lr=1e-3, betas=(0.9, 0.99), ema_halflife_images=2000),
    schedule=ScheduleConfig(schedule="cosine", epochs=200),
    data=MaskedConfig(drawn_masks=MaskConfig(("inverse", "free-form"), 0.08, 0.66)),
)
"""A small network for few images and a CPU: it learns the residual of a smooth fill, without a discriminator."""


class Inpainting(Task[InpaintingConfig, Masked[Tensor]]):
    name = "inpainting"
    Config = InpaintingConfig
    presets = MappingProxyType(
        {"deepfill-v1": DEEPFILL_V1, "context-encoder": CONTEXT_ENCODER, "lama": LAMA, "small": SMALL}
    )
    default_preset = "deepfill-v2"

    def open_data(self, root: Path, split: Split, *, augment: bool, seed: int) -> tuple[MaskedImages, FoundMasked]:
        with reported("Reading every file once", "files") as on_progress:
            return open_masked(root, split, self.config.data, seed, augment, on_progress=on_progress)

    def build(self, *, for_training: bool = True) -> None:
        config = self.config
        self.generators["g"] = make_generator(config)
        if not for_training:
            return
        if config.gan:
            for name in self.discriminator_names():
                self.discriminators[name] = make_discriminator(config)
        add_pretrained_networks(self, config.perceptual)

    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        config = self.config
        return (
            Stage(
                name="adversarial" if config.gan else "reconstruction",
                images=config.schedule.epochs * dataset_size,
                optimisation=config.optimisation,
                schedule=config.schedule,
                update_order=("d", "g") if config.gan else ("g",),
                d_weight_clip=config.adversarial.clip_weights,
            ),
        )

    def generate(self, x: Masked[Tensor]) -> Outputs:
        """Return the images of the stages. Raises UserError for a batch that is too small for batch norm."""
        if self.config.network == "context-encoder":
            check_bottleneck(x.image, self.config.residual_downscale)
        *coarse, refined = self.network.stages(*self.model_inputs(x))
        outputs = {"refined": refined, "fake": compose(refined, x)}
        return outputs | ({"coarse": coarse[0]} if coarse else {})

    def d_losses(self, x: Masked[Tensor], y: Outputs) -> Losses:
        losses: Losses = {}
        for name in self.discriminator_names():
            real, fake, mask = (self.view(name, image, x.mask) for image in (x.image, y["fake"], x.mask))
            d, adversarial = discriminator_of(self, name), self.config.adversarial
            own, log = d_objective(self.step, adversarial, d, real, fake, condition=self.condition(mask), name=name)
            self.log(**log)
            losses |= own
        return losses

    def g_losses(self, x: Masked[Tensor], y: Outputs) -> Losses:
        config = self.config
        weights = self.pixel_weights(x.mask)
        losses: Losses = {
            name: config.reconstruction * weighted_difference(config.reconstruction_loss, y[name], x.image, weights)
            for name in ("coarse", "refined")
            if name in y
        }
        for name in self.discriminator_names() if config.gan else ():
            losses |= self.adversarial_g_losses(name, x, y["fake"])
        if config.perceptual.perceptual:
            losses["perceptual"] = config.perceptual.perceptual * self.auxiliary["perceptual"](y["fake"], x.image)
        return losses

    def adversarial_g_losses(self, name: str, x: Masked[Tensor], fake: Tensor) -> Losses:
        """Return the weighted losses that a discriminator gives the generator."""
        config, losses = self.config, {}
        real, fake, mask = (self.view(name, image, x.mask) for image in (x.image, fake, x.mask))
        d = discriminator_of(self, name)
        discriminate = on_one_draw(self.step, config.adversarial, d, len(fake), self.condition(mask), name=name)
        d_real = None
        if config.feature_matching or config.adversarial.is_relativistic:
            with torch.no_grad():
                d_real = discriminate(real)
        d_fake = discriminate(fake)
        losses[f"{name}_adversarial"] = config.gan * adversarial_g_loss(config.adversarial, d_fake, d_real)
        if config.feature_matching and d_real is not None:
            losses[f"{name}_feature_matching"] = config.feature_matching * feature_matching(d_real, d_fake)
        return losses

    def condition(self, mask: Tensor) -> Tensor | None:
        """Return the discriminator's second input, the mask, or None if it gets the image alone."""
        return None if self.config.discriminator == "patch" else mask

    @property
    def network(self) -> Inpainter:
        return cast(Inpainter, self.generators["g"])

    def discriminator_names(self) -> tuple[str, ...]:
        return ("whole", "local") if self.config.local_discriminator else ("whole",)

    def view(self, name: str, image: Tensor, mask: Tensor) -> Tensor:
        """Return the part of N×C×H×W images that is the input of a discriminator."""
        return around_mask(image, mask) if name == "local" else image

    def pixel_weights(self, mask: Tensor) -> Tensor:
        """Return the weight of each pixel in the reconstruction loss, N×1×H×W, for an N×1×H×W mask."""
        config = self.config
        inner = -functional.max_pool2d(-mask, 2 * BOUNDARY_PX + 1, stride=1, padding=BOUNDARY_PX)
        return torch.where(mask == 0, 1.0, config.mask_weight * torch.where(inner == 0, config.boundary_weight, 1.0))

    def model_inputs(self, x: Masked[Tensor]) -> tuple[Tensor, ...]:
        """Return the inputs of `infer` for a batch."""
        return (x.image, x.mask, x.sketch) if self.config.data.sketch else (x.image, x.mask)

    def infer(self, *images: Tensor) -> Tensor:
        image, mask = images[:2]
        output: Tensor = self.network(*images)
        return torch.where(mask > 0, output.clamp(-1, 1), image)

    def spec(self) -> ModelSpec:
        data = self.config.data
        sketch = (InputSpec("sketch", "mask", optional=True),) if data.sketch else ()
        inputs = (InputSpec("image", "image", data.image_channels, "any"), InputSpec("mask", "mask"), *sketch)
        discriminator = self.config.discriminator if self.config.gan else ""
        return ModelSpec(
            self.name,
            "inpaint",
            inputs,
            data.image_channels,
            trained_with=features_trained_with(self.config.perceptual, discriminator=discriminator),
            **self.sizes()._asdict(),
        )

    def evaluation(self) -> EvaluationSpec:
        fills = {"harmonic fill": fill_harmonic, "Telea": fill_telea, "Navier–Stokes": fill_navier_stokes}
        return EvaluationSpec(
            fit_baselines=lambda examples: {name: as_baseline(fill) for name, fill in fills.items()},
            masks=self.config.data,
        )

    def inputs_and_target(self, x: Masked[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        return self.model_inputs(x), x.image

    def shown_images(self, x: Masked[Tensor], output: Tensor) -> dict[str, Tensor]:
        shown = {"masked": x.image * (1 - x.mask)}
        if self.config.data.sketch:
            shown["sketch"] = 1 - 2 * x.sketch
        return shown | {"output": output, "target": x.image}


def make_generator(config: InpaintingConfig) -> Inpainter:
    inpainter = paper_inpainter(config)
    if not config.residual:
        return inpainter
    return as_residual_of_smooth_fill(
        inpainter, config.data.image_channels, residual_downscale=config.residual_downscale
    )


def paper_inpainter(config: InpaintingConfig) -> Inpainter:
    (channels,) = known_channels(config.data.image_channels)
    match config.network:
        case "deepfill-v2":
            return deepfill_v2(channels, width=config.width)
        case "deepfill-v1":
            return deepfill_v1(channels, width=config.width)
        case "context-encoder":
            return context_encoder(channels, width=config.width)
        case "lama":
            return lama(channels, width=config.width, blocks=config.blocks, global_ratio=config.global_ratio)
        case "unet":
            return unet(channels, width=config.width)


def make_discriminator(config: InpaintingConfig) -> nn.Module:
    """Build a discriminator with all its scales."""
    if config.discriminator == "projected":
        return ProjectedDiscriminator(masks=1, width=config.d_width)
    return MultiScaleDiscriminator(lambda: make_scale(config), scales=config.d_scales)


def make_scale(config: InpaintingConfig) -> nn.Module:
    """Build the discriminator of one scale."""
    channels = config.data.image_channels
    if config.discriminator == "patch":
        return PatchDiscriminator(channels, width=config.d_width, layers=4, norm="batch", padding=2)
    return SNPatchDiscriminator(channels + 1, width=config.d_width)


def check_bottleneck(images: Tensor, downscale: int) -> None:
    """Raise UserError if the bottleneck of the Context Encoder has a single value per channel for N×C×H×W images."""
    if len(images) == 1 and max(images.shape[-2:]) <= 128 * downscale:
        raise UserError(
            f"crops of up to {128 * downscale} pixels have one position in the bottleneck of the network "
            "context-encoder, and batch norm needs two: give --batch-size 2 or larger crops"
        )


def as_baseline(fill: Callable[[Pixels, Mask], Pixels]) -> Baseline:
    """Wrap a classical inpainting method of pixels as a baseline, which takes the inputs of a model."""

    def baseline(image: FloatImage, mask: FloatImage, *sketch: FloatImage) -> FloatImage:
        return np.where(mask > 0, to_float(fill(to_uint8(image), mask[0] > 0)), image)

    return baseline


def compose(output: Tensor, x: Masked[Tensor]) -> Tensor:
    """Take the masked pixels from the output, and all others from the image."""
    return torch.lerp(x.image.to(output.dtype), output, x.mask.to(output.dtype))


def around_mask(image: Tensor, mask: Tensor) -> Tensor:
    """Crop each image around the centre of its mask: N×C×H×W → N×C×H/2×W/2.

    The mask is N×1×H×W, 1 = masked. Crops stay within the image.
    """
    channels, height, width = image.shape[1:]
    masked = mask[:, 0] > 0
    rows = places_around(masked.any(dim=2), height // 2)[:, None, :, None]
    columns = places_around(masked.any(dim=1), width // 2)[:, None, None, :]
    cropped = image.gather(2, rows.expand(-1, channels, -1, width))
    return cropped.gather(3, columns.expand(-1, channels, height // 2, -1))


def places_around(is_masked: Tensor, length: int) -> Tensor:
    """Return the indices, N×length, of the interval around the masked rows of each image; is_masked is N×rows.

    The interval stays within the image. A GPU computes it, and the CPU does not wait for it.
    """
    count = is_masked.shape[1]
    places = torch.arange(count, device=is_masked.device)
    first = torch.where(is_masked, places, count).amin(dim=1)
    last = torch.where(is_masked, places, -1).amax(dim=1)
    centre = torch.where(is_masked.any(dim=1), (first + last) // 2, count // 2)
    start = (centre - length // 2).clamp(0, count - length)
    return start[:, None] + places[:length]
