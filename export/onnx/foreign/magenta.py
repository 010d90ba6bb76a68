"""Magenta's arbitrary style transfer, run by ONNX Runtime. Imports no torch.

    style picture → prediction network → a style of 100 numbers; image + style → transformation network → image

Both networks take one image of a fixed size, H×W×3 in [0, 1]. Ghiasi et al. 2017, https://arxiv.org/abs/1705.06830
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from gan_tasks.datasets.images import Pixels, to_float, to_uint8
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.export.models.hashing import sha256_of
from gan_tasks.export.onnx.file import OnnxFileError, read_onnx
from gan_tasks.export.onnx.model import open_session
from gan_tasks.export.onnx.providers import Session
from gan_tasks.spec import InputSpec, ModelSpec

PREDICT, TRANSFORM = "arbitrary_predict.onnx", "arbitrary_transform.onnx"
"""Names of the two files in their folder."""
MOST_SQUARES = 8
"""Most squares that a style picture is cut to."""
SPEC = ModelSpec(
    "stylization",
    "stylize",
    (
        InputSpec("image", "image", 3, "any"),
        InputSpec("style", "image", 3, "any"),
        InputSpec("style_strength", "weight", 1, "none", optional=True),
    ),
    3,
)


class MagentaModel(Model):
    """A `Model` of the two networks in a folder.

    The image, of 8 bits, is brought to the size of the transformation network, padded by reflection, and its result
    back to the size of the image. Of a style picture that is not square, the styles of squares that cover it are
    averaged. A style strength below 1 mixes the style with that of the image itself.

    Raises OnnxFileError for files that are not these networks.
    """

    has_constant_memory = True

    def __init__(self, folder: Path, *, device: str = "auto", provider: str = "auto") -> None:
        self.spec, self.files = SPEC, (folder / PREDICT, folder / TRANSFORM)
        self.title, self.source, self.place = folder.name, TRANSFORM, str(folder)
        self._predict, self._transform = (
            open_session(read_onnx(file), device=device, provider=provider) for file in self.files
        )
        self._style_side, self._image_side = (
            side_of(session, file) for session, file in zip((self._predict, self._transform), self.files, strict=True)
        )
        self.runs_on = f"{self._transform.get_providers()[0].removesuffix('ExecutionProvider')}, ONNX Runtime"

    def version(self) -> str:
        return " ".join(map(sha256_of, self.files))

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return False  # the size of the networks' features is fixed

    def run(self, *inputs: FloatImages) -> FloatImages:
        return np.stack([self._run_one(*each) for each in zip(*inputs, strict=True)])

    def _run_one(self, image: FloatImages, style: FloatImages, style_strength: FloatImages) -> FloatImages:
        strength, pixels = style_strength[0], to_uint8(image)
        numbers = strength * self._style(to_uint8(style))
        if strength < 1:
            numbers += (1 - strength) * self._style(pixels)
        height, width = pixels.shape[:2]
        factor = self._image_side / max(height, width)
        size = max(1, round(height * factor)), max(1, round(width * factor))
        padding = [(0, self._image_side - side) for side in size]
        padded = np.pad(resized_to(pixels, *size), (*padding, (0, 0)), mode="reflect")
        made = run(self._transform, in_unit_range(padded), numbers)[0, : size[0], : size[1]]
        levels = (np.clip(made, 0, 1) * 255 + 0.5).astype(np.uint8)
        return to_float(resized_to(levels, height, width))

    def _style(self, picture: Pixels) -> FloatImages:
        """Return the style of a picture: the mean of those of its squares."""
        side = self._style_side
        inputs = (in_unit_range(resized_to(square, side, side)) for square in squares(picture))
        mean: FloatImages = np.mean([run(self._predict, each) for each in inputs], axis=0, dtype=np.float32)
        return mean


def side_of(session: Session, file: Path) -> int:
    """Return the height and width that a network takes. Raises OnnxFileError if it takes no image of 1×S×S×3."""
    shape = tuple(session.get_inputs()[0].shape)
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3 or shape[1] != shape[2] or not isinstance(shape[1], int):
        raise OnnxFileError(f"{file} takes an input of {shape}: expected one image, 1×S×S×3, as Magenta's networks")
    return shape[1]


def run(session: Session, *inputs: FloatImages) -> FloatImages:
    """Run a network on its inputs, in its own order; return its output."""
    feeds = {value.name: each for value, each in zip(session.get_inputs(), inputs, strict=True)}
    output: FloatImages = session.run([session.get_outputs()[0].name], feeds)[0]
    return output


def squares(picture: Pixels) -> list[Pixels]:
    """Return squares that cover a picture, side by side at equal distances; of a square the picture alone."""
    height, width = picture.shape[:2]
    side, length = min(height, width), max(height, width)
    count = min(MOST_SQUARES, math.ceil(length / side))
    starts = [round(place) for place in np.linspace(0, length - side, count)] if count > 1 else [0]
    along = 0 if height > width else 1
    return [np.take(picture, range(start, start + side), axis=along) for start in starts]


def resized_to(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize H×W×3 of uint8 as PIL does. The networks compute in 8 bits, and one level makes a visible difference."""
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def in_unit_range(pixels: Pixels) -> FloatImages:
    """Convert H×W×C of uint8 to 1×H×W×C float32 in [0, 1]."""
    return np.divide(pixels[None], 255, dtype=np.float32)
