"""Images per second of a training step, beside the plain form of the same step, measured in turn in one run.

    python benchmarks/train_step.py [--batches 1 4] [--size 256] [--seconds 40]

The plain form is the published pix2pix step (Isola et al. 2017) written straightforwardly: eager, float32, NCHW,
torch's default Adam, D then G, one forward pass of G, D's weights frozen while G learns. No waste is added to it,
and it keeps no gradient norms, guards or diagnostics, all of which the project's own step includes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from gan_tasks.datasets.paired import Pair, PairedConfig
from gan_tasks.optimisation import OptimisationConfig
from gan_tasks.pix2pix import Pix2Pix
from gan_tasks.runtime import start_runtime
from gan_tasks.trainer import Trainer

Step = Callable[[Pair], None]


def make_task(batch: int) -> Pix2Pix:
    data = PairedConfig(source_channels=3, target_channels=3)
    task = Pix2Pix(data=data, optimisation=OptimisationConfig(batch_size=batch))
    task.build(for_training=True)
    return task


def plain_step(batch: int, device: torch.device) -> Step:
    task = make_task(batch)
    return published_step(task.generators["g"].to(device), task.discriminators["d"].scales[0].to(device), device)


def published_step(g: nn.Module, d: nn.Module, device: torch.device) -> Step:
    """The plain form: a function that takes one step on a batch."""
    adam_g = torch.optim.Adam(g.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_d = torch.optim.Adam(d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    bce = functional.binary_cross_entropy_with_logits

    def step(x: Pair) -> None:
        source, target = x.source.to(device), x.target.to(device)
        fake = g(source)
        d.requires_grad_(True)
        adam_d.zero_grad()
        on_fake = d(torch.cat([source, fake.detach()], 1))[-1]
        on_real = d(torch.cat([source, target], 1))[-1]
        loss = bce(on_fake, torch.zeros_like(on_fake)) + bce(on_real, torch.ones_like(on_real))
        (loss * 0.5).backward()
        adam_d.step()
        d.requires_grad_(False)
        adam_g.zero_grad()
        on_fake = d(torch.cat([source, fake], 1))[-1]
        (bce(on_fake, torch.ones_like(on_fake)) + 100 * functional.l1_loss(fake, target)).backward()
        adam_g.step()

    return step


def own_step(trainer: Trainer) -> Step:
    taken = 0

    def step(x: Pair) -> None:
        nonlocal taken
        trainer.step(x, index=taken)
        taken += 1

    return step


def measure(steps: dict[str, Step], x: Pair, seconds: float, device: torch.device) -> dict[str, list[float]]:
    """Seconds a step, each kind in turn, so that all see the same moods of the machine."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step(x)
        step(x)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken["plain"]) < 5:
        for name, step in steps.items():
            start = time.perf_counter()
            step(x)
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken[name].append(time.perf_counter() - start)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="images a step")
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--seconds", type=float, default=40, help="to measure for, at each batch size")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    with start_runtime(options.device) as runtime:
        plain_runtime = replace(runtime, bf16=False)
        print(f"{plain_runtime.describe()}; U-Net-256, {options.size}²; the suite runs in {runtime.describe()}")
        for batch in options.batches:
            torch.manual_seed(0)
            images = torch.rand(2, batch, 3, options.size, options.size) * 2 - 1
            task = make_task(batch)
            trainer = Trainer(task, task.stages(1)[0], runtime, seed=0)
            steps = {"plain": plain_step(batch, runtime.device), "gan-tasks": own_step(trainer)}
            taken = measure(steps, Pair(images[0], images[1]), options.seconds, runtime.device)
            rates = {name: batch / statistics.median(times) for name, times in taken.items()}
            ratio = statistics.median(
                plain / own for plain, own in zip(taken["plain"], taken["gan-tasks"], strict=True)
            )
            shown = ", ".join(f"{name} {rate:.2f} images/s" for name, rate in rates.items())
            print(f"batch {batch}: {shown}; {ratio:.2f}× (median of {len(taken['plain'])} pairs)")


if __name__ == "__main__":
    main()
