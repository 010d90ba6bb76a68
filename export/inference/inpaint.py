"""Inpaint an image with a model: cut out parts, run the network, and put its output back.

Unmasked pixels are not changed, to the bit. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import ImageError, Pixels, fit_channels, to_float
from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.export.inference.blending import correction, dilated
from gan_tasks.export.inference.inpaint_options import InpaintOptions
from gan_tasks.export.inference.regions import LEAST_SIDE_PX, regions, whole
from gan_tasks.export.models.alpha import split_alpha
from gan_tasks.export.models.base import FloatImages, Model, from_float

WORKING_SIDE_PX = 512
"""Side of the largest square part. Larger parts are downscaled, because networks are trained on 256 px and their
receptive field is about this large."""
ATTENTION_BYTES = 12
"""Memory in bytes for each pair of positions in contextual attention; there is one position per 8×8 pixels."""


@dataclass(frozen=True)
class Inpainted:
    """The inpainted image, H×W×C of the type of the input, and remarks for the user."""

    pixels: Pixels
    notes: tuple[str, ...] = ()


def fill(
    model: Model, image: Pixels, mask: Mask, sketch: Mask | None = None, options: InpaintOptions | None = None
) -> Inpainted:
    """Fill the masked region of H×W×C pixels, uint8 or uint16. Alpha is not changed.

    Args:
        mask: H×W bool, True for masked pixels.
        sketch: H×W bool, True on lines that the filled content follows.

    A network of a fixed size gets each part padded to it. A part that is larger, because the masked region is, is
    scaled down first and loses detail.

    An image with an empty mask is returned unchanged. Raises ImageError for a mask or sketch of another size and for
    a mask that covers the whole image, and UserError for a sketch if the model takes none.
    """
    options = options or InpaintOptions()
    check(model, image, mask, sketch)
    if not mask.any():
        return Inpainted(image, ("the mask is empty: there is nothing to fill",))
    mask = dilated(mask, options.dilate_px)
    if mask.all():
        raise ImageError("the mask covers the whole image: leave at least one pixel unmasked")
    result, notes = image.copy(), []
    colour, _ = split_alpha(result, model.spec.in_channels)  # a view of the result
    strategy = options.strategy
    if strategy == "original" and not fits(model, mask.shape):
        strategy = "crop"
        notes.append(f"{why_not_whole(model)}: each masked region was filled with its surroundings instead")
    left = mask.copy()
    for region in regions(mask, least_side_px=least_side(model)) if strategy == "crop" else [whole(mask)]:
        part = colour[region.place]
        lines = None if sketch is None else sketch[region.place]
        size = region.size if strategy == "original" else working_size(model, region.size)
        if size != region.size and strategy == "crop":
            factor = size[0] / region.size[0]
            notes.append(f"a masked region was filled at {factor:.0%} of its size and upscaled, because it is large")
        output = run_at(model, part, left[region.place], lines, size)
        part[region.mask] = fitted(model, output, part, left[region.place], options, image.dtype)[region.mask]
        left[region.place] &= ~region.mask
    return Inpainted(result, tuple(dict.fromkeys(notes)))


def check(model: Model, image: Pixels, mask: Mask, sketch: Mask | None) -> None:
    """Check the arguments of `fill`, and raise its errors."""
    if model.spec.use != "inpaint":
        raise UserError(f"{model.title} does not inpaint: call it with the image only")
    if image.ndim != 3 or image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"expected H×W×C pixels of uint8 or uint16, got {image.dtype} of shape {image.shape}")
    for name, each in (("mask", mask), ("sketch", sketch)):
        if each is not None and each.shape != image.shape[:2]:
            (height, width), (rows, columns) = each.shape, image.shape[:2]
            raise ImageError(
                f"the {name} is {width} × {height} px and the image {columns} × {rows} px: give one of its size"
            )
    if sketch is not None and model.spec.find("sketch") is None:
        raise UserError(f"{model.title} was trained without sketches: leave the sketch out")


def fits(model: Model, size: tuple[int, ...]) -> bool:
    """Return whether an image of this (height, width) fits the model's fixed size, if it has one, and its memory."""
    height, width = size
    if model.spec.fixed_size:
        return max(size) <= model.spec.minimum_size
    attention = ATTENTION_BYTES * (height * width / 64) ** 2
    return not model.runs_in_tiles(height, width) and attention <= model.max_memory_bytes


def why_not_whole(model: Model) -> str:
    """Return why the network does not get the whole image."""
    side = model.spec.minimum_size
    if model.spec.fixed_size:
        return f"{model.title} takes {side} × {side} px at most"
    return f"the whole image needs more than {model.max_memory_bytes / 2**30:.1f} GiB"


def least_side(model: Model) -> int:
    """Return the smallest side of a part that is cut out of a large image, in pixels."""
    return model.spec.minimum_size if model.spec.fixed_size else LEAST_SIDE_PX


def working_size(model: Model, size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) at which the network gets a part: its own size, or a smaller one that fits."""
    if model.spec.fixed_size:
        factor = min(1.0, model.spec.minimum_size / max(size))
    else:
        factor = min(1.0, WORKING_SIDE_PX / (size[0] * size[1]) ** 0.5)
    while True:
        smaller = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
        if fits(model, smaller):
            return smaller
        if max(smaller) <= 64:
            raise UserError(
                f"{model.title} needs more than the {model.max_memory_bytes / 2**20:,.0f} MiB that are allowed, even "
                "for 64×64 pixels: allow more memory"
            )
        factor /= 2


def run_at(model: Model, part: Pixels, mask: Mask, sketch: Mask | None, size: tuple[int, int]) -> FloatImages:
    """Run the network on a part at `size`; return its whole output at the part's own size, C×H×W in [-1, 1]."""
    own_size = part.shape[:2]
    image = to_float(fit_channels(part, model.spec.in_channels))
    masks = [mask] if model.spec.find("sketch") is None else [mask, np.zeros_like(mask) if sketch is None else sketch]
    if size != own_size:
        # Masked pixels must not affect unmasked ones when the part is downscaled.
        blank = np.where(mask, image[:, ~mask].mean(axis=1)[:, None, None], image)
        image = resized(blank, size)
        masks = [resized(each[None].astype(np.float32), size)[0] > 1e-3 for each in masks]
    output = model.run(image[None], *(each[None, None].astype(np.float32) for each in masks))[0]
    return output if size == own_size else resized(output, own_size)


def resized(image: FloatImages, size: tuple[int, int]) -> FloatImages:
    """Resize C×H×W in [-1, 1] with an antialiased bicubic filter."""
    from PIL import Image

    planes = [Image.fromarray(plane).resize(size[::-1], Image.Resampling.BICUBIC) for plane in image]
    return np.clip(np.stack([np.asarray(plane, np.float32) for plane in planes]), -1, 1)


def fitted(
    model: Model, output: FloatImages, part: Pixels, mask: Mask, options: InpaintOptions, dtype: np.dtype[np.generic]
) -> Pixels:
    """Return the network's output for a part as pixels, blended with the surroundings of the masked region."""
    image = to_float(fit_channels(part, model.spec.out_channels))
    added = correction(output, image, mask, feather_px=options.feather_px, match_colour=options.match_colour)
    return fit_channels(from_float(output + added, dtype), part.shape[2])
