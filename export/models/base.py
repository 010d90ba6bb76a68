"""The interface of trained models: they map float arrays, in the order of their spec, to a float array.

`export/load.py` loads a model, and `export/inference/predictor.py` runs it on pixels. Imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels, to_float, to_uint8
from gan_tasks.spec import ModelSpec

FloatImages = NDArray[np.float32]

MAX_MEMORY_BYTES = 2_400_000_000
"""Default of `Model.max_memory_bytes`."""


class ModelRunError(UserError):
    """A model cannot be run on an input, or its output is none of the kind that its spec promises."""


class Model(ABC):
    """A trained network, loaded from any kind of file."""

    spec: ModelSpec
    """Inputs and outputs of the network."""
    title: str
    """Name of the model."""
    place: str = ""
    """Path of the file or folder that the model was loaded from."""
    task_options: str = ""
    """Task options of the training, without paths, as JSON; empty if unknown."""
    runs_on: str = "PyTorch"
    """Description of the runtime."""
    source: str = ""
    """Source of the weights: the name of a public file, or of the run and its checkpoint."""
    training_data: str = ""
    """Description of the training data by the model's authors; empty if unknown."""
    notice: str = ""
    """Notice of the model's authors to users; empty for none."""
    licence: str = ""
    """Licence of the weights; empty if unknown."""
    max_memory_bytes: int = MAX_MEMORY_BYTES
    """Memory limit for the network's features. Images that need more are run in tiles. The program itself, the image
    and its result need more memory."""
    has_constant_memory: bool = False
    """Whether it needs the same memory for images of all sizes, so that `max_memory_bytes` has no effect."""
    max_run_seconds: float | None = None
    """Time that one run of the network may take, of an image or of a tile, if it runs apart (see `OnnxModel`). None
    is a minute, and two seconds for each MB of features."""

    command_options: tuple[str, ...] = ()
    """Options without which the command line does not open the model, such as --task-module FILE."""
    steps: tuple[Model, ...] = ()
    """The models of a chain, in the order in which they run; empty for a single model."""

    def __repr__(self) -> str:
        count = self.parameter_count
        size = f", {count:,} parameters" if count else ""
        place = f", from {self.place}" if self.place else ""
        return f"<{self.title}: {self.spec}{size}{place}; runs on {self.runs_on}>"

    @property
    def parameter_count(self) -> int:
        """Number of weights and biases; 0 if unknown."""
        return 0

    @property
    def is_in_train_mode(self) -> bool:
        """Whether the network is in train mode, with dropout and the statistics of the batch."""
        return False

    @abstractmethod
    def version(self) -> str:
        """Return the `sha256:…` of the file or the weights, which identifies the model."""

    @abstractmethod
    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        """Return whether `count` images of this size at once need more than `max_memory_bytes`."""

    def tile_count(self, height: int, width: int) -> int:
        """Return the number of tiles that `run_pixels` runs an image of this size in, in all steps of a chain.

        Raises UserError if the smallest tile needs more memory than `max_memory_bytes`.
        """
        return 1

    @abstractmethod
    def run(self, *inputs: FloatImages) -> FloatImages:
        """Run the network.

        Args:
            inputs: float32, in the order of `spec.inputs`: images N×C×H×W in [-1, 1], masks N×1×H×W of 0 and 1,
                latents N×L, labels N×K. A model with several inputs is never run in tiles.

        Returns N×C'×(s·H)×(s·W) in [-1, 1].
        """

    def release_memory(self) -> None:
        """Give memory back that the runtime keeps for the next run. By default a runtime keeps none."""
        return

    def run_pixels(self, pixels: Pixels) -> Pixels:
        """Run a model of one image input on H×W×C pixels, uint8 or uint16; return (s·H)×(s·W)×C' of the same type."""
        return from_float(self.run(to_float(pixels)[None])[0], pixels.dtype)

    def run_steps(self, pixels: Pixels) -> Iterator[Pixels]:
        """Run as `run_pixels` does, and yield the result of each step of a chain; of a single model, the result."""
        yield self.run_pixels(pixels)


def output_shape(spec: ModelSpec, inputs: Sequence[FloatImages]) -> tuple[int, ...]:
    """Return N×C×H×W of the output that these inputs of a network give."""
    height, width = (0, 0) if spec.image is None else inputs[spec.inputs.index(spec.image)].shape[-2:]
    return len(inputs[0]), *spec.output_shape(height, width)


def check_output(output: FloatImages, expected: tuple[int, ...], name: str, remedy: str) -> None:
    """Check the shape of a network's output, and that all its values are finite.

    name, remedy: the model, and what to do about it, for the message.

    Raises ModelRunError.
    """
    if output.shape != expected:
        raise ModelRunError(
            f"{name} gives {shape_text(output.shape)} values where its spec promises {shape_text(expected)} "
            f"(images × channels × height × width): {remedy}"
        )
    if not (is_finite := np.isfinite(output)).all():
        share = 1 - float(is_finite.mean())
        raise ModelRunError(f"{name} gives values that are NaN or infinite ({share:.0%} of the output): {remedy}")


def shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "single"


def from_float(image: FloatImages, dtype: np.dtype[Any]) -> Pixels:
    """Convert C×H×W in [-1, 1] to H×W×C uint8 or uint16, rounded and clipped."""
    return to_uint8(image) if dtype == np.uint8 else to_uint16(image)


def to_uint16(image: FloatImages) -> NDArray[np.uint16]:
    """Convert C×H×W in [-1, 1] to H×W×C uint16, rounded and clipped."""
    levels = np.rint((np.clip(image, -1, 1).astype(np.float64) + 1) * 32767.5)
    return np.ascontiguousarray(levels.transpose(1, 2, 0)).astype(np.uint16)
