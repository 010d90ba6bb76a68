"""The specification of a model: its inputs, its output and its sizes.

The same `ModelSpec` is in a run folder, in the metadata of an ONNX file, on a loaded model, in the REST interface and
in the output of `inspect`. Export, test vectors, tiling, the runtime, evaluation and the pages read it instead of the
name of the task. This module imports neither torch nor numpy.

A model of noise → image has the input `latent` and an `output_size`. A model of image + style → image has two image
inputs, of which the second has its own size, and may have a weight, the style strength.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from gan_tasks.datasets.errors import counted

InputKind = Literal["image", "mask", "latent", "label", "weight"]
InputSize = Literal["any", "as first", "none"]
Use = Literal["translate", "upscale", "inpaint", "generate", "stylize"]

LARGEST_NUMBER = 4096
"""Limit of channels, scales and sizes. Larger numbers come from a damaged or malicious file."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    name: a name such as "image", "mask", "sketch", "style", "latent", "label", "style_strength".
    kind: image: N×C×H×W in [-1, 1], in an ONNX file in [0, 1]. mask: N×1×H×W of 0 and 1. latent: N×L, drawn from a
        standard normal distribution. label: N×K, 1 at the class and 0 elsewhere. weight: N×K numbers from 0 to 1, how
        much of an effect there is.
    channels: C of an image, 1 of a mask, the length L of a latent, the number K of classes or of weights.
    size: "any": its own H and W. "as first": H and W of the first image. "none": latents, labels and weights have no
        H and W.
    optional: whether it may be left out. Zeros replace it, and ones a weight.
    names: of a label, the names of its classes in their order; empty if they have none.
    """

    name: str
    kind: InputKind
    channels: int = 1
    size: InputSize = "as first"
    optional: bool = False
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(
                f"the name of an input is {self.name!r}: expected a name of letters, digits and underscores"
            )
        if not 1 <= self.channels <= LARGEST_NUMBER:
            raise ValueError(f"the input {self.name} has {self.channels} channels: expected 1 to {LARGEST_NUMBER}")
        if self.is_spatial == (self.kind in ("latent", "label", "weight")):
            raise ValueError(
                f"the input {self.name} is a {self.kind} and its size is {self.size!r}: "
                "expected 'none' for latents, labels and weights alone"
            )
        if self.names and (self.kind != "label" or len(set(self.names)) != self.channels):
            raise ValueError(
                f"the input {self.name} is a {self.kind} of {self.channels} with the names {', '.join(self.names)}: "
                "expected a different name for each class of a label"
            )

    @property
    def is_spatial(self) -> bool:
        """Whether the input has a height and a width."""
        return self.size != "none"


@dataclass(frozen=True)
class ModelSpec:
    """The specification of a model.

    task: the name of the task that it was trained for.
    use: what the model is used for. It selects the page, the predictor and the command.
    inputs: the inputs, in the order of the network's arguments.
    out_channels: channels of the output image.
    scale: output pixels per input pixel, along each side.
    size_multiple, minimum_size: the network accepts heights and widths that are multiples of `size_multiple` and at
        least `minimum_size`, in pixels. The runtime pads and crops images of other sizes.
    fixed_size: whether the network accepts images of `minimum_size` × `minimum_size` pixels alone. The runtime pads
        smaller images.
    receptive_field: receptive-field radius in pixels: how far an input pixel influences the output. A limit that
        suffices in practice, if the theoretical radius is larger.
    global_statistics: whether the network uses means over the whole image, as instance norm, group norm and channel
        attention do. Tiles then give slightly different values.
    tile_multiple: tiles of an image start at multiples of this, in pixels, so that attention windows and downsampling
        grids are at the same places in each tile. The network accepts other sizes, unlike with `size_multiple`.
    output_size: (height, width) of the output in pixels, if no input determines it; else None.
    direction: the direction of the model, such as a-to-b, if one training learns several directions; else empty.
    directions: all directions that the training learned; empty if there is only one.
    trained_with: the pretrained networks whose features a loss or a discriminator used, such as "vgg19" and
        "efficientnet-lite0". Metrics by such features favour the model.

    Raises ValueError for inconsistent values.
    """

    task: str
    use: Use
    inputs: tuple[InputSpec, ...]
    out_channels: int
    scale: int = 1
    size_multiple: int = 1
    minimum_size: int = 1
    fixed_size: bool = False
    receptive_field: int = 24
    global_statistics: bool = False
    tile_multiple: int = 1
    output_size: tuple[int, int] | None = None
    direction: str = ""
    directions: tuple[str, ...] = ()
    trained_with: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("out_channels", "scale", "size_multiple", "minimum_size", "receptive_field", "tile_multiple"):
            least = 0 if name == "receptive_field" else 1
            if not least <= getattr(self, name) <= LARGEST_NUMBER:
                raise ValueError(f"{name} is {getattr(self, name)}: expected {least} to {LARGEST_NUMBER}")
        if self.output_size is not None and not all(1 <= side <= LARGEST_NUMBER for side in self.output_size):
            raise ValueError(f"output_size is {self.output_size}: expected sides of 1 to {LARGEST_NUMBER}")
        names = [each.name for each in self.inputs]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected one or more inputs with different names, got {names}")
        first = next((each for each in self.inputs if each.is_spatial), None)
        if first is not None and (first.kind, first.size) != ("image", "any"):
            raise ValueError(f"the first input with a size is {first}: expected an image of any size")
        if (first is None) != (self.output_size is not None):
            raise ValueError("expected output_size for models without an image input, and only for these")
        if self.fixed_size and (first is None or self.minimum_size % self.size_multiple):
            raise ValueError(
                "a fixed size needs an image input, and a minimum_size that is a multiple of size_multiple"
            )

    def __str__(self) -> str:
        taken = ", ".join(
            f"{each.name} ({each.kind}, {counted(each.channels, 'channel' if each.is_spatial else 'value')})"
            for each in self.inputs
        )
        size = f" of {self.output_size[0]}×{self.output_size[1]} pixels" if self.output_size else ""
        scale = f", scale {self.scale}" if self.scale > 1 else ""
        return f"{self.task}, {self.use}: {taken} → {counted(self.out_channels, 'channel')}{size}{scale}"

    @cached_property
    def image(self) -> InputSpec | None:
        """The first image input, which determines the size of the output; None for a model without image inputs."""
        return next((each for each in self.inputs if each.is_spatial), None)

    @property
    def in_channels(self) -> int:
        """Channels of the first image input, or of the output for a model without image inputs."""
        return self.out_channels if self.image is None else self.image.channels

    def find(self, name: str) -> InputSpec | None:
        """Return the input with a name, or None."""
        return next((each for each in self.inputs if each.name == name), None)

    @property
    def runs_in_tiles(self) -> bool:
        """Whether an image can be processed in tiles: only if a single image is the only input."""
        return len(self.inputs) == 1 and self.image is not None

    def output_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return (channels, height, width) of the output for a first image of this size."""
        size = self.output_size or (height * self.scale, width * self.scale)
        return self.out_channels, *size


def spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    """Convert a specification to JSON data, for `json.dump`."""
    return asdict(spec)


def spec_from_json(content: Any) -> ModelSpec:
    """Convert the output of `spec_to_json` back. Raises ValueError, which names each invalid field."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(ModelSpec).validate_python(content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in error.errors())
        raise ValueError(wrong) from error
