"""Stylization: restyle a photograph by a style picture that the training has not seen.

A frozen VGG encodes both images. Adaptive instance normalisation gives the photograph's features the mean and the
deviation of the style picture's, and a decoder, which alone is trained, makes an image of them. Without a
discriminator: the image's features must be those that were decoded (content loss), and have the style picture's
statistics on four levels (style loss). AdaIN, Huang and Belongie 2017, https://arxiv.org/abs/1703.06868.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gan_tasks.datasets.augmentations import FramingConfig
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import Checked, Weight, Width
from gan_tasks.datasets.unpaired import FoundUnpaired, Unpaired, UnpairedConfig, UnpairedImages, open_unpaired
from gan_tasks.losses.style import content_loss, load_encoder, style_loss
from gan_tasks.networks.stylization import (
    ENCODER_CONVS,
    LEVELS,
    RGB,
    VGG,
    Decoder,
    Encoder,
    Statistics,
    Stylizer,
    decoder_widths,
    statistics,
    stylizer_spec,
    with_statistics,
)
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.progress import reported
from gan_tasks.spec import ModelSpec
from gan_tasks.tasks.base import EvaluationSpec, Losses, Outputs, Split, Stage, Task


@dataclass(frozen=True)
class StylizationConfig(Checked):
    """Options of stylization. A holds photographs and B style pictures. The defaults are the paper's recipe."""

    encoder: VGG = "vgg19"
    """Pretrained VGG that encodes the images and compares them. Its weights are saved with each checkpoint."""
    encoder_weights: Path | None = None
    """File with the VGG's weights, .safetensors or .pth with torchvision's keys, or the published vgg_normalised.pth;
    without it, torchvision's are downloaded once."""
    width: Width = 64
    """Channels of the decoder's last layers. Those before have two and four times as many."""
    content: Weight = 1.0
    """Weight of the content loss: mean squared difference between the features of the output and those that the
    decoder got."""
    style: Weight = 10.0
    """Weight of the style loss: mean squared differences between means and deviations of the features of the output
    and of the style picture, on four levels."""
    optimisation: OptimisationConfig = OptimisationConfig(batch_size=8, lr=1e-4, betas=(0.9, 0.999))
    schedule: ScheduleConfig = ScheduleConfig(schedule="inverse", epochs=16)
    data: UnpairedConfig = UnpairedConfig(
        a_channels=RGB,
        b_channels=RGB,
        framing=FramingConfig(load_size=512, keep_aspect=True, flip=False),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimisation.lr_d is not None:
            raise UserError("stylization has no discriminator: leave out --lr-d")


class Stylization(Task[StylizationConfig, Unpaired[Tensor]]):
    name = "stylization"
    Config = StylizationConfig

    def open_data(
        self, root: Path, split: Split, *, augment: bool, seed: int
    ) -> tuple[UnpairedImages, FoundUnpaired]:
        with reported("Reading every file once", "files") as on_progress:
            return open_unpaired(root, split, self.config.data, seed, augment, on_progress=on_progress)

    def build(self, *, for_training: bool = True) -> None:
        config, convs = self.config, ENCODER_CONVS[self.config.encoder]
        if (channels := {config.data.a_channels, config.data.b_channels}) != {RGB}:
            raise UserError(
                f"the encoder takes RGB, and the data have {max(channels - {RGB})} channels: leave out --a-channels "
                "and --b-channels"
            )
        if for_training and torch.get_default_device().type != "meta":  # else only counted, see size_limit.py
            with reported(f"Loading {config.encoder}", "bytes") as on_progress:
                encoder = load_encoder(config.encoder, config.encoder_weights, on_progress)
        else:
            encoder = Encoder(convs=convs)
        self.generators["g"] = Stylizer(encoder, Decoder(widths=decoder_widths(config.width), convs=convs))

    @property
    def network(self) -> Stylizer:
        generator = self.generators["g"]
        assert isinstance(generator, Stylizer)
        return generator

    def spec(self) -> ModelSpec:
        return replace(stylizer_spec(self.name, self.network), trained_with=(self.config.encoder,))

    def evaluation(self) -> EvaluationSpec:
        return EvaluationSpec(has_target=False)

    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        config = self.config
        return (
            Stage(
                name="reconstruction",
                images=config.schedule.epochs * dataset_size,
                optimisation=config.optimisation,
                schedule=config.schedule,
                update_order=("g",),
                best_by=None,
            ),
        )

    def generate(self, x: Unpaired[Tensor]) -> Outputs:
        with torch.no_grad():
            of_style = [statistics(features) for features in self.network.encode(x.b).values()]
            wanted = with_statistics(self.network.encode(x.a)[LEVELS[-1]], of_style[-1])
        output = self.network.decode(wanted, (x.a.shape[-2], x.a.shape[-1]))
        # The losses need the statistics of the style, which are computed once.
        levels = zip(LEVELS, of_style, strict=True)
        named = {f"{level}_{name}": each for level, of in levels for name, each in of._asdict().items()}
        return {"output": output, "features": wanted, **named}

    def d_losses(self, x: Unpaired[Tensor], y: Outputs) -> Losses:
        return {}

    def g_losses(self, x: Unpaired[Tensor], y: Outputs) -> Losses:
        features = self.network.encode(y["output"])
        of_style = [Statistics(*(y[f"{level}_{name}"] for name in Statistics._fields)) for level in LEVELS]
        return {
            "content": self.config.content * content_loss(features[LEVELS[-1]], y["features"]),
            "style": self.config.style * style_loss(features, of_style),
        }

    def infer(self, *images: Tensor) -> Tensor:
        image, style, style_strength = images
        restyled: Tensor = self.generators["g"](image, style, style_strength)
        return restyled.clamp(-1, 1)

    def inputs_and_target(self, x: Unpaired[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        return (x.a, x.b, torch.ones(len(x.a), 1, device=x.a.device)), x.b

    def shown_images(self, x: Unpaired[Tensor], output: Tensor) -> dict[str, Tensor]:
        return {"photograph": x.a, "style": x.b, "restyled": output}
