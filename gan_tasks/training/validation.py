"""Sample grids and metrics of held-out images during training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
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
from gan_tasks.metrics.colour import channel_names, colour_channels, colour_shift
from gan_tasks.metrics.distribution import KERNEL_LEAST_IMAGES, diversity, kernel_distance
from gan_tasks.metrics.features import FeatureNetwork, FeatureRows, efficientnet_lite0, vgg16
from gan_tasks.metrics.reference import l1, psnr, ssim
from gan_tasks.metrics.unseen import Training, first_unseen, reason
from gan_tasks.progress import reported
from gan_tasks.runs.image_grid import save_grid
from gan_tasks.tasks.base import Data, Task
from gan_tasks.training.runtime import Runtime
from gan_tasks.training.stopping.signals import StopSignals

SAMPLES = 4  # rows of a sample grid
GENERATED = 16  # images of a generator of noise → image whose diversity is logged
MOST_GRIDS_BY_TIME = 32  # a grid a minute would fill the disk in a training of days
MOST_PSNR_DB = 100.0  # of an image in a mean, which an output equal to its target would make infinite
REAL_IMAGES = 16  # whose colours are those of the real images, for a task without targets


def translate(task: Task[Any, Any], data: Data, index: int, runtime: Runtime) -> tuple[Any, Tensor, Tensor]:
    """Return (batch of one sample, output, target); images are 1×C×H×W. Call it within `Task.evaluating`."""
    batch = runtime.to_device(default_collate([data[(0, index)]]))
    inputs, target = task.inputs_and_target(batch)
    return batch, task.infer(*inputs), target


class Samples:
    """The sample grids of a run, always of the same few images, and the values that are logged with each grid."""

    def __init__(self, task: Task[Any, Any], data: Data) -> None:
        self.task, self.data = task, data

    @cached_property
    def generates(self) -> bool:
        """Whether the task makes images of noise."""
        spec = self.task.spec()
        return spec.use == "generate" and spec.image is None

    def save(
        self, path: Path, generators: nn.ModuleDict, runtime: Runtime, signals: StopSignals
    ) -> dict[str, float] | None:
        """Write a grid, and return the values for the journal; None, without a grid, if a signal came.

        These are the diversity of the outputs, relative to that of the targets (1 = equal), and their colours beside
        those of the targets, over the masked pixels if there is a mask. Draws no random numbers that training uses.
        """
        task, rows = self.task, range(min(GENERATED if self.generates else SAMPLES, len(self.data)))
        of_grid = {number * len(rows) // SAMPLES for number in range(SAMPLES)}
        shown, pooled, colours = [], [], []
        # Eager, because torch.compile would compile the training step for other sizes after it has seen these.
        with task.evaluating(generators), runtime.autocast(), torch.compiler.set_stance("force_eager"):
            for row in rows:
                if signals:
                    return None
                batch, output, target = translate(task, self.data, row * len(self.data) // len(rows), runtime)
                if row in of_grid:
                    shown.append(task.shown_images(batch, output))
                images, mask = (output.float().cpu(), target.float().cpu()), self.mask_of(batch)
                pooled.append([functional.adaptive_avg_pool2d(image, 64) for image in images])
                colours.append([means_and_deviations(image, mask) for image in images])
        grid = [[to_uint8(image[0].float().cpu().numpy()) for image in images.values()] for images in shown]
        save_grid(path, grid, list(shown[0]))
        outputs, targets = (torch.cat(images).numpy() for images in zip(*pooled, strict=True))
        made, real = (np.stack(images) for images in zip(*colours, strict=True))
        key = "samples/diversity" if self.generates else "outputs/diversity"
        return {key: diversity(outputs, targets)} | self.colour_values(made, real)

    def mask_of(self, batch: Any) -> Tensor | None:
        """Return the mask of a batch, 1×1×H×W; None for a task without masks."""
        inputs, _ = self.task.inputs_and_target(batch)
        given = zip(self.task.spec().inputs, inputs, strict=True)
        return next((image.float().cpu() for each, image in given if each.kind == "mask"), None)

    def colour_values(self, made: NDArray[np.float64], real: NDArray[np.float64]) -> dict[str, float]:
        has_target = self.task.evaluation().has_target
        real = real if has_target else self.real_colours
        shift = colour_shift(made[:, 0], real[:, 0], paired=has_target)
        contrast = made[:, 1].mean(axis=0) / np.maximum(real[:, 1].mean(axis=0), 1e-9)
        names = channel_names(len(contrast))
        return {
            **{f"colour/{name}_shift": value for name, value in zip(names, shift.channels, strict=True)},
            "colour/cast_error": shift.cast_error,
            "colour/brightness_error": shift.brightness_error,
            **{f"contrast/{name}": float(value) for name, value in zip(names, contrast, strict=True)},
        }

    @cached_property
    def real_colours(self) -> NDArray[np.float64]:
        """The colours of more real images, for a task without targets: four have no typical mean."""
        count = min(REAL_IMAGES, len(self.data))
        places = [row * len(self.data) // count for row in range(count)]
        images = [torch.from_numpy(arrays(self.task, self.data, index)[1])[None] for index in places]
        return np.stack([means_and_deviations(image, None) for image in images])


def means_and_deviations(image: Tensor, mask: Tensor | None) -> NDArray[np.float64]:
    """Return the means and the standard deviations of the colour channels over the (masked) pixels of 1×C×H×W, in
    levels of 255: 2×C."""
    pixels = image[0, : colour_channels(image.shape[1])].double()
    chosen = pixels.flatten(1) if mask is None or not mask.any() else pixels[:, mask[0, 0] > 0.5]
    return 127.5 * torch.stack([chosen.mean(dim=1), chosen.std(dim=1, correction=0)]).numpy()


def thin_samples(folder: Path, every_steps: int) -> None:
    """Delete every second of the grids that were drawn by time, once there are MOST_GRIDS_BY_TIME.

    That of step 0, those at the step intervals and the newest one are kept. What a killed process left of a grid is
    deleted too.
    """
    for left in folder.glob(".step-*.png.*.tmp"):
        left.unlink()
    steps = {path: int(path.stem.removeprefix("step-")) for path in sorted(folder.glob("step-*.png"))}
    by_time = [path for path, step in steps.items() if step and (not every_steps or step % every_steps)]
    if len(by_time) >= MOST_GRIDS_BY_TIME:
        for path in by_time[1:-1:2]:
            path.unlink()


def evaluate_images(
    task: Task[Any, Any],
    generators: nn.ModuleDict,
    data: Data,
    *,
    limit: int,
    runtime: Runtime,
    set_evaluator: SetEvaluator | None = None,
    signals: StopSignals,
) -> dict[str, float] | None:
    """Return metrics of at most `limit` images by name; None if a signal came before the last image was done.

    For a task with targets these are the means of L1 (of values in [0, 1]), PSNR (in dB, of an image at most
    MOST_PSNR_DB) and SSIM. With `set_evaluator` they include the kernel distance between outputs and real images, and
    the limits of its interval.
    """
    has_target = task.evaluation().has_target
    indices = set_evaluator.indices if set_evaluator else distinct(task, data, limit)
    sums = {"l1": 0.0, "psnr": 0.0, "ssim": 0.0} if has_target else {}
    for index in sorted(indices.sources):
        if signals:
            return None
        with task.evaluating(generators), runtime.autocast():
            _, output, target = translate(task, data, index, runtime)
        output, target = output.float().cpu(), target.float().cpu()
        if has_target:
            sums["l1"] += float(l1(output, target))
            sums["psnr"] += min(float(psnr(output, target)), MOST_PSNR_DB)
            sums["ssim"] += float(ssim(output, target))
        if set_evaluator:
            set_evaluator.add(output[0].numpy())
    means = {name: total / len(indices.sources) for name, total in sums.items()}
    return means | (set_evaluator.result() if set_evaluator else {})


class SetEvaluator:
    """Compare the set of outputs with the set of real held-out images, by features of a pretrained network.

    This is EfficientNet-Lite0, or VGG16 if the model is trained with features of EfficientNet-Lite0.

    trained_with: the pretrained networks that the model is trained with, see `ModelSpec`.

    Raises UserError if its weights are not installed, if there are fewer than 4 images, or if the model is trained
    with both networks.
    """

    def __init__(self, task: Task[Any, Any], data: Data, *, trained_with: tuple[str, ...], limit: int) -> None:
        self.indices = distinct(task, data, limit)
        if (least := self.indices.fewest) < KERNEL_LEAST_IMAGES:
            raise UserError(
                f"the kernel distance needs {KERNEL_LEAST_IMAGES} held-out images or more, got {least} held-out "
                "images: put more into val/, such as 50"
            )
        self.network = unseen_network({"the model": trained_with})
        real = FeatureRows(self.network)
        for index in sorted(self.indices.targets):
            real.add(to_uint8(arrays(task, data, index)[1]))
        self.real, self.outputs = real.taken(), FeatureRows(self.network)

    def add(self, output: NDArray[np.float32]) -> None:
        """Add an output, C×H×W in [-1, 1], to the set."""
        self.outputs.add(to_uint8(output))

    def result(self) -> dict[str, float]:
        """Return the kernel distance of the set. The next output begins a new set."""
        found = kernel_distance(self.real, self.outputs.taken())
        self.outputs = FeatureRows(self.network)
        return {"kernel_distance": found.value, "kernel_distance_low": found.low, "kernel_distance_high": found.high}


def unseen_network(training: Training) -> FeatureNetwork:
    """Return the feature network of the kernel distance. Raises UserError if the training uses all of them."""
    match first_unseen(("efficientnet-lite0", "vgg16"), training):
        case "efficientnet-lite0":
            return efficientnet_lite0()
        case "vgg16":
            with reported("Downloading VGG16", "bytes") as on_progress:
                return vgg16(on_progress=on_progress)
    raise UserError(
        f"--best-by kernel-distance: {reason('efficientnet-lite0', training)}, and so would those of vgg16: use "
        "another metric, or only one of these networks in the training"
    )


# --- Samples of a task's data ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Indices:
    """The indices of the samples to evaluate.

    Unpaired data repeat the images of the smaller side. Each image is evaluated once.
    """

    sources: frozenset[int]
    targets: frozenset[int]

    @property
    def any(self) -> list[int]:
        return sorted(self.sources | self.targets)

    @property
    def fewest(self) -> int:
        return min(len(self.sources), len(self.targets))


def distinct(task: Task[Any, Any], data: Data, limit: int) -> Indices:
    """Return the indices of different images among the first `limit` samples; 0 means all samples."""
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
    """Return the inputs of a sample and its target, each C×H×W in [-1, 1]."""
    sample = data[(0, index)]
    batch = type(sample)(*(torch.from_numpy(np.asarray(image))[None] for image in sample))
    inputs, target = task.inputs_and_target(batch)
    return tuple(image[0].numpy() for image in inputs), target[0].numpy()
