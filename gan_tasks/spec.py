"""What a model takes and gives, as one value.

The same `ModelSpec` stands in a run folder, in an ONNX file's metadata, on a loaded model, in the REST interface and
in what `inspect` prints. Export, test vectors, tiling, the runtime, evaluation and the pages read it: none of them
asks which task a model is of. Imports no torch and no numpy.

A model of noise → image has the input `latent` and an `output_size`; one of image + style → image has two images, of
which the second has a size of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

InputKind = Literal["image", "mask", "latent", "label"]
InputSize = Literal["any", "as first", "none"]
Use = Literal["translate", "upscale", "inpaint", "generate", "stylize"]

LARGEST_NUMBER = 4096
"""Of channels, scales and sizes: what is larger comes from a damaged or hostile file."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    name: such as "image", "mask", "sketch", "style", "latent", "label".
    kind: image: N×C×H×W in [-1, 1], in an ONNX file in [0, 1]. mask: N×1×H×W of 0 and 1. latent: N×L, drawn from a
        standard normal distribution. label: N×K, 1 at the class and 0 elsewhere.
    channels: C of an image, 1 of a mask, the length L of a latent, the number K of classes.
    size: any: H and W of its own. as first: those of the first image. none: a latent or a label has no H and W.
    optional: zeros stand for it where it is not given.
    """

    name: str
    kind: InputKind
    channels: int = 1
    size: InputSize = "as first"
    optional: bool = False

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"an input is called {self.name!r}: expected a name of letters, digits and underscores")
        if not 1 <= self.channels <= LARGEST_NUMBER:
            raise ValueError(f"the input {self.name} has {self.channels} channels: expected 1 to {LARGEST_NUMBER}")
        if self.is_spatial == (self.kind in ("latent", "label")):
            raise ValueError(f"the input {self.name} is a {self.kind} and its size is {self.size!r}")

    @property
    def is_spatial(self) -> bool:
        """Whether it has a height and a width."""
        return self.size != "none"


@dataclass(frozen=True)
class ModelSpec:
    """What a model takes and gives.

    task: the task that it was trained for.
    use: what people do with it. It chooses the page, the predictor and the command.
    inputs: in the order in which the network takes them.
    out_channels: of the image that it makes.
    scale: output pixels to an input pixel, along a side.
    size_multiple, minimum_size: the network takes heights and widths that are multiples of the one and at least the
        other, in pixels. What uses a model pads and crops, so that any size can be given.
    receptive_field: radius of the input that decides an output pixel, in pixels; where it is larger than matters in
        practice, what matters.
    output_size: (height, width) in pixels of the result, where no input decides it; None elsewhere.
    direction: which direction it goes, such as a-to-b, where one training learns several; else empty.
    directions: those that can be chosen when the model is loaded; empty where there is nothing to choose.

    Raises ValueError for values that contradict one another.
    """

    task: str
    use: Use
    inputs: tuple[InputSpec, ...]
    out_channels: int
    scale: int = 1
    size_multiple: int = 1
    minimum_size: int = 1
    receptive_field: int = 24
    output_size: tuple[int, int] | None = None
    direction: str = ""
    directions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("out_channels", "scale", "size_multiple", "minimum_size", "receptive_field"):
            least = 0 if name == "receptive_field" else 1
            if not least <= getattr(self, name) <= LARGEST_NUMBER:
                raise ValueError(f"{name} is {getattr(self, name)}: expected {least} to {LARGEST_NUMBER}")
        if self.output_size is not None and not all(1 <= side <= LARGEST_NUMBER for side in self.output_size):
            raise ValueError(f"output_size is {self.output_size}: expected sides of 1 to {LARGEST_NUMBER}")
        names = [each.name for each in self.inputs]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected inputs of different names, got {names}")
        first = next((each for each in self.inputs if each.is_spatial), None)
        if first is not None and (first.kind, first.size) != ("image", "any"):
            raise ValueError(f"the first input with a size is {first}: expected an image of any size")
        if (first is None) != (self.output_size is not None):
            raise ValueError("output_size is for models without an image among their inputs, and these need it")

    def __str__(self) -> str:
        taken = ", ".join(
            f"{each.name} ({each.kind}, {each.channels} {'channels' if each.is_spatial else 'values'})"
            for each in self.inputs
        )
        return f"{self.task}, {self.use}: {taken} → {self.out_channels} channels"

    @cached_property
    def image(self) -> InputSpec | None:
        """The first image, which decides the size of the result; None for a model that takes none."""
        return next((each for each in self.inputs if each.is_spatial), None)

    @property
    def in_channels(self) -> int:
        """Channels of the first image; those of the result for a model that takes none."""
        return self.out_channels if self.image is None else self.image.channels

    def find(self, name: str) -> InputSpec | None:
        """The input of that name."""
        return next((each for each in self.inputs if each.name == name), None)

    @property
    def runs_in_tiles(self) -> bool:
        """Whether an image may be run tile by tile: a single image is all that the model takes."""
        return len(self.inputs) == 1 and self.image is not None

    def output_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(channels, height, width) of the result for a first image of this size."""
        made = self.output_size or (height * self.scale, width * self.scale)
        return self.out_channels, *made


def spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    """For `json.dump`."""
    return asdict(spec)


def spec_from_json(content: Any) -> ModelSpec:
    """The reverse of `spec_to_json`. Raises ValueError, naming each field that does not fit."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(ModelSpec).validate_python(content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in error.errors())
        raise ValueError(wrong) from error
