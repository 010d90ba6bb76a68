"""Synthesis: generate images from noise, learned from a folder of images.

A generator maps a latent vector, drawn at random, to an image, and a discriminator classifies real and generated
images (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661). Architectures, objectives and regularisation are
options; the presets are those of papers, from DCGAN to R3GAN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.unlabelled import (
    FoundUnlabelled,
    SizeConfig,
    Unlabelled,
    UnlabelledConfig,
    UnlabelledImages,
    open_unlabelled,
)
from gan_tasks.losses.adversarial import Discriminate, d_objective, g_objective
from gan_tasks.losses.functional import AdversarialConfig, Scales
from gan_tasks.losses.path_length import path_length_is_due, path_length_objective
from gan_tasks.losses.penalties import default_gamma
from gan_tasks.losses.perceptual import PerceptualConfig
from gan_tasks.networks.projected import ProjectedDiscriminator
from gan_tasks.networks.synthesis.build import make_discriminator, make_generator
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.progressive import packed, pyramid, real_images
from gan_tasks.networks.synthesis.stylegan2 import StyleMapping
from gan_tasks.networks.synthesis.stylegan3 import track_magnitudes
from gan_tasks.progress import reported
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import EvaluationSpec, Losses, Outputs, Split, Stage, Task, known_channels
from gan_tasks.tasks.shared.pretrained_features import (
    add_pretrained_networks,
    discriminator_of,
    features_trained_with,
)
from gan_tasks.tasks.synthesis.config import PRESETS, SynthesisConfig
from gan_tasks.tasks.synthesis.growth import Growth, growth_stages, sizes_of_levels

PATH_LENGTH_PART = 2
"""The path-length penalty is that of 1/N of a batch, as in StyleGAN2."""
GAMMA_AFTER_BURN_IN = 0.1
"""Factor on γ after the burn-in, as in all trainings of R3GAN."""
COLUMNS = 6
"""Generated images in a row of a sample grid."""


class Synthesis(Task[SynthesisConfig, Unlabelled[Tensor]]):
    name = "synthesis"
    Config = SynthesisConfig
    presets = PRESETS
    default_preset = "small"

    def open_data(
        self, root: Path, split: Split, *, augment: bool, seed: int
    ) -> tuple[UnlabelledImages, FoundUnlabelled]:
        config = self.config
        with reported("Reading every file once", "files") as on_progress:
            return open_unlabelled(
                root, split, config.data, seed, augment, latent=config.latent, on_progress=on_progress
            )

    def build(self, *, for_training: bool = True) -> None:
        config, data = self.config, self.config.data
        (channels,) = known_channels(data.channels)
        if data.classes and not data.class_names:
            raise UserError(
                "the names of the classes are not known yet: give `class_names`, or take them from a folder: "
                '`data, _ = task.open_data(root, "train", augment=True, seed=0)`, then `task = task.resolved(data)`'
            )
        classes = len(data.class_names)
        self.generators["g"] = make_generator(
            config.network,
            size=data.size,
            channels=channels,
            latent=config.latent,
            width=config.width,
            classes=classes,
            style_width=config.style_width,
            mapping_layers=config.mapping_layers,
            attention=config.attention,
        )
        if config.growth:
            self.generators["growth"] = Growth(len(self.generator.stages))
        if not for_training:
            return
        width = config.d_width or config.width
        if config.discriminator == "projected":
            self.discriminators["d"] = ProjectedDiscriminator(width=width)
        else:
            self.discriminators["d"] = make_discriminator(
                config.network,
                size=data.size,
                channels=channels,
                width=width,
                classes=classes,
                norm=config.d_norm,
                group=config.d_group,
                energy=config.energy.energy,
                attention=config.attention,
            )
        add_pretrained_networks(self, PerceptualConfig())

    @property
    def generator(self) -> SynthesisGenerator:
        generator = self.generators["g"]
        assert isinstance(generator, SynthesisGenerator)
        return generator

    @property
    def growth(self) -> Growth | None:
        """How far the networks have grown; None if they do not grow."""
        return next((each for each in self.generators.values() if isinstance(each, Growth)), None)

    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        config = self.config
        whole = Stage(
            name="adversarial",
            images=config.schedule.epochs * dataset_size,
            optimisation=config.optimisation,
            schedule=config.schedule,
            g_interval_steps=config.d_steps,
            d_weight_clip=config.adversarial.clip_weights,
            best_by=None,
        )
        if not config.growth:
            return (whole,)
        return growth_stages(whole, sizes_of_levels(config.data.size), config.growth, dataset_size)

    # Training.

    def generate(self, x: Unlabelled[Tensor]) -> Outputs:
        """Return the images; for MSG-GAN's discriminator those of all sizes, `packed`."""
        if growth := self.growth:
            growth.follow(self.step, len(x.latent) * self.step.world_size)
            growth.apply_to(self.generator)
            growth.apply_to(self.discriminators["d"])
        styles = self.drawn_styles(x)
        with self.drawn_noise() as generator:
            if self.config.compares_all_sizes:
                return {"fake": packed(generator.images(styles))}
            image = generator.synthesize(styles)
        track_magnitudes(generator, self.step.mean)
        return {"fake": image}

    def drawn_styles(self, x: Unlabelled[Tensor]) -> Tensor:
        """Return the styles of a batch, N×L×D, some of them mixed, and update the mean of the styles."""
        generator, label = self.generator, self.label_of(x)
        styles = generator.styles(x.latent, label)
        if isinstance(generator.mapping, StyleMapping):
            generator.mapping.track(self.step.mean(styles[:, 0].float().mean(0)))
        if self.config.style_mixing:
            latent = self.step.random(*x.latent.shape, device=x.latent.device, normal=True).to(x.latent.dtype)
            chance, place = self.step.random(len(styles), 2, 1, 1, device=styles.device).unbind(1)
            count = styles.shape[1]
            first = 1 + (place * (count - 1)).floor()
            layers = torch.arange(count, device=styles.device)[:, None]
            is_other = (layers >= first) & (chance < self.config.style_mixing)
            styles = torch.where(is_other, generator.styles(latent, label), styles)
        return styles

    @contextmanager
    def drawn_noise(self, which: int = 0) -> Iterator[SynthesisGenerator]:
        """Within the context, the generator draws its noise, which depends only on `which`, the seed and the step."""
        generator, device, step = self.generator, self.generator_device, self.step
        # Drawn on the device: StyleGAN2 takes millions of numbers. The seed is that of the step.
        numbers = torch.Generator(device).manual_seed(step.generator.initial_seed() ^ which)

        def draw(count: int, *shape: int) -> Tensor:
            drawn = torch.randn(count * step.world_size, *shape, generator=numbers, device=device)
            return drawn[step.rank * count : (step.rank + 1) * count]

        generator.set_noise(draw)
        try:
            yield generator
        finally:
            generator.set_noise(None)

    @property
    def generator_device(self) -> torch.device:
        return next(self.generator.parameters()).device

    def d_losses(self, x: Unlabelled[Tensor], y: Outputs) -> Losses:
        losses, log = d_objective(
            self.step, self.objective, self.discriminate(x), self.real(x), y["fake"], energy=self.config.energy
        )
        self.log(**log)
        return losses

    def g_losses(self, x: Unlabelled[Tensor], y: Outputs) -> Losses:
        config = self.config
        adversarial = g_objective(
            self.step, self.objective, self.discriminate(x), self.real(x), y["fake"], energy=config.energy
        )
        if not path_length_is_due(self.step, config.regularisation):
            return {"adversarial": adversarial}
        count = -(-len(x.latent) // PATH_LENGTH_PART)
        label = None if (labels := self.label_of(x)) is None else labels[:count]
        latent = self.step.random(count, config.latent, device=x.latent.device, normal=True).to(x.latent.dtype)
        with self.drawn_noise(1) as generator:
            styles = generator.styles(latent, label)
            penalty, log = path_length_objective(self.step, config.regularisation, generator.synthesize, styles)
        self.log(**log)
        return {"adversarial": adversarial, "path_length": penalty}

    @property
    def objective(self) -> AdversarialConfig:
        """The adversarial objective of this step, with the chosen weights of the gradient penalties."""
        config, step = self.config, self.step
        batch_size = step.stage.optimisation.batch_size * step.world_size
        family = "r3gan" if config.adversarial.is_relativistic else config.network
        auto = default_gamma(family, math.sqrt(math.prod(config.data.size)), batch_size)
        falling = burn_in(step.index * batch_size, config.gamma_burn_in_images)
        r1, r2 = (
            falling * (given or (auto if name in config.chosen_penalties else 0.0))
            for name, given in (("r1", config.adversarial.r1), ("r2", config.adversarial.r2))
        )
        return replace(config.adversarial, r1=r1, r2=r2)

    def discriminate(self, x: Unlabelled[Tensor]) -> Discriminate:
        """Return the discriminator as a function of the images alone, which are of the classes of the batch."""
        d, label = discriminator_of(self, "d"), self.label_of(x)

        def with_label(image: Tensor) -> Scales:
            return d(image, label)

        return d if label is None else with_label

    def real(self, x: Unlabelled[Tensor]) -> Tensor:
        """Return the real images as the discriminator gets the generated ones."""
        if growth := self.growth:
            return real_images(x.image, len(self.generator.stages) - growth.levels, growth.fade)
        if self.config.compares_all_sizes:
            return packed(pyramid(x.image, len(self.generator.stages) + 1))
        return x.image

    def label_of(self, x: Unlabelled[Tensor]) -> Tensor | None:
        return x.label if self.config.data.class_names else None

    # Inference.

    def infer(self, *inputs: Tensor) -> Tensor:
        """Return the images for latents, labels if there are classes, and truncations if there are styles."""
        given = dict(zip((each.name for each in self.inputs()), inputs, strict=True))
        if growth := self.growth:
            growth.apply_to(self.generator)
        image: Tensor = self.generator(given["latent"], given.get("label"), given.get("truncation"))
        return image.clamp(-1, 1)

    def inputs(self) -> tuple[InputSpec, ...]:
        names = self.config.data.class_names
        return (
            InputSpec("latent", "latent", self.config.latent, "none"),
            *([InputSpec("label", "label", len(names), "none", names=names)] if names else []),
            *([InputSpec("truncation", "weight", 1, "none", optional=True)] if self.config.has_styles else []),
        )

    def spec(self) -> ModelSpec:
        data = self.config.data
        return ModelSpec(
            self.name,
            "generate",
            self.inputs(),
            data.channels,
            output_size=data.size,
            trained_with=features_trained_with(PerceptualConfig(), discriminator=self.config.discriminator),
        )

    def evaluation(self) -> EvaluationSpec:
        return EvaluationSpec(has_target=False)

    @classmethod
    def for_model(cls, spec: ModelSpec) -> Synthesis:
        latent, label = spec.find("latent"), spec.find("label")
        height, width = spec.output_size or (64, 64)
        names = label.names if label else ()
        data = UnlabelledConfig(
            channels=spec.out_channels,
            classes=label is not None,  # without names, they are those of the folder
            class_names=names,
            framing=SizeConfig(load_size=min(height, width), crop_size=(height, width)),
        )
        return cls(SynthesisConfig(latent=latent.channels if latent else 64, data=data))

    def inputs_and_target(self, x: Unlabelled[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        label = [x.label] if self.config.data.classes else []  # also if the names of the classes are not known
        truncation = [torch.ones(len(x.latent), 1).to(x.latent)] if self.config.has_styles else []
        return (x.latent, *label, *truncation), x.image

    def shown_images(self, x: Unlabelled[Tensor], output: Tensor) -> dict[str, Tensor]:
        """Return some generated images, always of the same latents, and a real one."""
        (latent, *others), real = self.inputs_and_target(x)
        # The numbers of a latent in another order are another latent of the same distribution.
        others_shown = {
            str(number + 1): self.infer(latent.roll(number, dims=1), *others) for number in range(1, COLUMNS)
        }
        return {"generated": output, **others_shown, "real": real}


def burn_in(images: int, burn_in_images: int) -> float:
    """Return the factor on γ after so many training images: half a cosine from 1; 1 without a burn-in."""
    if not burn_in_images:
        return 1.0
    falling = (1 + math.cos(math.pi * min(1.0, images / burn_in_images))) / 2
    return GAMMA_AFTER_BURN_IN + (1 - GAMMA_AFTER_BURN_IN) * falling
