"""How published synthesis generators are used."""

from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.pretrained.conversion import Usage
from gan_tasks.spec import InputSpec, ModelSpec


def synthesis_usage(generator: SynthesisGenerator, width: int) -> Usage:
    """Return the usage of a generator that maps a latent to an image in [-1, 1].

    A generator with classes takes a label too, and one with a mean style takes an optional truncation.
    width: channels of the features that the image is made from.
    """
    return Usage(synthesis_spec(generator), width)


def synthesis_spec(generator: SynthesisGenerator) -> ModelSpec:
    """Return the specification of a generator of the frame: the inputs are the arguments of its `forward`."""
    inputs = [InputSpec("latent", "latent", generator.latent, "none")]
    if generator.classes:
        inputs.append(InputSpec("label", "label", generator.classes, "none"))
    if generator.truncates:
        inputs.append(InputSpec("truncation", "weight", 1, "none", optional=True))
    return ModelSpec(
        "synthesis", "generate", tuple(inputs), generator.out_channels, output_size=generator.output_size
    )
