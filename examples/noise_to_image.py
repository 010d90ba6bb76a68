"""Noise → image in one file: a small DCGAN, learned from a folder of images.

A generator turns a latent vector into an image; a discriminator classifies real and generated images (Radford et al.
2016, https://arxiv.org/abs/1511.06434). The model takes a latent instead of an image. `spec` declares it, and
export, the REST interface and the page (a seed and sliders) read it from there.

    gan-tasks train noise-to-image --task-module noise_to_image.py --data DIR --out RUN
    gan-tasks serve RUN --task-module noise_to_image.py
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from gan_tasks.datasets.augmentations import Framing, FramingConfig, sample_seed
from gan_tasks.datasets.checks.validation import Problem, inspect_files
from gan_tasks.datasets.errors import MissingSplitError, UserError
from gan_tasks.datasets.folders import images_in, listed
from gan_tasks.datasets.images import fit_channels, read, to_float
from gan_tasks.losses.adversarial import d_objective, g_objective
from gan_tasks.losses.functional import AdversarialConfig
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import EvaluationSpec, Losses, Outputs, Split, Stage, Task

Array = TypeVar("Array")


# The data: images, each with a latent that depends only on the seed, the epoch and the index.


class Noise(NamedTuple, Generic[Array]):
    """An image and a latent vector."""

    image: Array
    latent: Array


@dataclass(frozen=True)
class NoiseDataConfig:
    """Options of the images. They are read as RGB."""

    framing: FramingConfig = FramingConfig(load_size=32, crop_size=(32, 32))


@dataclass(frozen=True)
class FoundImages:
    """The result of reading the data folder."""

    problems: tuple[Problem, ...]
    summary: str


class NoiseImages:
    """Images of the configured crop size with latents; see `Task.open_data`."""

    def __init__(self, images: list[Path], config: NoiseDataConfig, latent: int, seed: int, augment: bool) -> None:
        self.images, self.latent, self.seed = images, latent, seed
        framing = config.framing if augment else replace(config.framing, flip=False)
        self._framing, self._augment = Framing(framing), augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> Noise[NDArray[np.float32]]:
        epoch, index = key if self._augment else (0, key[1])
        rng = np.random.default_rng(sample_seed(self.seed, epoch, index))
        pixels = fit_channels(read(self.images[index]).pixels, 3)
        latent = rng.standard_normal(self.latent, np.float32)
        return Noise(to_float(self._framing(rng, pixels)[0]), latent)

    def name(self, index: int) -> str:
        return self.images[index].stem


@dataclass(frozen=True)
class NoiseToImageConfig:
    """Options of the example task."""

    latent: int = 64
    """Length of the latent vector."""
    width: int = 32
    """Channels of the generator's last and of the discriminator's first layer."""
    d_scales: int = 1
    """Number of resolutions of the discriminator's input, each half of the one before."""
    adversarial: AdversarialConfig = AdversarialConfig()
    optimisation: OptimisationConfig = OptimisationConfig(batch_size=16)
    schedule: ScheduleConfig = ScheduleConfig(schedule="constant", epochs=100)
    data: NoiseDataConfig = NoiseDataConfig()

    def __post_init__(self) -> None:
        side = self.data.framing.crop_size[0]
        if self.data.framing.crop_size != (side, side) or side < 16 or side & (side - 1):
            raise UserError(f"crop_size is {self.data.framing.crop_size}: give a square of 16, 32, 64 … pixels")


class NoiseToImage(Task[NoiseToImageConfig, Noise[Tensor]]):
    name = "noise-to-image"
    summary = "generate images from noise"
    Config = NoiseToImageConfig

    def open_data(self, root: Path, split: Split, *, augment: bool, seed: int) -> tuple[NoiseImages, FoundImages]:
        folder = root / split
        if not folder.is_dir():
            raise MissingSplitError(f"{root} has no folder {split}: expected images in it")
        images, problems = images_in(folder)
        for finding in inspect_files(images).values():
            if isinstance(finding, Problem):
                problems.append(finding)
        good = [path for path in images if path not in {problem.path for problem in problems}]
        if not good:
            raise UserError(f"{folder} holds no usable image:\n{listed(problems)}")
        data = NoiseImages(good, self.config.data, self.config.latent, seed, augment)
        return data, FoundImages(tuple(problems), f"{len(good)} images in {folder}")

    def resolved(self, data: NoiseImages) -> NoiseToImage:
        return self  # no option depends on the data

    def build(self, *, for_training: bool = True) -> None:
        side, config = self.config.data.framing.crop_size[0], self.config
        self.generators["g"] = dcgan(config.latent, width=config.width, doublings=side.bit_length() - 3)
        if for_training:
            self.discriminators["d"] = MultiScaleDiscriminator(
                lambda: PatchDiscriminator(3, width=config.width, layers=2, norm="none"), scales=config.d_scales
            )

    def spec(self) -> ModelSpec:
        latent = InputSpec("latent", "latent", self.config.latent, "none")
        return ModelSpec(self.name, "generate", (latent,), 3, output_size=self.config.data.framing.crop_size)

    def evaluation(self) -> EvaluationSpec:
        return EvaluationSpec(has_target=False)

    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        config = self.config
        return (
            Stage(
                "adversarial",
                config.schedule.epochs * dataset_size,
                config.optimisation,
                config.schedule,
                d_weight_clip=config.adversarial.clip_weights,
                best_by=None,
            ),
        )

    def generate(self, x: Noise[Tensor]) -> Outputs:
        return {"fake": self.infer(x.latent)}

    def d_losses(self, x: Noise[Tensor], y: Outputs) -> Losses:
        losses, log = d_objective(self.step, self.config.adversarial, self.discriminators["d"], x.image, y["fake"])
        self.log(**log)
        return losses

    def g_losses(self, x: Noise[Tensor], y: Outputs) -> Losses:
        d = self.discriminators["d"]
        return {"adversarial": g_objective(self.step, self.config.adversarial, d, x.image, y["fake"])}

    def infer(self, *inputs: Tensor) -> Tensor:
        (latent,) = inputs
        generator = self.generators["g"]
        assert isinstance(generator, Generator)
        return generator.run(latent)  # a latent needs no padding

    def inputs_and_target(self, x: Noise[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        return (x.latent,), x.image


def dcgan(latent: int, *, width: int, doublings: int) -> Generator:
    """Build a generator without downsampling: N×latent → N×3×(4·2^doublings)×(4·2^doublings)."""
    widths = [width * 2**level for level in reversed(range(doublings))]

    def activated(outputs: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(outputs), nn.ReLU()]

    def up(inputs: int, outputs: int) -> nn.Module:
        conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
        return nn.Sequential(conv, *activated(outputs))

    stem = nn.ConvTranspose2d(latent, widths[0], 4, bias=False)
    return Generator(
        stem=nn.Sequential(nn.Unflatten(1, (latent, 1, 1)), stem, *activated(widths[0])),
        downs=[],
        body=nn.Identity(),
        ups=[up(widths[level], widths[level + 1]) for level in range(doublings - 1)],
        head=nn.Sequential(nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1), nn.Tanh()),
    )
