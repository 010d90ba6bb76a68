"""An image that is inpainted again and again: what is painted on it, what becomes of it, and how to undo it.

Runs in the thread of the service's jobs. Imports no web framework and no torch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import ImageError, Picture, Pixels, fit_channels, read, write
from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.datasets.masks.files import resize_mask
from gan_tasks.export.inference.inpaint_options import InpaintOptions
from gan_tasks.export.inference.predictor import Decode, PredictOptions, Predictor, Source, result_like
from gan_tasks.spec import InputSpec, ModelSpec

MAX_PREVIEW_SIDE_PX = 1600
"""Larger images are painted on in a smaller copy; browsers are slow on larger canvases."""
MASK_COLOUR, MASK_OPACITY = "#ff00c8", 0.6
"""Of the paint that covers what is to be filled; what is under it can still be seen."""
SKETCH_COLOUR = "#0a3cff"
"""Of lines that the fill follows; they are told from the other paint by having more blue than red."""
PAINTED = round(255 * MASK_OPACITY / 2)
"""Alpha from which on a pixel is painted: at a stroke's soft edge, the nearer half."""


@dataclass(frozen=True)
class Step:
    """An image, as it was uploaded or as a fill left it.

    file: a PNG of all its pixels, marked if something of it was filled. name: what a person knows it as.
    preview: what is painted on, an 8-bit PNG; smaller than the image if that is large.
    """

    file: Path
    name: str
    preview: Path
    size: tuple[int, int]
    """Height and width of the image, px."""
    mask: Path | None = None
    """What was filled to make it, before it was grown; white where it was filled. None of an upload."""
    sketch: Path | None = None
    paint: tuple[Path, ...] = ()
    """Layers that were painted on the step before it."""
    options: InpaintOptions = InpaintOptions()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class InpaintRequest:
    """What to fill. paint: layers over the preview, encoded; mask, sketch: files of the image's own size."""

    paint: tuple[bytes, ...] = ()
    mask: Path | None = None
    sketch: Path | None = None
    options: InpaintOptions = InpaintOptions()


def open_picture(source: Path, folder: Path, *, max_pixels: int, decode: Decode = read) -> Step:
    """Take an upload; the step's files go into the folder. Raises UserError for what cannot be read or filled."""
    picture = decode(source.read_bytes(), max_pixels=max_pixels)  # its path would tell where the server keeps files
    if picture.pixels.dtype == np.float32 or picture.pixels.shape[2] > 4:
        raise ImageError("images of 8 or 16 bits are filled, gray or RGB, with or without alpha")
    file = folder / f"{source.stem[:50]}.png"
    write(file, picture)
    return Step(file, source.name, preview_of(picture, file), size_of(picture.pixels))


@dataclass(frozen=True)
class InpaintInputs:
    """The inputs of a model that inpaints. sketch: None for a model that follows no lines."""

    image: InputSpec
    mask: InputSpec
    sketch: InputSpec | None

    @classmethod
    def of(cls, spec: ModelSpec) -> InpaintInputs:
        """By their kind. The first mask says what is filled, the second which lines the fill follows."""
        mask, *more = (given for given in spec.inputs if given.kind == "mask")
        assert spec.image is not None  # a model of this use takes one
        return cls(spec.image, mask, more[0] if more else None)


def inpaint_picture(
    predictor: Predictor,
    step: Step,
    request: InpaintRequest,
    folder: Path,
    *,
    name: str,
    max_pixels: int,
    decode: Decode = read,
) -> Step:
    """The next step: what is painted, and what is white in the mask, filled.

    Raises UserError where nothing or everything is covered, where a mask or sketch has another size, and where the
    step's file is gone.
    """
    if not step.file.is_file():
        raise UserError("The image was deleted, as all are after a while: choose it again.")
    given = InpaintInputs.of(predictor.spec)
    sources: dict[str, Source] = {given.image.name: step.file.read_bytes()}
    if request.mask is not None:
        sources[given.mask.name] = request.mask.read_bytes()  # its path would tell where the server keeps files
    if request.sketch is not None and given.sketch is not None:
        sources[given.sketch.name] = request.sketch.read_bytes()
    opened = predictor.read(sources, max_pixels=max_pixels, decode=decode)
    mask, lines = painted(request.paint, step.size, follows_sketch=given.sketch is not None, decode=decode)
    inputs = dict(opened.inputs)
    inputs[given.mask.name] = mask = mask | inputs.get(given.mask.name, False)
    if given.sketch is not None:
        lines = lines | inputs.pop(given.sketch.name, False)
        if lines.any():
            inputs[given.sketch.name] = lines
    if not mask.any():
        raise UserError("Nothing is covered: paint over what is to be filled, or put in a mask.")
    start = time.perf_counter()
    prediction = predictor.predict(inputs, PredictOptions(inpaint=request.options))
    seconds = time.perf_counter() - start
    file = folder / name
    predictor.write(file, prediction, like=opened.image)
    return Step(
        file,
        name,
        preview_of(result_like(opened.image, prediction.pixels), file),
        step.size,
        mask=write_mask(folder / "mask.png", mask),
        sketch=write_mask(folder / "sketch.png", lines) if lines.any() else None,
        paint=tuple(kept(folder / f"paint-{number}.png", layer) for number, layer in enumerate(request.paint)),
        options=request.options,
        notes=opened.notes + prediction.notes,
        seconds=seconds,
    )


def painted(
    layers: Sequence[bytes], size: tuple[int, int], *, follows_sketch: bool, decode: Decode = read
) -> tuple[Mask, Mask]:
    """Mask and lines of an image of this (height, width), from what was painted on its preview."""
    mask, lines = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    for layer in layers:
        paint = fit_channels(decode(layer, max_pixels=MAX_PREVIEW_SIDE_PX**2).pixels, 4)
        if size_of(paint) != preview_size(size):
            raise UserError("What is painted does not have the image's size: choose the image again.")
        is_painted = paint[..., 3] >= PAINTED
        mask |= resize_mask(is_painted, *size)
        if follows_sketch:
            lines |= resize_mask(is_painted & (paint[..., 2] > paint[..., 0]), *size)
    return mask, lines


def preview_of(picture: Picture, file: Path) -> Path:
    """The image's own file, where browsers show it as it is."""
    size = size_of(picture.pixels)
    if picture.pixels.dtype == np.uint8 and size == preview_size(size):
        return file
    preview = file.with_name("preview.png")
    write(preview, replace(picture, pixels=small(picture.pixels)))
    return preview


def preview_size(size: tuple[int, int]) -> tuple[int, int]:
    """At most MAX_PREVIEW_SIDE_PX a side."""
    factor = min(1.0, MAX_PREVIEW_SIDE_PX / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def small(pixels: Pixels) -> Pixels:
    """8 bits, of the preview's size; averaged over areas."""
    from PIL import Image

    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    values = np.asarray(image.resize(preview_size(size_of(pixels))[::-1], Image.Resampling.BOX))
    return values[..., None] if values.ndim == 2 else values


def size_of(pixels: Pixels) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    return height, width


def write_mask(path: Path, mask: Mask) -> Path:
    write(path, Picture(mask[..., None].astype(np.uint8) * np.uint8(255)))
    return path


def kept(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
