"""Looking at a task from outside while it trains: sample grids and held-out measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import default_collate

from gan_tasks.datasets.image import to_uint8
from gan_tasks.grid import save_grid
from gan_tasks.measures.distribution import diversity
from gan_tasks.measures.reference import l1, psnr, ssim
from gan_tasks.runtime import Runtime
from gan_tasks.task import Data, Task

SAMPLES = 4  # rows of a sample grid


def translate(
    task: Task[Any, Any], generators: nn.ModuleDict, data: Data, indices: Sequence[int], runtime: Runtime
) -> list[tuple[tuple[Tensor, ...], Tensor, Tensor]]:
    """(inputs, output, target) of single images, 1×C×H×W float32 on the CPU: they may differ in size."""
    results = []
    with task.evaluating(generators), runtime.autocast():
        for index in indices:
            batch = runtime.to_device(default_collate([data[(0, index)]]))
            inputs, target = task.inputs_and_target(batch)
            output = task.infer(*inputs)
            results.append((tuple(i.float().cpu() for i in inputs), output.float().cpu(), target.float().cpu()))
    return results


def save_samples(path: Path, task: Task[Any, Any], generators: nn.ModuleDict, data: Data, runtime: Runtime) -> float:
    """Write the grid of a few images, always the same; returns how varied the outputs are (1 = as the targets)."""
    count = min(SAMPLES, len(data))
    evenly = [index * len(data) // count for index in range(count)]
    with task.evaluating(generators), runtime.autocast():
        shown = [task.pictures(runtime.to_device(default_collate([data[(0, index)]]))) for index in evenly]
    rows = [[to_uint8(image[0].float().cpu().numpy()) for image in pictures.values()] for pictures in shown]
    save_grid(path, rows, list(shown[0]))
    results = translate(task, generators, data, evenly, runtime)
    outputs = torch.cat([functional.adaptive_avg_pool2d(output, 64) for _, output, _ in results])
    targets = torch.cat([functional.adaptive_avg_pool2d(target, 64) for _, _, target in results])
    return diversity(outputs.numpy(), targets.numpy())


def measure(
    task: Task[Any, Any], generators: nn.ModuleDict, data: Data, *, limit: int, runtime: Runtime
) -> dict[str, float]:
    """Means of L1 (of [0, 1] pixel values), PSNR (dB) and SSIM over the first `limit` images of a paired task."""
    sums = {"l1": 0.0, "psnr": 0.0, "ssim": 0.0}
    count = min(limit, len(data))
    for index in range(count):
        ((_, output, target),) = translate(task, generators, data, [index], runtime)
        for name, measured in (("l1", l1), ("psnr", psnr), ("ssim", ssim)):
            sums[name] += float(measured(output, target).mean())
    return {name: total / count for name, total in sums.items()}
