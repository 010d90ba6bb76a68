"""Measure the images per second of a training step, compared with a plain implementation of the same step.

    python benchmarks/train_step.py [--task pix2pix] [--batches 1 4] [--size 256] [--seconds 60]
    python benchmarks/train_step.py --task cyclegan --batches 1 --size 128

The plain implementation is the step of the pix2pix paper (Isola et al. 2017) or the CycleGAN paper (Zhu et al. 2017):
eager, float32, NCHW, torch's default Adam, one forward pass of each generator on each image that it needs, and no
gradients for D's weights in the step of G. It does no unnecessary work. It has no gradient norms, no guards against
NaN, no logging and, for CycleGAN, no image pool, all of which the step of gan-tasks includes.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.paired import Pair, PairedConfig
from gan_tasks.datasets.unpaired import Unpaired, UnpairedConfig
from gan_tasks.networks.discriminators import PatchDiscriminator
from gan_tasks.networks.translation import resnet, unet
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.tasks.base import Task
from gan_tasks.tasks.cyclegan import CycleGAN
from gan_tasks.tasks.pix2pix import Pix2Pix
from gan_tasks.training.runtime import Runtime, pick_device, start_runtime
from gan_tasks.training.step import Trainer

Step = Callable[[Any], None]
KINDS = ("plain", "gan-tasks")
NETWORKS = {"pix2pix": "U-Net-256", "cyclegan": "two ResNet-9"}
WARM_UP_STEPS = 2


def plain_step(task: str, device: torch.device) -> Step:
    """Return a function that takes one plain step of a task on a batch."""
    if task == "pix2pix":
        return published_step(unet(3, 3).to(device), PatchDiscriminator(6).to(device), device)
    generators = nn.ModuleList(resnet(3, 3) for _ in "ab").to(device)
    discriminators = nn.ModuleList(PatchDiscriminator(3, norm="instance") for _ in "ab").to(device)
    return published_cyclegan_step(generators, discriminators, device)


def published_step(g: nn.Module, d: nn.Module, device: torch.device) -> Step:
    """Return a function that takes one step on a batch as in the pix2pix paper."""
    adam_g = torch.optim.Adam(g.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_d = torch.optim.Adam(d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    bce = functional.binary_cross_entropy_with_logits

    def step(x: Pair[Tensor]) -> None:
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


def published_cyclegan_step(generators: nn.ModuleList, discriminators: nn.ModuleList, device: torch.device) -> Step:
    """Return a function that takes one step on a batch as in the CycleGAN paper, G before D, without an image pool.

    generators: from A to B and from B to A. discriminators: of A and of B.
    """
    (to_b, to_a), (d_a, d_b) = generators, discriminators
    adam_g = torch.optim.Adam(generators.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_d = torch.optim.Adam(discriminators.parameters(), lr=2e-4, betas=(0.5, 0.999))
    l1 = functional.l1_loss

    def squares(logits: Tensor, target: float) -> Tensor:
        return functional.mse_loss(logits, torch.full_like(logits, target))

    def step(x: Unpaired[Tensor]) -> None:
        a, b = x.a.to(device), x.b.to(device)
        fake_b, fake_a = to_b(a), to_a(b)
        discriminators.requires_grad_(False)
        adam_g.zero_grad()
        loss = squares(d_b(fake_b)[-1], 1) + squares(d_a(fake_a)[-1], 1)
        loss = loss + 10 * l1(to_a(fake_b), a) + 10 * l1(to_b(fake_a), b)
        loss = loss + 5 * l1(to_b(b), b) + 5 * l1(to_a(a), a)
        loss.backward()
        adam_g.step()
        discriminators.requires_grad_(True)
        adam_d.zero_grad()
        for d, real, fake in ((d_a, a, fake_a), (d_b, b, fake_b)):
            (0.5 * (squares(d(real)[-1], 1) + squares(d(fake.detach())[-1], 0))).backward()
        adam_d.step()

    return step


def own_step(name: str, batch: int, runtime: Runtime) -> Step:
    """Return a function that takes one step of gan-tasks on a batch."""
    task: Task[Any, Any]
    optimisation = OptimisationConfig(batch_size=batch)
    if name == "pix2pix":
        task = Pix2Pix(data=PairedConfig(source_channels=3, target_channels=3), optimisation=optimisation)
    else:
        task = CycleGAN(data=UnpairedConfig(a_channels=3, b_channels=3), optimisation=optimisation)
    task.build(for_training=True)
    trainer = Trainer(task, task.stages(1)[0], runtime, seed=0)
    taken = itertools.count()

    def step(x: Any) -> None:
        trainer.step(x, index=next(taken))

    return step


def stepper(kind: str, options: argparse.Namespace, batch: int, pipe: Connection) -> None:
    """Run in a process of its own: send the seconds of a step for each request, and at the end the peak bytes.

    Each implementation has its own process, so that the memory and thread settings of gan-tasks do not affect the
    plain one.
    """
    torch.manual_seed(0)
    images = torch.rand(2, batch, 3, options.size, options.size) * 2 - 1
    x = Pair(*images) if options.task == "pix2pix" else Unpaired(*images)
    device = pick_device(options.device)
    with contextlib.ExitStack() as stack:
        if kind == "plain":
            step = plain_step(options.task, device)
        else:
            step = own_step(options.task, batch, stack.enter_context(start_runtime(options.device)))
        while pipe.recv():
            start = time.perf_counter()
            step(x)
            if device.type == "cuda":
                torch.cuda.synchronize()
            pipe.send(time.perf_counter() - start)
    pipe.send(peak_bytes(device))


def peak_bytes(device: torch.device) -> float:
    """Return the peak memory of this process: of tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(options: argparse.Namespace, batch: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the seconds per step and the peak bytes of both implementations.

    They take turns, so that a change in the machine's speed affects both.
    """
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for kind in KINDS:
        pipes[kind], theirs = context.Pipe()
        processes.append(context.Process(target=stepper, args=(kind, options, batch, theirs), daemon=True))
        processes[-1].start()

    def seconds(kind: str) -> float:
        pipes[kind].send(True)
        taken: float = pipes[kind].recv()
        return taken

    for _ in range(WARM_UP_STEPS):
        for kind in KINDS:
            seconds(kind)
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end or len(taken["plain"]) < 5:
        for kind in KINDS:
            taken[kind].append(seconds(kind))
    peaks: dict[str, float] = {}
    for kind, process in zip(KINDS, processes, strict=True):
        pipes[kind].send(False)
        peaks[kind] = pipes[kind].recv()
        process.join()
    return taken, peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=NETWORKS, default="pix2pix", help="task to train")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="batch sizes to measure")
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--seconds", type=float, default=60, help="duration of the measurement of each batch size")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    with start_runtime(options.device) as runtime:
        capability = torch.backends.cpu.get_cpu_capability() if runtime.device.type == "cpu" else ""
        print(
            f"{NETWORKS[options.task]} at {options.size}²; gan-tasks runs in {runtime.describe()} {capability}",
            flush=True,
        )
    for batch in options.batches:
        taken, peaks = measure(options, batch)
        rates = {kind: batch / statistics.median(times) for kind, times in taken.items()}
        ratios = sorted(plain / own for plain, own in zip(taken["plain"], taken["gan-tasks"], strict=True))
        shown = ", ".join(f"{kind} {rate:.2f} images/s" for kind, rate in rates.items())
        quartiles = statistics.quantiles(ratios, n=4)
        print(
            f"batch {batch}: {shown}; {quartiles[1]:.2f}× "
            f"(median of {len(ratios)} pairs, quartiles {quartiles[0]:.2f}–{quartiles[2]:.2f}); "
            f"peak memory {', '.join(f'{kind} {peak / 2**20:.0f} MiB' for kind, peak in peaks.items())}",
            flush=True,
        )


if __name__ == "__main__":
    main()
