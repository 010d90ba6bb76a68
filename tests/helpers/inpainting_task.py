"""An inpainting task for evaluation only: it has data and classical baselines, but no networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tiny import photo
from torch import Tensor

from gan_tasks.datasets.images import Picture, to_float, to_uint8, write
from gan_tasks.datasets.inpainting import FoundMasked, Masked, MaskedConfig, MaskedImages, open_masked
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.metrics.baselines import Baseline, fill_harmonic, fill_telea
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import EvaluationSpec, Losses, Outputs, Split, Stage, Task

SPEC = ModelSpec(
    "evaluated-inpainting", "inpaint", (InputSpec("image", "image", 3, "any"), InputSpec("mask", "mask")), 3
)


@dataclass(frozen=True)
class EvaluatedInpaintingConfig:
    data: MaskedConfig = MaskedConfig()


class EvaluatedInpainting(Task[EvaluatedInpaintingConfig, Masked[Tensor]]):
    name = "evaluated-inpainting"
    Config = EvaluatedInpaintingConfig

    def open_data(self, root: Path, split: Split, *, augment: bool, seed: int) -> tuple[MaskedImages, FoundMasked]:
        return open_masked(root, split, self.config.data, seed, augment)

    def inputs_and_target(self, x: Masked[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        return (x.image, x.mask), x.image

    def spec(self) -> ModelSpec:
        return SPEC

    def evaluation(self) -> EvaluationSpec:
        def baseline(fill: Callable[..., NDArray[np.uint8]]) -> Baseline:
            return lambda image, mask: to_float(fill(to_uint8(image), mask[0] > 0))

        fills = {"harmonic fill": baseline(fill_harmonic), "Telea": baseline(fill_telea)}
        return EvaluationSpec(fit_baselines=lambda examples: fills, masks=self.config.data)

    def build(self, *, for_training: bool) -> None:
        raise NotImplementedError

    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        raise NotImplementedError

    def generate(self, x: Masked[Tensor]) -> Outputs:
        raise NotImplementedError

    def d_losses(self, x: Masked[Tensor], y: Outputs) -> Losses:
        raise NotImplementedError

    def g_losses(self, x: Masked[Tensor], y: Outputs) -> Losses:
        raise NotImplementedError

    def infer(self, *images: Tensor) -> Tensor:
        raise NotImplementedError


class OffBy(Model):
    """A model whose error is the same in each masked pixel. It sets all other pixels to black."""

    spec = SPEC

    def __init__(self, difference: float) -> None:
        self.title, self.difference = f"off by {difference}", difference

    def version(self) -> str:
        return self.title

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return False

    def run(self, *inputs: FloatImages) -> FloatImages:
        images, mask = inputs
        output = images - np.where(images > 0, 1, -1) * self.difference
        return np.where(mask > 0, output, -1).astype(np.float32)


def write_photos(root: Path, *, train: int = 0, test: int = 4, side_px: int = 40) -> Path:
    for split, count, first in (("train", train, 0), ("test", test, 100)):
        for index in range(count):
            (root / split).mkdir(parents=True, exist_ok=True)
            write(root / split / f"{index:03d}.png", Picture(photo(side_px, side_px, seed=first + index)))
    return root


def write_masks(folder: Path, *rows: int, side_px: int = 40) -> Path:
    """Write a mask file for each number of `rows`: that many rows at the top are masked."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, count in enumerate(rows):
        pixels = np.zeros((side_px, side_px, 1), np.uint8)
        pixels[:count] = 255
        write(folder / f"mask{number}.png", Picture(pixels))
    return folder
