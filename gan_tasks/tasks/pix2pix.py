"""pix2pix: translate one kind of image into another, learned from pairs.

A generator turns the source into the target. The input of the discriminator is the source with the target or with the
output, and it classifies which of the two it is (Isola et al. 2017, https://arxiv.org/abs/1611.07004). With
`--generator global`, two or three scales, feature matching and perceptual loss it is the first stage of pix2pixHD
(Wang et al. 2018, https://arxiv.org/abs/1711.11585).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from gan_tasks.datasets.paired import FoundPairs, Pair, PairedConfig, PairedImages, open_pairs
from gan_tasks.datasets.ranges import Count, PositiveCount, Weight
from gan_tasks.losses.adversarial import d_objective, on_one_draw
from gan_tasks.losses.functional import adversarial_g_loss, feature_matching, l1
from gan_tasks.progress import reported
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import Losses, Outputs, Split, Stage, Task
from gan_tasks.tasks.shared.pretrained_features import discriminator_of
from gan_tasks.tasks.translation import (
    MODERN_ADVERSARIAL,
    MODERN_OPTIMISATION,
    TranslationConfig,
    add_discriminators,
    checked_direction,
    discriminator_input,
    make_generator,
    trained_with,
    with_projected_discriminator,
)


@dataclass(frozen=True)
class Pix2PixConfig(TranslationConfig):
    """Options of pix2pix. The defaults are the paper's recipe."""

    d_conditional: bool = True
    """The discriminator's input includes the source."""
    d_steps: PositiveCount = 1
    """Updates of the discriminator for each update of the generator (Wasserstein GANs: 5)."""
    d_warmup_images: Count = 0
    """Number of images at the start on which only the discriminator is trained."""
    l1: Weight = 100.0
    """Weight of the mean absolute difference to the target."""
    feature_matching: Weight = 0.0
    """Weight of the feature matching loss, the difference in the discriminator's features (pix2pixHD: 10)."""
    data: PairedConfig = PairedConfig()


MODERN = Pix2PixConfig(
    norm="instance", d_norm="none", adversarial=MODERN_ADVERSARIAL, optimisation=MODERN_OPTIMISATION
)
PROJECTED = with_projected_discriminator(MODERN)


class Pix2Pix(Task[Pix2PixConfig, Pair[Tensor]]):
    name = "pix2pix"
    Config = Pix2PixConfig
    presets = MappingProxyType({"modern": MODERN, "projected": PROJECTED})

    def open_data(self, root: Path, split: Split, *, augment: bool, seed: int) -> tuple[PairedImages, FoundPairs]:
        with reported("Reading every file once", "files") as on_progress:
            return open_pairs(root, split, self.config.data, seed, augment, on_progress=on_progress)

    def build(self, *, for_training: bool = True) -> None:
        source, target = self.config.data.source_channels, self.config.data.target_channels
        self.generators["g"] = make_generator(self.config, source, target)
        if for_training:
            add_discriminators(self, {"d": (source, target) if self.config.d_conditional else (target,)})

    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        config = self.config
        return (
            Stage(
                name="adversarial" if config.gan else "reconstruction",
                images=config.schedule.epochs * dataset_size,
                optimisation=config.optimisation,
                schedule=config.schedule,
                update_order=("d", "g") if config.gan else ("g",),
                g_interval_steps=config.d_steps,
                d_warmup_images=config.d_warmup_images,
                d_weight_clip=config.adversarial.clip_weights,
            ),
        )

    def generate(self, x: Pair[Tensor]) -> Outputs:
        return {"fake": self.generators["g"](x.source)}

    def d_losses(self, x: Pair[Tensor], y: Outputs) -> Losses:
        real, fake = (discriminator_input(self.config, image) for image in (x.target, y["fake"]))
        d, adversarial = discriminator_of(self, "d"), self.config.adversarial
        losses, log = d_objective(self.step, adversarial, d, real, fake, condition=self.condition(x))
        self.log(**log)
        return losses

    def g_losses(self, x: Pair[Tensor], y: Outputs) -> Losses:
        config, fake = self.config, y["fake"]
        losses = {"l1": config.l1 * l1(fake, x.target)}
        if config.gan:
            d, batch_size = discriminator_of(self, "d"), len(fake)
            discriminate = on_one_draw(self.step, config.adversarial, d, batch_size, self.condition(x))
            d_fake = discriminate(discriminator_input(config, fake))
            needs_real = config.feature_matching or config.adversarial.is_relativistic
            with torch.no_grad():
                d_real = discriminate(discriminator_input(config, x.target)) if needs_real else None
            losses["adversarial"] = config.gan * adversarial_g_loss(config.adversarial, d_fake, d_real)
            if config.feature_matching and d_real is not None:
                losses["feature_matching"] = config.feature_matching * feature_matching(d_real, d_fake)
        if config.perceptual.perceptual:
            losses["perceptual"] = config.perceptual.perceptual * self.auxiliary["perceptual"](fake, x.target)
        return losses

    def condition(self, x: Pair[Tensor]) -> Tensor | None:
        """Return the discriminator's second input, or None if it is not conditional."""
        return discriminator_input(self.config, x.source) if self.config.d_conditional else None

    def infer(self, *images: Tensor) -> Tensor:
        (source,) = images
        image: Tensor = self.generators["g"](source)
        return image

    def spec(self) -> ModelSpec:
        data = self.config.data
        image = InputSpec("image", "image", data.source_channels, "any")
        return ModelSpec(
            self.name,
            "translate",
            (image,),
            data.target_channels,
            trained_with=trained_with(self.config),
            **self.sizes()._asdict(),
        )

    @property
    def direction(self) -> str:
        return self.config.data.direction

    def in_direction(self, direction: str) -> Pix2Pix:
        return self.with_data(replace(self.config.data, direction=checked_direction(direction)))

    def inputs_and_target(self, x: Pair[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        return (x.source,), x.target
