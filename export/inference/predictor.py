"""The predictor: it runs a model on pixels or files.

    read → run → mark → write

The command line, the web pages, the REST interface and videos share these steps. `USES` selects by `spec.use` how the
network is run. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gan_tasks import __version__
from gan_tasks.datasets.errors import UserError, enumerated
from gan_tasks.datasets.images import (
    COLOUR_KINDS,
    ColourKind,
    ImageError,
    Picture,
    Pixels,
    colour_kind,
    fit_channels,
    read,
    to_float,
    write,
)
from gan_tasks.datasets.masks.files import DEFAULT_THRESHOLD, check_threshold, fillable, to_mask
from gan_tasks.export.inference.inpaint import fill
from gan_tasks.export.inference.inpaint_options import InpaintOptions
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.provenance import xmp
from gan_tasks.export.inference.stylization.colour import with_colours_of
from gan_tasks.export.inference.stylization.memory import fitting, remark
from gan_tasks.export.inference.stylization.options import STYLE, StylizeOptions
from gan_tasks.export.inference.upscale import UpscaleOptions, finished, scaled_size
from gan_tasks.export.models.alpha import split_alpha, spread_colour
from gan_tasks.export.models.base import FloatImages, Model, from_float
from gan_tasks.export.models.inputs import as_array, as_mask, checked_image, checked_vector
from gan_tasks.export.models.resizing import resized
from gan_tasks.runs.json_file import parse_json
from gan_tasks.spec import InputSpec, ModelSpec, Use

Inputs = Mapping[str, Any]
"""Inputs by the names of the spec: images are H×W×C arrays of uint8 or uint16, or PIL images; masks are H×W arrays of
bool, True where masked, or pixels or PIL images that are white there; latents, labels and weights are vectors of
numbers."""
Source = Path | bytes
"""An encoded image or mask, or text: a seed or a JSON list for a latent, number or name of the class for a label, a
number from 0 to 1 for a weight."""


class Decode(Protocol):
    """Decodes an image, as `datasets.images.read` does and with its errors."""

    def __call__(
        self, source: Source, *, max_pixels: int | None = None, keep_profiles: Collection[ColourKind] = COLOUR_KINDS
    ) -> Picture: ...


SHOWN_NAMES = 20
"""Names of classes in a message. More are left out."""
LARGEST_VALUE = float(np.finfo(np.float32).max)
"""Largest value of a latent. NaN is not smaller."""


@dataclass(frozen=True)
class PredictOptions:
    """How to use a model. The command line, the web pages and the REST interface have the same options."""

    upscale: UpscaleOptions = UpscaleOptions()
    inpaint: InpaintOptions = InpaintOptions()
    stylize: StylizeOptions = StylizeOptions()
    on_step: Callable[[Pixels], None] | None = None
    """Takes the result of each step of a chain but the last, as soon as it is there."""

    def check(self, model: Model) -> None:
        """Raise UserError for options that do not apply to the model."""
        use = model.spec.use
        if use != "upscale" and self.upscale != UpscaleOptions():
            raise UserError(f"{model.title} does not upscale: leave out --scale and --blend-weight")
        if use != "inpaint" and self.inpaint != InpaintOptions():
            raise UserError(f"{model.title} does not inpaint: leave out the options of masks")
        if use != "stylize" and self.stylize != StylizeOptions():
            raise UserError(f"{model.title} does not stylize: leave out --preserve-colour")
        if self.stylize.preserve_colour and model.spec.out_channels != 3:
            raise UserError(f"{model.title} gives no RGB: leave out --preserve-colour")


@dataclass(frozen=True)
class MaskReading:
    """How to convert the pixels of a mask file to a mask. Raises UserError for a threshold out of 1 to 255."""

    threshold: int = DEFAULT_THRESHOLD
    """Lowest gray level that counts as white."""
    invert: bool = False
    """Whether black pixels are masked instead of white ones."""

    def __post_init__(self) -> None:
        check_threshold(self.threshold)


@dataclass(frozen=True)
class Opened:
    """Decoded inputs. image: the first image, with its colour space and how its file was encoded."""

    inputs: Inputs
    image: Picture | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user."""
        return () if self.image is None else self.image.notes


@dataclass(frozen=True)
class Prediction:
    """The result of a model.

    in_tiles: whether the model was run in tiles, because memory is limited.
    untouched: whether the result equals the input, because the mask is empty.
    notes: remarks for the user.
    """

    pixels: Pixels
    in_tiles: bool = False
    untouched: bool = False
    notes: tuple[str, ...] = field(default=())


class Predictor:
    """A loaded model that can be called with pixels, as `gan_tasks.load` returns it. `model` is the network."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __repr__(self) -> str:
        return repr(self.model)

    @property
    def spec(self) -> ModelSpec:
        """Inputs and outputs of the model."""
        return self.model.spec

    @property
    def title(self) -> str:
        return self.model.title

    def __call__(self, *inputs: Any, options: PredictOptions | None = None, **named: Any) -> Pixels:
        """Run the model on pixels.

        Args:
            inputs: in the order of the spec: images as H×W×C arrays of uint8 or uint16, or as PIL images, of any
                size; masks as H×W arrays of bool, True where masked, or as pixels or PIL images that are white there;
                latents and labels as arrays of numbers.
            named: inputs by name, such as `mask=...`.

        Returns an array, (s·H)×(s·W)×C' pixels of the type of the first image, or uint8 without an image input:
        `PIL.Image.fromarray` makes an image of 8 bits of it. EXIF orientation of PIL images is applied. Gray is
        converted to RGB if the model needs it. Alpha bypasses a model without alpha. Inpainting does not change
        unmasked pixels. Raises ImageError for channels, a type or a size that does not fit, and UserError for missing
        or unknown inputs.
        """
        names = [given.name for given in self.spec.inputs]
        if len(inputs) > len(names):
            raise UserError(f"{self.title} got {len(inputs)} inputs: expected {enumerated(names)}")
        return self.predict({**dict(zip(names, inputs, strict=False)), **named}, options).pixels

    # The steps: read, run, mark, write.

    def read(
        self,
        sources: Mapping[str, Source],
        *,
        max_pixels: int | None = None,
        masks: MaskReading | None = None,
        decode: Decode = read,
        keep_profiles: Collection[ColourKind] = COLOUR_KINDS,
    ) -> Opened:
        """Decode inputs by name. Raises UserError for an input that cannot be read or does not fit.

        Colours are converted to sRGB if the result cannot have the profile of the first image.
        keep_profiles: kinds of images whose profile the file of the result holds.
        """
        masks = masks or MaskReading()
        inputs: dict[str, NDArray[Any]] = {}
        image = None
        for given in self.spec.inputs:
            source = sources.get(given.name)
            if source is None:
                continue
            if not given.is_spatial:
                inputs[given.name] = read_vector(given, source)
                continue
            kept = kept_profiles(self.spec, given).intersection(keep_profiles)
            decoded = decode(source, max_pixels=max_pixels, keep_profiles=kept)
            if given is self.spec.image:
                image = decoded
            if given.kind == "image":
                inputs[given.name] = decoded.pixels
            else:
                name = source if isinstance(source, Path) else f"the {given.name}"
                inputs[given.name] = self._mask(given, decoded.pixels, inputs, masks, name)
        return Opened(inputs, image)

    def _mask(
        self, given: InputSpec, pixels: Pixels, inputs: Inputs, masks: MaskReading, name: object
    ) -> NDArray[np.bool_]:
        assert self.spec.image is not None  # a mask is as large as the first image
        size = inputs[self.spec.image.name].shape[:2] if self.spec.image.name in inputs else pixels.shape[:2]
        if given.optional:
            mask = to_mask(pixels, masks.threshold)
            if mask.shape != size:
                (height, width), (rows, columns) = mask.shape, size
                raise ImageError(f"{name}: is {width} × {height} px but its image is {columns} × {rows} px")
            return mask
        return fillable(pixels, size, threshold=masks.threshold, invert=masks.invert, name=name)

    def predict(self, inputs: Inputs, options: PredictOptions | None = None) -> Prediction:
        """Run the model. Raises the errors of `__call__`, and UserError for options that do not apply."""
        options = options or PredictOptions()
        options.check(self.model)
        inputs = {name: values for name, values in inputs.items() if values is not None}
        names = {given.name for given in self.spec.inputs}
        needed = {given.name for given in self.spec.inputs if not given.optional}
        if unknown := sorted(inputs.keys() - names):
            raise UserError(f"{self.title} does not take {enumerated(unknown)}: it takes {enumerated(sorted(names))}")
        if missing := sorted(needed - inputs.keys()):
            raise UserError(f"{self.title} needs {enumerated(missing)} too: it takes {enumerated(sorted(names))}")
        arrays = {each.name: as_array(each, inputs[each.name]) for each in self.spec.inputs if each.name in inputs}
        return USES[self.spec.use](self.model, arrays, options)

    def mark(
        self, prediction: Prediction | None = None, *, version: str = "", source: str = "", generated_from: str = ""
    ) -> bytes:
        """Return the XMP packet that marks an image as made by this model.

        version, source, generated_from: identify the model, its options and the input; see `provenance.Mark`.
        """
        return xmp(
            self.title,
            __version__,
            composite=self.spec.use == "inpaint",
            untouched=prediction is not None and prediction.untouched,
            model_version=version,
            source=source,
            generated_from=generated_from,
        )

    def write(
        self,
        path: Path,
        prediction: Prediction,
        *,
        like: Picture | None = None,
        version: str = "",
        source: str = "",
        generated_from: str = "",
    ) -> None:
        """Write the result with its mark, in the format of the suffix. An incomplete file is never left.

        like: the first image, see `Opened`. The result has its colour space and, in the same format, its coding.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        mark = self.mark(prediction, version=version, source=source, generated_from=generated_from)
        write(path, result_like(like, prediction.pixels), xmp=mark)


def kept_profiles(spec: ModelSpec, given: InputSpec) -> frozenset[ColourKind]:
    """Return the kinds of images for this input whose results have the same kind of colours, and so their profile.

    Inpainting keeps the values of unmasked pixels. Otherwise the image, the input and the output must be of one kind.
    A mask has no colours to convert, and an image beside the first one gives its profile to no result.
    """
    if given.kind == "mask" or (given is spec.image and spec.use == "inpaint"):
        return COLOUR_KINDS
    kinds = {colour_kind(channels) for channels in (given.channels, spec.out_channels)}
    return frozenset(kinds) if given is spec.image and len(kinds) == 1 else frozenset()


def result_like(image: Picture | None, pixels: Pixels) -> Picture:
    """Return pixels with the colour space and the coding of the image that they were made from, if there is one."""
    return Picture(pixels) if image is None else replace(image, pixels=pixels)


# How to run the network, by its use.


def predict_image(model: Model, inputs: Inputs, options: PredictOptions) -> Prediction:
    """Run a model of one or several images. The result has the alpha of the first image."""
    spec, image = model.spec, first_image(model, inputs)
    colour, alpha = split_alpha(image, spec.in_channels)
    fitted = fit_channels(colour, spec.in_channels)
    if not spec.runs_in_tiles:
        return Prediction(with_alpha(run_images(model, fitted, inputs), alpha))
    for number, output in enumerate(model.run_steps(fitted), start=1):
        if options.on_step is not None and number < len(model.steps):
            options.on_step(with_alpha(output, alpha))
    return Prediction(with_alpha(output, alpha), model.runs_in_tiles(*image.shape[:2]))


def with_alpha(output: Pixels, alpha: Pixels | None) -> Pixels:
    """Return gray or RGB pixels with the alpha of the image, resized; other pixels as they are."""
    if alpha is None or output.shape[2] not in (1, 3):
        return output
    return np.concatenate([output, resized(alpha, output.shape[:2], "bicubic")], axis=2)


def predict_upscaled(model: Model, inputs: Inputs, options: PredictOptions) -> Prediction:
    """Run a super-resolution model. Colours of fully transparent pixels do not bleed into visible pixels."""
    image = first_image(model, inputs)
    colour, alpha = split_alpha(image, model.spec.in_channels)
    if alpha is not None:
        colour = np.concatenate([spread_colour(colour, alpha), alpha], axis=2)
    assert model.spec.image is not None  # see `first_image`
    name = model.spec.image.name
    prediction = predict_image(model, {**inputs, name: image if alpha is None else colour}, options)
    return replace(prediction, pixels=finished(prediction.pixels, image, options.upscale))


def predict_inpainted(model: Model, inputs: Inputs, options: PredictOptions) -> Prediction:
    """Run an inpainting model."""
    image = first_image(model, inputs)
    masks = [
        as_mask(given, inputs[given.name], image.shape[:2]) if given.name in inputs else None
        for given in model.spec.inputs
        if given.kind == "mask"
    ]
    mask, sketch = (*masks, None)[:2]
    assert mask is not None  # the first mask of a model that inpaints is not optional
    filled = fill(model, image, mask, sketch, options.inpaint)
    return Prediction(filled.pixels, untouched=filled.pixels is image, notes=filled.notes)


def predict_generated(model: Model, inputs: Inputs, options: PredictOptions) -> Prediction:
    """Run a model of a latent, and optionally a label; return 8-bit pixels."""
    output = model.run(*(network_input(given, inputs.get(given.name)) for given in model.spec.inputs))
    return Prediction(from_float(output[0], np.dtype(np.uint8)))


def predict_stylized(model: Model, inputs: Inputs, options: PredictOptions) -> Prediction:
    """Run a model of image + style → image on whole images, reduced where they need too much memory.

    The result has the size and the alpha of the image.
    """
    assert model.spec.image is not None  # see `first_image`
    image, name = first_image(model, inputs), model.spec.image.name
    fitted = {name: fitting(model, image)}
    notes = remark("the image", image, fitted[name])
    if STYLE in inputs:
        style = checked_image(STYLE, inputs[STYLE])
        fitted[STYLE] = fitting(model, style)
        notes += remark("the style", style, fitted[STYLE])
    pixels = resized(predict_image(model, {**inputs, **fitted}, options).pixels, image.shape[:2], "bicubic")
    if options.stylize.preserve_colour:
        pixels = with_colours_of(image, pixels)
    return Prediction(pixels, notes=notes)


USES: Mapping[Use, Callable[[Model, Inputs, PredictOptions], Prediction]] = {
    "translate": predict_image,
    "upscale": predict_upscaled,
    "inpaint": predict_inpainted,
    "generate": predict_generated,
    "stylize": predict_stylized,
}


def result_shape(spec: ModelSpec, image: Pixels, options: PredictOptions) -> tuple[int, int, int]:
    """Return (height, width, channels) of the result of a model of images, without running it."""
    height, width, channels = image.shape
    if spec.use == "inpaint":
        return height, width, channels
    _, alpha = split_alpha(image, spec.in_channels)
    keeps_alpha = alpha is not None and spec.out_channels in (1, 3)
    return *scaled_size((height, width), spec.scale, options.upscale), spec.out_channels + keeps_alpha


def run_images(model: Model, image: Pixels, inputs: Inputs) -> Pixels:
    """Run a network of several inputs on the first image and the others."""
    spec = model.spec
    values = {given.name: image if given is spec.image else inputs.get(given.name) for given in spec.inputs}
    arrays = (network_input(given, values[given.name], image.shape[:2]) for given in spec.inputs)
    return from_float(model.run(*arrays)[0], image.dtype)


def network_input(given: InputSpec, values: NDArray[Any] | None, size: tuple[int, ...] = ()) -> FloatImages:
    """Return one input as `Model.run` takes it, N = 1.

    values: the input, see `Inputs`; None for an optional input that is not given, which zeros or ones replace.
    size: (height, width) of the first image, which zeros and masks have too.
    """
    if values is None:
        default = np.float32(given.kind == "weight")
        return np.full((1, given.channels, *(size if given.is_spatial else ())), default)
    if given.kind == "image":
        pixels = checked_image(given.name, values)
        return to_float(fit_channels(split_alpha(pixels, given.channels)[0], given.channels))[None]
    if given.kind == "mask":
        return as_mask(given, values, size)[None, None].astype(np.float32)
    return checked_vector(given, values)[None]


def first_image(model: Model, inputs: Inputs) -> Pixels:
    assert model.spec.image is not None  # every use except generate has an image input
    name = model.spec.image.name
    return checked_image(name, inputs[name])


def read_vector(given: InputSpec, source: Source) -> NDArray[np.float32]:
    """Read a vector. Raises UserError for text that is neither a number nor a list of the right length."""
    text = source.read_text() if isinstance(source, Path) else source.decode(errors="replace")
    try:
        value = parse_json(text)
    except ValueError:
        value = None
    if given.kind == "latent" and isinstance(value, int) and 0 <= value < 2**63:
        return draw_latent(value, given.channels)
    if given.kind == "label" and text in given.names:
        value = given.names.index(text)
    if given.kind == "label" and isinstance(value, int) and 0 <= value < given.channels:
        label = np.zeros(given.channels, np.float32)
        label[value] = 1
        return label
    if given.kind == "weight":
        return read_weight(given, value, text)
    is_list = isinstance(value, list) and all(isinstance(each, int | float) for each in value)
    if is_list and len(value) == given.channels and all(abs(each) <= LARGEST_VALUE for each in value):
        return np.asarray(value, np.float32)
    names = ", ".join(given.names[:SHOWN_NAMES]) + (" …" if len(given.names) > SHOWN_NAMES else "")
    named = f", its name ({names})" if names else ""
    one = "a seed" if given.kind == "latent" else f"a class from 0 to {given.channels - 1}{named}"
    raise UserError(f"{given.name} is {text[:40]!r}: expected {one}, or a list of {given.channels} numbers")


def read_weight(given: InputSpec, value: Any, text: str) -> NDArray[np.float32]:
    """Return a weight: a number from 0 to 1, or a list of them. Raises UserError for anything else."""
    numbers = value if isinstance(value, list) else [value]
    if len(numbers) == given.channels and all(isinstance(each, int | float) and 0 <= each <= 1 for each in numbers):
        return np.asarray(numbers, np.float32)
    many = "a number" if given.channels == 1 else f"a list of {given.channels} numbers"
    raise UserError(f"{given.name} is {text[:40]!r}: expected {many} from 0 to 1")
