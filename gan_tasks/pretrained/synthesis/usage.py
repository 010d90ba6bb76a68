"""How published networks of synthesis are used."""

from __future__ import annotations

from torch import Tensor, nn

from gan_tasks.losses.functional import Scales
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.pretrained.conversion import Usage
from gan_tasks.spec import InputSpec, ModelSpec


def generator_usage(generator: SynthesisGenerator) -> Usage:
    """Return the usage of a generator: a latent, a label and a truncation, if it has them, to an image in [-1, 1]."""
    inputs = [InputSpec("latent", "latent", generator.latent, "none")]
    if generator.classes:
        inputs.append(InputSpec("label", "label", generator.classes, "none"))
    if generator.truncates:
        inputs.append(InputSpec("truncation", "weight", 1, "none", optional=True))
    spec = ModelSpec(
        "synthesis", "generate", tuple(inputs), generator.out_channels, output_size=generator.output_size
    )
    return Usage(spec, next(iter(generator.base.parameters())).shape[0])


class ClassLogits(nn.Module):
    """A discriminator that returns its logits only, N×1×h×w, of images N×C×H×W and labels N×classes."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        scales: Scales = self.discriminator(image, label)
        return scales[-1][-1]
