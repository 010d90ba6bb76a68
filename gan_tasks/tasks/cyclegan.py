"""CycleGAN: translate between two kinds of images, learned from a folder of each, without pairs.

Two generators turn A into B and B into A. A discriminator for each side classifies real and generated images of
that side. An image that is translated and translated back must equal the original (Zhu et al. 2017,
https://arxiv.org/abs/1703.10593).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import Range, Weight
from gan_tasks.datasets.unpaired import FoundUnpaired, Unpaired, UnpairedConfig, UnpairedImages, open_unpaired
from gan_tasks.losses.adversarial import d_objective, g_objective
from gan_tasks.losses.functional import AdversarialConfig, l1
from gan_tasks.networks.blocks import Norm
from gan_tasks.networks.translation import TranslationNetwork
from gan_tasks.progress import reported
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import EvaluationSpec, Losses, Outputs, Split, Stage, Task
from gan_tasks.tasks.shared.image_pool import ImagePool
from gan_tasks.tasks.shared.pretrained_features import discriminator_of
from gan_tasks.tasks.translation import (
    MODERN_ADVERSARIAL,
    MODERN_OPTIMISATION,
    Direction,
    TranslationConfig,
    add_discriminators,
    checked_direction,
    discriminator_input,
    make_generator,
    trained_with,
    with_projected_discriminator,
)


@dataclass(frozen=True)
class CycleGANConfig(TranslationConfig):
    """Options of CycleGAN. The defaults are the paper's recipe."""

    direction: Direction = "a-to-b"
    """The direction in which the model is used by default. Both directions are learned."""
    generator: TranslationNetwork = "resnet-9"
    """Architecture of both generators. Each takes any image size."""
    norm: Norm = "instance"
    """Normalisation in generators and discriminators."""
    dropout: bool = False
    """Dropout in the generators during training."""
    cycle: Weight = 10.0
    """Weight of the cycle loss: mean absolute difference between an image and its translation back."""
    identity: Weight = 5.0
    """Weight of the identity loss: mean absolute difference between an image of a generator's target side and its
    output for that image. 0 turns it off."""
    pool_images: Annotated[int, Range(0, 1_000_000)] = 50
    """Size of the image pool of each side. It passes generated images of earlier steps to the discriminator. 0 turns
    it off."""
    adversarial: AdversarialConfig = AdversarialConfig(adversarial="lsgan")
    data: UnpairedConfig = UnpairedConfig()


MODERN = CycleGANConfig(
    d_norm="none", pool_images=0, adversarial=MODERN_ADVERSARIAL, optimisation=MODERN_OPTIMISATION
)
PROJECTED = with_projected_discriminator(MODERN)


class CycleGAN(Task[CycleGANConfig, Unpaired[Tensor]]):
    name = "cyclegan"
    Config = CycleGANConfig
    presets = MappingProxyType({"modern": MODERN, "projected": PROJECTED})
    directions = ("a-to-b", "b-to-a")

    def open_data(
        self, root: Path, split: Split, *, augment: bool, seed: int
    ) -> tuple[UnpairedImages, FoundUnpaired]:
        with reported("Reading every file once", "files") as on_progress:
            return open_unpaired(root, split, self.config.data, seed, augment, on_progress=on_progress)

    @property
    def direction(self) -> str:
        return self.config.direction

    def in_direction(self, direction: str) -> CycleGAN:
        return CycleGAN(replace(self.config, direction=checked_direction(direction)))

    def build(self, *, for_training: bool = True) -> None:
        config = self.config
        if for_training and config.identity and config.data.a_channels != config.data.b_channels:
            raise UserError(
                f"A has {config.data.a_channels} channels and B {config.data.b_channels}, and the identity loss "
                "compares them: give --identity 0, or the same number to --a-channels and --b-channels"
            )
        for direction in self.directions if for_training else (config.direction,):
            self.generators[direction] = make_generator(config, *self.in_direction(direction).channels())
        if for_training:
            add_discriminators(self, {"a": (config.data.a_channels,), "b": (config.data.b_channels,)})
        self.pools = {side: ImagePool(config.pool_images) for side in ("a", "b")}

    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        config = self.config
        return (
            Stage(
                name="adversarial" if config.gan else "reconstruction",
                images=config.schedule.epochs * dataset_size,
                optimisation=config.optimisation,
                schedule=config.schedule,
                update_order=("g", "d") if config.gan else ("g",),
                d_weight_clip=config.adversarial.clip_weights,
                best_by=None,
            ),
        )

    def generate(self, x: Unpaired[Tensor]) -> Outputs:
        a_to_b, b_to_a = self.generators["a-to-b"], self.generators["b-to-a"]
        fake_b, fake_a = a_to_b(x.a), b_to_a(x.b)
        return {"fake_b": fake_b, "back_a": b_to_a(fake_b), "fake_a": fake_a, "back_b": a_to_b(fake_a)}

    def d_losses(self, x: Unpaired[Tensor], y: Outputs) -> Losses:
        losses: Losses = {}
        for side, image in (("a", x.a), ("b", x.b)):
            real = discriminator_input(self.config, image)
            fake = self.pools[side].exchange(discriminator_input(self.config, y[f"fake_{side}"]), self.step)
            d = discriminator_of(self, side)
            own, log = d_objective(self.step, self.config.adversarial, d, real, fake, name=side)
            self.log(**log)
            losses |= own
        return losses

    def g_losses(self, x: Unpaired[Tensor], y: Outputs) -> Losses:
        config = self.config
        losses: Losses = {}
        for side, real, direction in (("a", x.a, "b-to-a"), ("b", x.b, "a-to-b")):
            back = y[f"back_{side}"]
            losses[f"cycle_{side}"] = config.cycle * l1(back, real)
            if config.gan:
                images = (discriminator_input(config, image) for image in (real, y[f"fake_{side}"]))
                d = discriminator_of(self, side)
                objective = g_objective(self.step, config.adversarial, d, *images, name=side)
                losses[f"{side}_adversarial"] = config.gan * objective
            if config.identity:
                losses[f"identity_{side}"] = config.identity * l1(self.generators[direction](real), real)
            if config.perceptual.perceptual:
                losses[f"perceptual_{side}"] = config.perceptual.perceptual * self.auxiliary["perceptual"](back, real)
        return losses

    def infer(self, *images: Tensor) -> Tensor:
        (source,) = images
        image: Tensor = self.generators[self.config.direction](source)
        return image

    def channels(self) -> tuple[int, int]:
        """Return the channels of input and output, in the direction of the task."""
        a, b = self.config.data.a_channels, self.config.data.b_channels
        return (a, b) if self.config.direction == "a-to-b" else (b, a)

    def spec(self) -> ModelSpec:
        in_channels, out_channels = self.channels()
        return ModelSpec(
            self.name,
            "translate",
            (InputSpec("image", "image", in_channels, "any"),),
            out_channels,
            direction=self.config.direction,
            directions=self.directions,
            trained_with=trained_with(self.config),
            **self.sizes()._asdict(),
        )

    def evaluation(self) -> EvaluationSpec:
        return EvaluationSpec(has_target=False)

    def inputs_and_target(self, x: Unpaired[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        source, target = (x.a, x.b) if self.config.direction == "a-to-b" else (x.b, x.a)
        return (source,), target

    def shown_images(self, x: Unpaired[Tensor], output: Tensor) -> dict[str, Tensor]:
        y = self.generate(x)
        from_a = {"A": x.a, "A to B": y["fake_b"], "A to B to A": y["back_a"]}
        return from_a | {"B": x.b, "B to A": y["fake_a"], "B to A to B": y["back_b"]}

    def state(self) -> dict[str, Tensor]:
        return {key: image for side, pool in self.pools.items() for key, image in pool.state(side).items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for side, pool in self.pools.items():
            pool.load_state(side, state)
