"""A trained model as a network: float arrays in, float arrays out, in the order of its spec. Imports no torch.

`export/inference/predictor.py` wraps it for people, who have pixels; `export/load.py` opens one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images import Pixels, to_float, to_uint8
from gan_tasks.spec import ModelSpec

FloatImages = NDArray[np.float32]

MAX_MEMORY_BYTES = 2_400_000_000
"""The default of `Model.max_memory_bytes`."""


class Model(ABC):
    """A network in use, whatever it was loaded from."""

    spec: ModelSpec
    """What it takes and gives."""
    title: str
    """What it is called."""
    task_options: str = ""
    """Options of the task that it was trained with, paths left out, as JSON; empty where they are not known."""
    runs_on: str = "PyTorch"
    """The runtime, for people."""
    source: str = ""
    """Where its weights come from: the name of a published file, or of the run and its checkpoint."""
    training_data: str = ""
    """In the words of its makers; empty where it is not known."""
    notice: str = ""
    """What its makers want users to read; empty where nothing is known."""
    licence: str = ""
    """The licence of its weights; empty where it is not known."""
    max_memory_bytes: int = MAX_MEMORY_BYTES
    """Limit for the network's features. Images that need more are run in tiles; the program itself, the image and its
    result come on top."""

    @property
    def is_in_train_mode(self) -> bool:
        """Whether dropout and the batch's own statistics are in use."""
        return False

    @abstractmethod
    def version(self) -> str:
        """Tells a model from others of its name: `sha256:…` of its file or of its weights."""

    @abstractmethod
    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        """Whether so many images of a size need more than `max_memory_bytes` at once."""

    @abstractmethod
    def run(self, *inputs: FloatImages) -> FloatImages:
        """The network alone.

        Args:
            inputs: float32, in the order of `spec.inputs`: images N×C×H×W in [-1, 1], masks N×1×H×W of 0 and 1,
                latents N×L, labels N×K. A model of several inputs is never run in tiles.

        Returns N×C'×(s·H)×(s·W) in [-1, 1].
        """

    def run_pixels(self, pixels: Pixels) -> Pixels:
        """A model of one image alone: H×W×C of uint8 or uint16 → (s·H)×(s·W)×C' of the same type."""
        return from_float(self.run(to_float(pixels)[None])[0], pixels.dtype)


def from_float(image: FloatImages, dtype: np.dtype[Any]) -> Pixels:
    """C×H×W in [-1, 1] → H×W×C uint8 or uint16, rounded and clipped."""
    return to_uint8(image) if dtype == np.uint8 else to_uint16(image)


def to_uint16(image: FloatImages) -> NDArray[np.uint16]:
    """C×H×W in [-1, 1] → H×W×C, rounded and clipped."""
    levels = np.rint((np.clip(image, -1, 1).astype(np.float64) + 1) * 32767.5)
    return np.ascontiguousarray(levels.transpose(1, 2, 0)).astype(np.uint16)
