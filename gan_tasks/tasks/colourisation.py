"""Colourisation: turn gray photographs into colour photographs, learned from colour photographs.

A U-Net predicts the chroma of a gray image; the luma of its output is exactly the input. The first stage learns the
chroma by its distance to that of the photograph. This alone teaches the mean of all possible colours, which is
grayish. So strong colours count more in the distance (Zhang et al. 2016, https://arxiv.org/abs/1603.08511), and the
second stage adds an adversarial loss. One command runs both stages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from gan_tasks.datasets.colourisation import (
    GRAY,
    RGB,
    ColourisationDataConfig,
    ColourPhotographs,
    FoundColourPhotographs,
    open_colourisation,
)
from gan_tasks.datasets.paired import Pair
from gan_tasks.datasets.ranges import Checked, Count, LearningRate, Weight, Width
from gan_tasks.losses.adversarial import d_objective, g_objective
from gan_tasks.losses.functional import AdversarialConfig
from gan_tasks.losses.perceptual import PerceptualConfig
from gan_tasks.metrics.feature_networks.lite0 import EfficientNetLite0
from gan_tasks.metrics.features import published_lite0
from gan_tasks.networks.colourisation.chroma import chroma_of
from gan_tasks.networks.colourisation.colouriser import WIDTH, Colouriser
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator
from gan_tasks.networks.layers import at_least_float32
from gan_tasks.networks.projected import ProjectedDiscriminator
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.progress import reported
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import Losses, Outputs, Split, Stage, Task
from gan_tasks.tasks.shared.pretrained_features import (
    add_pretrained_networks,
    discriminator_of,
    features_trained_with,
)

STRONG_CHROMA = 0.1
"""A chroma of this magnitude has the weight 1 + `strong_colours` in the loss. Mean of photographs: 0.05 to 0.1."""


@dataclass(frozen=True)
class ColourisationConfig(Checked):
    """Options of colourisation. The defaults suit a few hundred photographs and a CPU."""

    pretrained: bool = True
    """Begin with the weights of EfficientNet-Lite0, learned on ImageNet, in the encoder, and train the decoder only.
    Without, the encoder is trained from random weights, which takes many more photographs."""
    width: Width = WIDTH
    """Channels of the decoder at 1/4 of the size. Without --pretrained, those of the encoder are scaled alike."""
    discriminator: Literal["patch", "projected"] = "projected"
    """Type of discriminator. patch classifies patches of 70×70 pixels, and projected fixed random mixtures of four
    layers of EfficientNet-Lite0."""
    d_width: Width = 32
    """Channels of a discriminator's first layer."""
    chroma: Weight = 20.0
    """Weight of the mean absolute difference to the chroma of the photograph, in [-0.5, 0.5]."""
    strong_colours: Weight = 1.0
    """How much more strong colours count in this difference than gray: a chroma of 0.1 counts 1 + this number."""
    gan: Weight = 0.2
    """Weight of the adversarial loss."""
    adversarial_epochs: Count = 10
    """Epochs of the adversarial stage. 0 leaves this stage out."""
    adversarial_lr: LearningRate = 2e-4
    """Learning rate of the adversarial stage, which falls to 0 over its second half."""
    adversarial: AdversarialConfig = AdversarialConfig(adversarial="hinge", d_augment=("translation", "cutout"))
    perceptual: PerceptualConfig = PerceptualConfig()
    optimisation: OptimisationConfig = OptimisationConfig(
        batch_size=8, lr=1e-3, betas=(0.5, 0.99), ema_halflife_images=1000
    )
    schedule: ScheduleConfig = ScheduleConfig(epochs=8, decay_epochs=4)
    data: ColourisationDataConfig = ColourisationDataConfig()


class Colourisation(Task[ColourisationConfig, Pair[Tensor]]):
    name = "colourisation"
    Config = ColourisationConfig
    default_preset = "photographs"

    def open_data(
        self, root: Path, split: Split, *, augment: bool, seed: int
    ) -> tuple[ColourPhotographs, FoundColourPhotographs]:
        with reported("Reading every file once", "files") as on_progress:
            return open_colourisation(root, split, self.config.data, seed, augment, on_progress=on_progress)

    def build(self, *, for_training: bool = True) -> None:
        config = self.config
        scale = 1.0 if config.pretrained else config.width / WIDTH
        colouriser = self.generators["g"] = Colouriser(width=config.width, encoder_scale=scale)
        if config.pretrained:
            colouriser.freeze_encoder(published_encoder() if for_training else None)
        if for_training:
            if config.adversarial_epochs:
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
        )
        if not epochs:
            return (reconstruction,)
        adversarial = Stage(
            name="adversarial",
            images=epochs * dataset_size,
            optimisation=replace(config.optimisation, lr=config.adversarial_lr),
            schedule=ScheduleConfig(epochs=epochs, decay_epochs=epochs // 2),
            d_weight_clip=config.adversarial.clip_weights,
            best_by=None,  # vivid colours increase the distance to the target
        )
        return reconstruction, adversarial

    def generate(self, x: Pair[Tensor]) -> Outputs:
        return {"fake": self.generators["g"](x.source)}

    def d_losses(self, x: Pair[Tensor], y: Outputs) -> Losses:
        d, adversarial = discriminator_of(self, "d"), self.config.adversarial
        losses, log = d_objective(self.step, adversarial, d, x.target, y["fake"])
        self.log(**log)
        return losses

    def g_losses(self, x: Pair[Tensor], y: Outputs) -> Losses:
        config, fake = self.config, y["fake"]
        losses = {"chroma": config.chroma * chroma_loss(fake, x.target, config.strong_colours)}
        if "d" in self.step.stage.update_order:
            # No condition beside the image: its luma is the gray image.
            d = discriminator_of(self, "d")
            losses["adversarial"] = config.gan * g_objective(self.step, config.adversarial, d, x.target, fake)
        if config.perceptual.perceptual:
            losses["perceptual"] = config.perceptual.perceptual * self.auxiliary["perceptual"](fake, x.target)
        return losses

    def infer(self, *images: Tensor) -> Tensor:
        (gray,) = images
        image: Tensor = self.generators["g"](gray)
        return image

    def spec(self) -> ModelSpec:
        config = self.config
        features = features_trained_with(
            config.perceptual, discriminator=config.discriminator if config.adversarial_epochs else ""
        )
        encoder = (ProjectedDiscriminator.network,) if config.pretrained else ()
        return ModelSpec(
            self.name,
            "translate",
            (InputSpec("image", "image", GRAY, "any"),),
            RGB,
            trained_with=tuple(dict.fromkeys((*features, *encoder))),
            **self.sizes()._asdict(),
        )

    def inputs_and_target(self, x: Pair[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        return (x.source,), x.target


def published_encoder() -> EfficientNetLite0:
    return published_lite0(needed_by="the pretrained encoder", otherwise="--no-pretrained --discriminator patch")


def make_discriminator(config: ColourisationConfig) -> nn.Module:
    if config.discriminator == "projected":
        return ProjectedDiscriminator(width=config.d_width)
    return MultiScaleDiscriminator(lambda: PatchDiscriminator(RGB, width=config.d_width, norm="none", spectral=True))


def chroma_loss(fake: Tensor, real: Tensor, strong_colours: float) -> Tensor:
    """Return the mean absolute difference of the chroma of N×3×H×W in [-1, 1], weighted by the true chroma.

    strong_colours: weight of a true chroma of the magnitude STRONG_CHROMA, beside 1 for gray.
    """
    of_fake, of_real = (chroma_of(at_least_float32(image)) for image in (fake, real))
    magnitude = of_real.square().sum(dim=1, keepdim=True).sqrt()
    weights = 1 + strong_colours * magnitude / STRONG_CHROMA
    return (weights * (of_fake - of_real).abs()).mean()
