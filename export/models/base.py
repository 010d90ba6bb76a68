"""A trained model as its user sees it: called with an array, gives an array. Imports no torch.

`load(path)` opens whatever a path holds; `Model.__call__` does around the network what every kind needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import ImageError, Pixels, fit_channels, to_float, to_uint8
from gan_tasks.datasets.masks.files import to_mask
from gan_tasks.export.models.alpha import spread_colour
from gan_tasks.export.models.resizing import resized
from gan_tasks.pretrained.bundled import BUNDLED_MODELS, LICENCE, NOTICE, BundledModel, find_bundled

if TYPE_CHECKING:
    from gan_tasks.export.models.pretrained_model import PretrainedModel
    from gan_tasks.export.models.run_model import TrainedModel
    from gan_tasks.export.onnx.model import OnnxModel

FloatImages = NDArray[np.float32]

SUPER_RESOLUTION = "super-resolution"
"""The task whose models enlarge photographs."""
MAX_MEMORY_BYTES = 2_400_000_000
"""Where nothing else is asked for."""

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
"""Of checkpoints that others published; `gan_tasks.pretrained.load` reads them."""
NCNN_SUFFIX = ".param"
"""The same, of two files: this and a `.bin` beside it."""


class Model(ABC):
    """What `load` gives. `name` is the task's, `title` the model's; channel counts are those of the network."""

    name: str
    title: str
    in_channels: int
    out_channels: int
    scale: int = 1
    """Output pixels to an input pixel, along a side."""
    inputs: tuple[str, ...] = ("image",)
    """What `run` takes, in order: the image, and such as `mask` and `sketch`."""
    task_options: str = ""
    """The options of the task that it was trained with, paths left out, as JSON; empty where they are not known."""
    runs_on: str = "PyTorch"
    """What runs it, for people."""
    source: str = ""
    """Where its weights are from: the name of a published file, or of the run and its checkpoint."""
    training_data: str = ""
    """In the words of whoever made it; empty where it is not known."""
    direction: str = ""
    """Which way it goes, such as a-to-b, where its task learns several."""
    directions: tuple[str, ...] = ()
    """Those that its path can be loaded for; empty where there is nothing to choose."""
    notice: str = ""
    """What its makers want to be said of it; empty where nothing is known."""
    licence: str = ""
    """Under which it may be used; empty where it is not known."""
    max_memory_bytes: int = MAX_MEMORY_BYTES
    """Of the network's features; the program, the image and its result come on top. What needs more is tiled."""

    @abstractmethod
    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        """Whether so many images of a size need more than `max_memory_bytes` at once."""

    @abstractmethod
    def run(self, images: FloatImages, *masks: FloatImages) -> FloatImages:
        """The network alone: N×C×H×W float32 in [-1, 1] → N×C'×(s·H)×(s·W), the same range.

        masks: what else `inputs` names, N×1×H×W of 0 and 1. With any, the images are never run in tiles.
        """

    def __call__(self, image: Pixels, mask: Pixels | None = None, sketch: Pixels | None = None) -> Pixels:
        """One image, H×W×C of uint8 or uint16 → (s·H)×(s·W)×C' of the same type.

        Any size. Gray is repeated for a model of RGB, and alpha is carried round a model that has none: the
        result has it again. Where it enlarges a photograph, colours that are wholly transparent do not show at the
        edge of what is visible. Raises ImageError for channels or a type that do not fit.

        mask, sketch: for a model that fills holes, of the image's size: white in the hole, and on lines that the fill
            is to follow (see `to_mask`; `filling.fill` has more to say). Given pixels come back to the bit.
        """
        if "mask" in self.inputs:
            return self.fill(image, mask, sketch)
        if mask is not None or sketch is not None:
            raise ImageError(f"{self.title} takes the image alone, no mask and no sketch")
        if image.ndim != 3 or image.dtype not in (np.uint8, np.uint16):
            raise ImageError(f"expected H×W×C pixels of uint8 or uint16, got {image.dtype} of shape {image.shape}")
        colour, alpha = split_alpha(image, self.in_channels)
        if alpha is not None and self.name == SUPER_RESOLUTION:
            colour = spread_colour(colour, alpha)
        pixels = self.run_pixels(fit_channels(colour, self.in_channels))
        if alpha is None or self.out_channels not in (1, 3):
            return pixels
        return np.concatenate([pixels, resized(alpha, pixels.shape[:2], "bicubic")], axis=2)

    def fill(self, image: Pixels, mask: Pixels | None, sketch: Pixels | None) -> Pixels:
        from gan_tasks.export.inference.inpaint import fill

        if mask is None:
            raise ImageError(f"{self.title} fills holes: give a mask of the picture's size, white in the hole")
        return fill(self, image, to_mask(mask), None if sketch is None else to_mask(sketch)).pixels

    def enlarged(self, image: Pixels, *, scale: float | None = None, blend_weight: float = 1.0) -> Pixels:
        """Of a model of super-resolution: as when called, in another scale or mixed; see `enlarging.Enlarging`."""
        from gan_tasks.export.inference.upscale import Enlarging, enlarge_with

        return enlarge_with(self, image, Enlarging(scale, blend_weight))

    def run_pixels(self, pixels: Pixels) -> Pixels:
        """The network alone: H×W×C of uint8 or uint16 → (s·H)×(s·W)×C' of the same type."""
        return from_float(self.run(to_float(pixels)[None])[0], pixels.dtype)


def from_float(image: FloatImages, dtype: np.dtype[Any]) -> Pixels:
    """C×H×W in [-1, 1] → H×W×C uint8 or uint16, rounded and clipped."""
    return to_uint8(image) if dtype == np.uint8 else to_uint16(image)


def split_alpha(image: Pixels, channels: int) -> tuple[Pixels, Pixels | None]:
    """Colour and alpha of gray+alpha or RGBA pixels, where the network's channels have no room for alpha."""
    if image.shape[2] in (2, 4) and channels in (1, 3):
        return image[..., :-1], image[..., -1:]
    return image, None


def to_uint16(image: FloatImages) -> NDArray[np.uint16]:
    """C×H×W in [-1, 1] → H×W×C, rounded and clipped."""
    levels = np.rint((np.clip(image, -1, 1).astype(np.float64) + 1) * 32767.5)
    return np.ascontiguousarray(levels.transpose(1, 2, 0)).astype(np.uint16)


def load(
    path: Path | str,
    *,
    device: str = "auto",
    mode: Literal["eval", "train"] = "eval",
    provider: str = "auto",
    direction: str = "",
) -> Model:
    """The model that a path holds, ready to be called with an array.

    The path is that of a run folder, a checkpoint folder, an ONNX file, or a checkpoint that others published; or it
    is the name of a ready-made model, such as realesrgan-x4plus (see `gan_tasks.pretrained.bundled`).

    Args:
        device: auto, cpu, cuda or cuda:N.
        mode: `train` keeps dropout and the batch's own statistics, as the published pix2pix is tested; an ONNX
            file has only `eval`.
        provider: what runs an ONNX file, by its name in `export/onnx/providers.py`; see `OnnxModel`.
        direction: of the run of a task that learns both ways, such as b-to-a; as in its options if not given.

    Raises UserError, saying what was expected, for anything else.
    """
    path = Path(path)
    if (path / "config.json").is_file() or (path / "state.json").is_file():
        if provider != "auto":
            raise UserError(f"{path} is run by PyTorch: provider {provider} is for .onnx files")
        return load_run(path, device=device, mode=mode, direction=direction)
    if direction:
        raise UserError(f"{path} goes one way only: --direction chooses for the run of a task that learns both")
    if path.suffix.lower() == ".onnx":
        if mode != "eval":
            raise UserError(f"{path} runs in mode eval only: for mode {mode} give the folder of the run")
        return load_onnx(path, device=device, provider=provider)
    if path.suffix.lower() in (*WEIGHTS_SUFFIXES, NCNN_SUFFIX) and path.is_file():
        return load_pretrained_model(path, device=device, mode=mode)
    if ready_made := find_bundled(path):
        return load_bundled(ready_made, device=device, mode=mode)
    what = "does not exist" if not path.exists() else "holds no model"
    raise UserError(
        f"{path} {what}: expected the folder of a run, as `gan-tasks train --out` writes it, an .onnx file, or a "
        f"published checkpoint ({', '.join((*WEIGHTS_SUFFIXES, NCNN_SUFFIX))}), or the name of a ready-made model "
        f"({', '.join(ready_made.name for ready_made in BUNDLED_MODELS)})"
    )


def load_run(path: Path, *, device: str, mode: Literal["eval", "train"], direction: str) -> TrainedModel:
    from gan_tasks.export.models.run_model import TrainedModel

    return TrainedModel(path, device=device, mode=mode, direction=direction)


def load_onnx(path: Path, *, device: str, provider: str) -> OnnxModel:
    from gan_tasks.export.onnx.model import OnnxModel

    return OnnxModel(path, device=device, provider=provider)


def load_pretrained_model(path: Path, *, device: str, mode: Literal["eval", "train"]) -> PretrainedModel:
    from gan_tasks.export.models.pretrained_model import PretrainedModel

    return PretrainedModel(path, device=device, mode=mode)


def load_bundled(ready_made: BundledModel, *, device: str, mode: Literal["eval", "train"]) -> PretrainedModel:
    model = load_pretrained_model(ready_made.find(), device=device, mode=mode)
    model.title, model.notice, model.licence = ready_made.name, NOTICE, LICENCE
    return model
