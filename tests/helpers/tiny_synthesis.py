"""Small generators of the synthesis frame with random weights, as loaded models."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.export.models.torch_model import TorchModel
from gan_tasks.networks.synthesis.frame import Mapping, Stage, SynthesisGenerator
from gan_tasks.spec import InputSpec, ModelSpec

LATENT, STYLE = 6, 5


class MlpMapping(Mapping):
    """Latent → ReLU → style, with a mean of styles."""

    def __init__(self, classes: int = 0) -> None:
        super().__init__(LATENT, classes)
        self.style_length = STYLE
        self.layers = nn.Sequential(nn.Linear(LATENT + classes, 16), nn.LeakyReLU(0.2), nn.Linear(16, STYLE))
        self.register_buffer("average", torch.full((STYLE,), 0.1))

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        style: Tensor = self.layers(super().forward(latent, label))
        return style


class LinearBase(nn.Module):
    """The first style → features 4×4; styles: how many it uses."""

    def __init__(self, length: int, channels: int, styles: int) -> None:
        super().__init__()
        self.dense, self.styles = nn.Linear(length, channels * 16), styles

    def forward(self, style: Tensor) -> Tensor:
        features: Tensor = self.dense(style).unflatten(1, (-1, 4, 4))
        return features


class StyledStage(Stage):
    """Enlarges twofold and scales the channels by its style."""

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__()
        self.styles = styles
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.affine = nn.Linear(STYLE, channels) if styles else None

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        x = functional.leaky_relu(self.conv(functional.interpolate(x, scale_factor=2)), 0.2)
        return x if self.affine is None else x * (1 + self.affine(styles[:, 0]))[..., None, None]


class ToRgb(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 3, 1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return torch.tanh(self.conv(x))


def tiny_generator(*, mapped: bool = True, classes: int = 0, stages: int = 2, seed: int = 0) -> SynthesisGenerator:
    """A generator of 4·2^stages pixels, with a mapping network (L = stages + 1) or without (L = 1)."""
    torch.manual_seed(seed)
    mapping = MlpMapping(classes) if mapped else Mapping(LATENT, classes)
    side = 4 << stages
    generator = SynthesisGenerator(
        mapping=mapping,
        base=LinearBase(mapping.style_length, 8, styles=int(mapped)),
        stages=[StyledStage(8, styles=int(mapped)) for _ in range(stages)],
        to_rgb=[ToRgb(8)],
        rgb="last",
        output_size=(side, side),
        style_count=stages + 1 if mapped else 1,
    )
    with torch.no_grad():  # PyTorch's initial weights make images that are all alike
        for name, weight in generator.named_parameters():
            weight.mul_(4 if "affine" in name else 2)
    return generator


class FrameModel(TorchModel):
    """A generator of the frame as a loaded model."""

    def __init__(self, generator: SynthesisGenerator, names: tuple[str, ...] = ()) -> None:
        inputs = [InputSpec("latent", "latent", generator.latent, "none")]
        if generator.classes:
            inputs.append(InputSpec("label", "label", generator.classes, "none", names=names))
        if generator.truncates:
            inputs.append(InputSpec("truncation", "weight", 1, "none", optional=True))
        self.spec = ModelSpec(
            "synthesis", "generate", tuple(inputs), generator.out_channels, output_size=generator.output_size
        )
        self.title = "tiny"
        self.start(InOrder(generator, [each.name for each in inputs]), "cpu", "eval")

    def version(self) -> str:
        return "sha256:0"


class InOrder(nn.Module):
    """Passes inputs in the order of the spec by their names."""

    def __init__(self, generator: SynthesisGenerator, names: list[str]) -> None:
        super().__init__()
        self.generator, self.names = generator, names

    def forward(self, *inputs: Tensor) -> Tensor:
        image: Tensor = self.generator(**dict(zip(self.names, inputs, strict=True)))
        return image


def tiny_model(*, names: tuple[str, ...] = (), mapped: bool = True, classes: int = 0, stages: int = 2) -> FrameModel:
    return FrameModel(tiny_generator(mapped=mapped, classes=classes, stages=stages), names)
