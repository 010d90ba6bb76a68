"""Sample grids and metrics of held-out images during training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import default_collate

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import to_uint8
from gan_tasks.metrics.distribution import KERNEL_LEAST_IMAGES, diversity, kernel_distance
from gan_tasks.metrics.features import FeatureRows, efficientnet_lite0
from gan_tasks.metrics.reference import l1, psnr, ssim
from gan_tasks.runs.image_grid import save_grid
from gan_tasks.tasks.base import Data, Task
from gan_tasks.training.runtime import Runtime

SAMPLES = 4  # rows of a sample grid


def translate(task: Task[Any, Any], data: Data, index: int, runtime: Runtime) -> tuple[Any, Tensor, Tensor]:
    """(batch of one, output, target), of N×C×H×W; call it within `evaluating`. Images may differ in size."""
    batch = runtime.to_device(default_collate([data[(0, index)]]))
    inputs, target = task.inputs_and_target(batch)
    return batch, task.infer(*inputs), target


def save_samples(path: Path, task: Task[Any, Any], generators: nn.ModuleDict, data: Data, runtime: Runtime) -> float:
    """Write the grid of a few images, always the same; returns how varied the outputs are (1 = as the targets)."""
    count = min(SAMPLES, len(data))
    shown, outputs, targets = [], [], []
    with task.evaluating(generators), runtime.autocast():
        for row in range(count):
            batch, output, target = translate(task, data, row * len(data) // count, runtime)
            shown.append(task.pictures(batch, output))
            outputs.append(functional.adaptive_avg_pool2d(output.float(), 64).cpu())
            targets.append(functional.adaptive_avg_pool2d(target.float(), 64).cpu())
    rows = [[to_uint8(image[0].float().cpu().numpy()) for image in pictures.values()] for pictures in shown]
    save_grid(path, rows, list(shown[0]))
    return diversity(torch.cat(outputs).numpy(), torch.cat(targets).numpy())


def measure(
    task: Task[Any, Any],
    generators: nn.ModuleDict,
    data: Data,
    *,
    limit: int,
    runtime: Runtime,
    set_evaluator: SetEvaluator | None = None,
) -> dict[str, float]:
    """Metrics of at most `limit` images.

    For a task with targets: means of L1 (of values in [0, 1]), PSNR (dB) and SSIM. With `set_evaluator`: the kernel
    distance of the outputs as a set, with the ends of its interval.
    """
    has_target = task.evaluation().has_target
    indices = set_evaluator.indices if set_evaluator else distinct(task, data, limit)
    sums = {"l1": 0.0, "psnr": 0.0, "ssim": 0.0} if has_target else {}
    for index in sorted(indices.sources):
        with task.evaluating(generators), runtime.autocast():
            _, output, target = translate(task, data, index, runtime)
        output, target = output.float().cpu(), target.float().cpu()
        if has_target:
            for name, measured in (("l1", l1), ("psnr", psnr), ("ssim", ssim)):
                sums[name] += float(measured(output, target).mean())
        if set_evaluator:
            set_evaluator.add(output[0].numpy())
    means = {name: total / len(indices.sources) for name, total in sums.items()}
    return means | (set_evaluator.result() if set_evaluator else {})


class SetEvaluator:
    """Compares outputs with the real held-out images, as sets, by the features of EfficientNet-Lite0.

    Raises UserError where its weights are not installed, or for fewer than 4 images.
    """

    def __init__(self, task: Task[Any, Any], data: Data, *, limit: int) -> None:
        self.indices = distinct(task, data, limit)
        least = min(len(self.indices.sources), len(self.indices.targets))
        if least < KERNEL_LEAST_IMAGES:
            raise UserError(
                f"a kernel distance of {least} held-out images: put {KERNEL_LEAST_IMAGES} or more in val/, or 50"
            )
        self.network = efficientnet_lite0()
        real = FeatureRows(self.network)
        for index in sorted(self.indices.targets):
            real.add(to_uint8(arrays(task, data, index)[1]))
        self.real, self.outputs = real.taken(), FeatureRows(self.network)

    def add(self, output: NDArray[np.float32]) -> None:
        """Add an output, C×H×W in [-1, 1], to the set."""
        self.outputs.add(to_uint8(output))

    def result(self) -> dict[str, float]:
        """The kernel distance of the set. The next output begins another set."""
        found = kernel_distance(self.real, self.outputs.taken())
        self.outputs = FeatureRows(self.network)
        return {"kernel_distance": found.value, "kernel_distance_low": found.low, "kernel_distance_high": found.high}


# --- Samples of a task's data ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Indices:
    """The samples to evaluate. Without pairs the shorter side is repeated in the data: each image counts once."""

    sources: frozenset[int]
    targets: frozenset[int]

    @property
    def any(self) -> list[int]:
        return sorted(self.sources | self.targets)

    @property
    def fewest(self) -> int:
        return min(len(self.sources), len(self.targets))


def distinct(task: Task[Any, Any], data: Data, limit: int) -> Indices:
    count = min(limit, len(data)) if limit else len(data)
    if task.evaluation().has_target:
        return Indices(frozenset(range(count)), frozenset(range(count)))
    sources: dict[bytes, int] = {}
    targets: dict[bytes, int] = {}
    for index in range(count):
        (source, *_), target = arrays(task, data, index)
        sources.setdefault(digest(source), index)
        targets.setdefault(digest(target), index)
    return Indices(frozenset(sources.values()), frozenset(targets.values()))


def digest(image: NDArray[np.float32]) -> bytes:
    return hashlib.blake2b(image.tobytes() + repr(image.shape).encode()).digest()


def arrays(
    task: Task[Any, Any], data: Data, index: int
) -> tuple[tuple[NDArray[np.float32], ...], NDArray[np.float32]]:
    """The inputs of a sample and its target, C×H×W."""
    sample = data[(0, index)]
    batch = type(sample)(*(torch.from_numpy(np.asarray(image))[None] for image in sample))
    inputs, target = task.inputs_and_target(batch)
    return tuple(image[0].numpy() for image in inputs), target[0].numpy()
