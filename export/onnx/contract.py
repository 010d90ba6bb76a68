"""The contract of an exported model in words, for the file itself, `inspect` and people. Imports no torch.

What it says follows from the `ModelSpec`: names and shapes, values, the meaning of masks, and which sizes fit.
"""

from __future__ import annotations

from collections.abc import Iterator

from gan_tasks.spec import InputSpec, ModelSpec

OUTPUT = "output"
"""Name of the graph's output. ONNX does not allow it to be that of an input."""
BATCH = "batch"
COLOURS = {1: "gray", 2: "gray with alpha", 3: "RGB", 4: "RGB with alpha"}

Axes = tuple[str | int, ...]
"""The name of each free axis of a tensor, and the length of each fixed one."""


def input_axes(spec: ModelSpec, given: InputSpec) -> Axes:
    """Return the axes of an input: those of the first image are height and width, those of others have their name."""
    if not given.is_spatial:
        return BATCH, given.channels
    if spec.fixed_size:
        return BATCH, given.channels, spec.minimum_size, spec.minimum_size
    prefix = f"{given.name}_" if given.size == "any" and given is not spec.image else ""
    return BATCH, given.channels, f"{prefix}height", f"{prefix}width"


def output_axes(spec: ModelSpec) -> Axes:
    """Return the axes of the output, such as 4*height."""
    if spec.fixed_size:
        return BATCH, *spec.output_shape(spec.minimum_size, spec.minimum_size)
    times = f"{spec.scale}*" if spec.scale > 1 else ""
    return BATCH, spec.out_channels, *(spec.output_size or (f"{times}height", f"{times}width"))


def input_text(spec: ModelSpec, given: InputSpec) -> str:
    """Return what an input holds."""
    shape = shape_text(input_axes(spec, given))
    sizes = f"; {sizes_text(spec)}"
    default = "ones for the full effect" if given.kind == "weight" else "zeros for none"
    optional = f"; give {default}" if given.optional else ""
    return f"{shape}, float32, {values_text(spec, given)}{sizes if given.size == 'any' else ''}{optional}"


def sizes_text(spec: ModelSpec) -> str:
    """Return which sizes of images fit."""
    if spec.fixed_size:
        return "the network has this size only"
    return f"height and width are multiples of {spec.size_multiple} and at least {spec.minimum_size}"


def values_text(spec: ModelSpec, given: InputSpec) -> str:
    match given.kind:
        case "image":
            return f"values in [0, 1]{colours_text(given.channels)}"
        case "mask" if spec.use == "inpaint" and not given.optional:
            return "1 = masked (to be filled), 0 = given"
        case "mask":
            return f"1 = {given.name}, 0 = none"
        case "latent":
            return "drawn from a standard normal distribution"
        case "label":
            names = f" ({', '.join(given.names)})" if given.names else ""
            return f"1 at the class{names}, 0 elsewhere"
        case "weight":
            return "from 0, no effect, to 1, the full effect"


def output_text(spec: ModelSpec) -> str:
    """Return what the output holds."""
    shape = shape_text(output_axes(spec))
    return f"{shape}, float32, values in [0, 1] up to rounding: clip them{colours_text(spec.out_channels)}"


def colours_text(channels: int) -> str:
    return f", {COLOURS[channels]}" if channels in COLOURS else f", {channels} channels"


def shape_text(axes: Axes) -> str:
    return " × ".join(map(str, axes))


def contract_lines(spec: ModelSpec) -> Iterator[str]:
    """Yield the contract: a line for each input, for the output, and for what a caller does."""
    for given in spec.inputs:
        yield f"input {given.name}: {input_text(spec, given)}"
    yield f"output {OUTPUT}: {output_text(spec)}"
    if spec.image is not None:
        other = "a smaller image" if spec.fixed_size else "an image of another size"
        yield (
            f"{other}: pad it at the bottom and on the right by reflection, masks too, and crop the "
            f"output to {'' if spec.scale == 1 else f'{spec.scale} times '}the size that the image had"
        )
    if spec.use == "inpaint":
        yield "the output is a whole image: take the masked pixels of it, and keep the given pixels of the image"


def doc_string(spec: ModelSpec, name: str, version: str) -> str:
    """Return the text that viewers of ONNX files show for the model."""
    direction = f", {spec.direction}" if spec.direction else ""
    head = f"{name}: a model of {spec.task} (use: {spec.use}{direction}), exported by gan-tasks {version}."
    return "\n".join([head, *contract_lines(spec)])
