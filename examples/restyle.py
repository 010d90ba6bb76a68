"""Image + style image → image in one file: the content's features get the statistics of the style's features.

Adaptive instance normalisation (Huang and Belongie 2017, https://arxiv.org/abs/1703.06868) on a small network that
learns together with its decoder, against a discriminator of style images. Content and style may have different sizes.
`spec` declares it, and export, the REST interface and the page (two uploads) read it from there.

    gan-tasks train restyle --task-module restyle.py --data DIR --out RUN
    gan-tasks serve RUN --task-module restyle.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gan_tasks.datasets.unpaired import FoundUnpaired, Unpaired, UnpairedConfig, UnpairedImages, open_unpaired
from gan_tasks.losses.adversarial import d_objective, g_objective
from gan_tasks.losses.functional import AdversarialConfig, l1
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import pad_to_multiple
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator
from gan_tasks.networks.translation import resnet
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import EvaluationSpec, Losses, Outputs, Split, Stage, Task, known_channels


@dataclass(frozen=True)
class RestyleConfig:
    """Options of the example task. The folder A holds content images, the folder B style images."""

    width: int = 32
    """Channels of the first layers of generator and discriminator."""
    content: float = 1.0
    """Weight of the difference between the features of the output and the features that the decoder got."""
    style: float = 10.0
    """Weight of the difference between the feature statistics of output and style image."""
    gan: float = 0.1
    """Weight of the adversarial loss."""
    adversarial: AdversarialConfig = AdversarialConfig(adversarial="hinge")
    optimisation: OptimisationConfig = OptimisationConfig(batch_size=4, lr=1e-4)
    schedule: ScheduleConfig = ScheduleConfig(schedule="constant", epochs=100)
    data: UnpairedConfig = UnpairedConfig()


class Restyle(Task[RestyleConfig, Unpaired[Tensor]]):
    name = "restyle"
    summary = "give an image the style of another"
    Config = RestyleConfig

    def open_data(
        self, root: Path, split: Split, *, augment: bool, seed: int
    ) -> tuple[UnpairedImages, FoundUnpaired]:
        return open_unpaired(root, split, self.config.data, seed, augment)

    def build(self, *, for_training: bool = True) -> None:
        data, width = self.config.data, self.config.width
        known_channels(data.a_channels, data.b_channels)
        # Without normalisation, which would remove the statistics that carry the style. Both images are encoded by
        # one stem, so that the style image is read with the content's channels.
        self.generators["g"] = resnet(data.a_channels, data.b_channels, width=width, blocks=2, norm="none")
        if for_training:
            self.discriminators["d"] = MultiScaleDiscriminator(
                lambda: PatchDiscriminator(data.b_channels, width=width, layers=2, norm="none"), scales=1
            )

    def spec(self) -> ModelSpec:
        data = self.config.data
        inputs = (
            InputSpec("image", "image", data.a_channels, "any"),
            InputSpec("style", "image", data.b_channels, "any"),
        )
        return ModelSpec(self.name, "stylize", inputs, data.b_channels, **self.sizes()._asdict())

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

    def generate(self, x: Unpaired[Tensor]) -> Outputs:
        mixed = self.restyled(x.a, x.b)
        return {"features": mixed, "fake": self.decode(mixed)}

    def d_losses(self, x: Unpaired[Tensor], y: Outputs) -> Losses:
        losses, log = d_objective(self.step, self.config.adversarial, self.discriminators["d"], x.b, y["fake"])
        self.log(**log)
        return losses

    def g_losses(self, x: Unpaired[Tensor], y: Outputs) -> Losses:
        config, fake = self.config, y["fake"]
        features, wanted = self.encode(fake), y["features"]
        statistics = zip(mean_and_deviation(features), mean_and_deviation(self.encode(x.b)), strict=True)
        objective = g_objective(self.step, config.adversarial, self.discriminators["d"], x.b, fake)
        return {
            "content": config.content * l1(features, wanted),
            "style": config.style * torch.stack([l1(ours, theirs) for ours, theirs in statistics]).sum(),
            "adversarial": config.gan * objective,
        }

    def infer(self, *images: Tensor) -> Tensor:
        content, style = (self.padded(image) for image in images)
        height, width = images[0].shape[-2:]
        return self.decode(self.restyled(content, style))[..., :height, :width]

    def inputs_and_target(self, x: Unpaired[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        return (x.a, x.b), x.b

    # The generator in two parts: stem and downs encode; body, ups and head decode.

    @property
    def network(self) -> Generator:
        generator = self.generators["g"]
        assert isinstance(generator, Generator)
        return generator

    def padded(self, image: Tensor) -> Tensor:
        return pad_to_multiple(image, self.network.size_multiple, self.network.minimum_size)

    def encode(self, image: Tensor) -> Tensor:
        x: Tensor = self.network.stem(image)
        for down in self.network.downs:
            x = down(x)
        return x

    def restyled(self, content: Tensor, style: Tensor) -> Tensor:
        """Return the content's features with mean and standard deviation of the style's features, per channel."""
        features = self.encode(content)
        mean, deviation = mean_and_deviation(features)
        wanted_mean, wanted_deviation = mean_and_deviation(self.encode(style))
        return (features - mean) / deviation * wanted_deviation + wanted_mean

    def decode(self, x: Tensor) -> Tensor:
        x = self.network.body(x)
        for up in self.network.ups:
            x = up(x)
        image: Tensor = self.network.head(x)
        return image


def mean_and_deviation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of N×C×H×W features over H and W, each N×C×1×1."""
    mean = features.mean(dim=(2, 3), keepdim=True)
    return mean, ((features - mean).square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()
