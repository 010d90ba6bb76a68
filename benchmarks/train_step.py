"""Measure a training step of each task, beside a plain implementation of the same step.

    python benchmarks/train_step.py [--tasks pix2pix cyclegan …] [--seconds 20] [--device auto]
    python benchmarks/train_step.py --tasks pix2pix --batches 1 4 --seconds 60
    python benchmarks/train_step.py --tasks esrgan --profile

Both forms have a process of their own and take turns, so that a change in the machine's speed affects both. Printed
for each batch are the medians, the ratio with its quartiles, the peak memory, and the share of the machine's peak:
the floating-point operations of the convolutions and products in a plain step, in a second, over the speed of the
fastest convolution in the precision that gan-tasks trains in. `plain_steps.py` says what the plain form does.

With `--profile`, the operations in which a step of gan-tasks spends its time are printed instead.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import plain_steps
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from gan_tasks.datasets.inpainting import Masked, MaskedConfig
from gan_tasks.datasets.paired import Pair, PairedConfig
from gan_tasks.datasets.super_resolution import LowRes
from gan_tasks.datasets.unpaired import Unpaired, UnpairedConfig
from gan_tasks.losses.perceptual import PerceptualConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.tasks.base import Task
from gan_tasks.tasks.cut import CUT
from gan_tasks.tasks.cyclegan import CycleGAN
from gan_tasks.tasks.inpainting import Inpainting
from gan_tasks.tasks.pix2pix import Pix2Pix
from gan_tasks.tasks.super_resolution import SuperResolution
from gan_tasks.training.runtime import Runtime, pick_device, start_runtime
from gan_tasks.training.step import Trainer

KINDS = ("plain", "gan-tasks")
WARM_UP_STEPS = 2
PROFILED_STEPS, PROFILED_OPERATIONS = 5, 12
PEAK_CONVOLUTIONS = ((4, 256, 64), (16, 512, 32), (1, 512, 64))
"""Images, channels, and height and width of the 3×3 convolutions of which the fastest is the machine's peak."""


@dataclass(frozen=True)
class Row:
    """One task of the table.

    network: what it trains.
    size_px: height and width of the images, of the enlarged ones in super-resolution.
    batches: the batch sizes that are measured unless others are given.
    """

    network: str
    size_px: int
    batches: tuple[int, ...]
    plain: Callable[[torch.device], plain_steps.Step]
    task: Callable[[int], Task[Any, Any]]
    """Makes the task for a batch size."""
    stage: int = 0


def optimisation(batch: int) -> OptimisationConfig:
    return OptimisationConfig(batch_size=batch)


def super_resolution(batch: int, **options: Any) -> Task[Any, Any]:
    rates = OptimisationConfig(batch_size=batch, betas=(0.9, 0.99), ema_halflife_images=11_000)
    return SuperResolution(perceptual=PerceptualConfig(), optimisation=rates, **options)


def fastcut(batch: int) -> Task[Any, Any]:
    data = UnpairedConfig(a_channels=3, b_channels=3)
    return CUT(replace(CUT.presets["fastcut"], data=data, optimisation=optimisation(batch)))


ROWS = {
    "pix2pix": Row(
        "U-Net-256",
        256,
        (1, 4),
        plain_steps.pix2pix,
        lambda batch: Pix2Pix(
            data=PairedConfig(source_channels=3, target_channels=3), optimisation=optimisation(batch)
        ),
    ),
    "cyclegan": Row(
        "two ResNet-9",
        256,
        (1,),
        plain_steps.cyclegan,
        lambda batch: CycleGAN(data=UnpairedConfig(a_channels=3, b_channels=3), optimisation=optimisation(batch)),
    ),
    "cut": Row(
        "ResNet-9",
        256,
        (1,),
        plain_steps.cut,
        lambda batch: CUT(data=UnpairedConfig(a_channels=3, b_channels=3), optimisation=optimisation(batch)),
    ),
    "fastcut": Row("ResNet-9", 256, (1,), plain_steps.fastcut, fastcut),
    "compact": Row(
        "SRVGG-16",
        128,
        (8,),
        plain_steps.compact,
        lambda batch: super_resolution(batch, network="srvgg", blocks=16, adversarial_epochs=0),
    ),
    "esrgan": Row("RRDB-23", 128, (1,), plain_steps.esrgan, super_resolution, stage=1),
    "inpainting": Row(
        "DeepFill v2",
        256,
        (1,),
        plain_steps.inpainting,
        lambda batch: Inpainting(data=MaskedConfig(image_channels=3), optimisation=optimisation(batch)),
    ),
}


def images(name: str, batch: int, size: int) -> Any:
    """Return a batch of random images."""
    a, b = torch.rand(2, batch, 3, size, size) * 2 - 1
    match name:
        case "pix2pix":
            return Pair(a, b)
        case "cyclegan" | "cut" | "fastcut":
            return Unpaired(a, b)
        case "inpainting":
            mask = torch.zeros(batch, 1, size, size)
            mask[..., size // 4 : size // 2, size // 4 : size // 2] = 1
            return Masked(a, mask, torch.zeros_like(mask))
    return LowRes(functional.avg_pool2d(a, 4), a)


def own_step(name: str, batch: int, runtime: Runtime) -> plain_steps.Step:
    """Return a function that takes one step of gan-tasks on a batch."""
    task = ROWS[name].task(batch)
    task.build(for_training=True)
    trainer = Trainer(task, task.stages(1)[ROWS[name].stage], runtime, seed=0)
    taken = itertools.count()

    def step(x: Any) -> None:
        trainer.step(x, index=next(taken))

    return step


def started(options: argparse.Namespace) -> contextlib.AbstractContextManager[Runtime]:
    precision, recompute = options.precision, options.recompute
    return start_runtime(options.device, precision, compile=options.compile, recompute=recompute)


def stepper(kind: str, name: str, batch: int, size: int, options: argparse.Namespace, pipe: Connection) -> None:
    """Run in a process of its own: send the seconds of a step for each request, and at the end its figures.

    The figures are the peak bytes, and the floating-point operations of a step if it is the plain one.
    """
    torch.manual_seed(0)
    x = images(name, batch, size)
    device = pick_device(options.device)
    with contextlib.ExitStack() as stack:
        if kind == "plain":
            plain_steps.use_layers_of_pytorch()
            step = ROWS[name].plain(device)
        else:
            step = own_step(name, batch, stack.enter_context(started(options)))
        while pipe.recv():
            start = time.perf_counter()
            step(x)
            if device.type == "cuda":
                torch.cuda.synchronize()
            pipe.send(time.perf_counter() - start)
        peak = peak_bytes(device)
        counter = FlopCounterMode(display=False)
        if kind == "plain":
            with counter:
                step(x)
        pipe.send((peak, counter.get_total_flops()))


def peak_bytes(device: torch.device) -> float:
    """Return the peak memory of this process: of tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations in a second of the fastest of PEAK_CONVOLUTIONS."""
    best = 0.0
    for count, channels, size in PEAK_CONVOLUTIONS:
        x = torch.randn(count, channels, size, size, device=device, dtype=dtype)
        weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
        x, weight = (each.contiguous(memory_format=torch.channels_last) for each in (x, weight))
        for _ in range(8):
            start = time.perf_counter()
            functional.conv2d(x, weight, padding=1)
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = max(best, 2 * count * 9 * (channels * size) ** 2 / (time.perf_counter() - start))
    return best


@dataclass(frozen=True)
class Measured:
    """seconds: of each step, by the kind of step. peaks: the largest memory, in bytes. flops: of the plain step."""

    seconds: dict[str, list[float]]
    peaks: dict[str, float]
    flops: float


def measure(name: str, batch: int, size: int, options: argparse.Namespace) -> Measured:
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for kind in KINDS:
        pipes[kind], theirs = context.Pipe()
        arguments = (kind, name, batch, size, options, theirs)
        processes.append(context.Process(target=stepper, args=arguments, daemon=True))
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
    while time.perf_counter() < end or len(taken["plain"]) < 3:
        for kind in KINDS:
            taken[kind].append(seconds(kind))
    peaks, flops = {}, 0.0
    for kind, process in zip(KINDS, processes, strict=True):
        pipes[kind].send(False)
        peaks[kind], counted = pipes[kind].recv()
        flops = max(flops, counted)
        process.join()
    return Measured(taken, peaks, flops)


def own_time_us(operation: Any, device: torch.device) -> float:
    """Return the time of an operation of `key_averages`, without those that it calls; on a GPU that of its kernels.

    Kernels have entries of their own beside the operation that started them: these count as 0.
    """
    if device.type == "cpu":
        return float(operation.self_cpu_time_total)
    return float(operation.self_device_time_total) if operation.device_type.name == "CPU" else 0.0


def profile_lines(operations: Iterable[Any], device: torch.device) -> Iterator[str]:
    """Yield the time of a step in all operations, and a table of those that take most of it."""
    times = sorted(((own_time_us(each, device), each) for each in operations), key=lambda pair: -pair[0])
    total = sum(time_us for time_us, _ in times)
    yield f"{total / PROFILED_STEPS / 1000:,.0f} ms a step on {device}\n"
    yield "| Operation | Of the step | Calls in a step |\n|---|---|---|"
    for time_us, operation in times[:PROFILED_OPERATIONS]:
        yield f"| `{operation.key}` | {time_us / total:.1%} | {operation.count / PROFILED_STEPS:,.0f} |"


def profile(name: str, batch: int, size: int, options: argparse.Namespace) -> None:
    """Print the operations in which a step of gan-tasks spends most time, and how often each is called."""
    torch.manual_seed(0)
    x = images(name, batch, size)
    with started(options) as runtime:
        step = own_step(name, batch, runtime)
        for _ in range(WARM_UP_STEPS):
            step(x)
        with torch.profiler.profile() as profiler:
            for _ in range(PROFILED_STEPS):
                step(x)
            if runtime.device.type == "cuda":
                torch.cuda.synchronize()
        print(f"\n{name}, {ROWS[name].network}, {size}², batch {batch}: ", end="")
        for line in profile_lines(profiler.key_averages(), runtime.device):
            print(line, flush=True)


def row(name: str, batch: int, size: int, measured: Measured, peak: float) -> str:
    """Return a line of the table."""
    plain, own = (measured.seconds[kind] for kind in KINDS)
    ratios = [a / b for a, b in zip(plain, own, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    share = measured.flops / statistics.median(own) / peak
    memory = " / ".join(f"{measured.peaks[kind] / 2**20:,.0f}" for kind in KINDS)
    return (
        f"| {name}, {ROWS[name].network} | {size}² | {batch} | {statistics.median(plain) * 1000:,.0f} | "
        f"{statistics.median(own) * 1000:,.0f} | {middle:.2f}× ({low:.2f}–{high:.2f}) | {share:.0%} | {memory} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", choices=ROWS, nargs="+", default=list(ROWS), help="tasks to train")
    parser.add_argument("--batches", type=int, nargs="+", help="batch sizes to measure")
    parser.add_argument("--size", type=int, help="height and width of the images in pixels")
    parser.add_argument("--seconds", type=float, default=20, help="duration of the measurement of each batch size")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of gan-tasks")
    parser.add_argument("--recompute", action="store_true", help="compute features again in the backward pass")
    parser.add_argument("--compile", action="store_true", help="compile the networks of gan-tasks")
    parser.add_argument("--profile", action="store_true", help="print where the time of a step goes")
    options = parser.parse_args()
    measured = [
        (name, batch, options.size or ROWS[name].size_px)
        for name in options.tasks
        for batch in options.batches or ROWS[name].batches
    ]
    if options.profile:
        for name, batch, size in measured:
            profile(name, batch, size, options)
        return
    with started(options) as runtime:
        dtype = torch.bfloat16 if runtime.bf16 else torch.float32
        peak = peak_flops(runtime.device, dtype)
        capability = torch.backends.cpu.get_cpu_capability() if runtime.device.type == "cpu" else ""
        print(f"{runtime.describe()} {capability}; peak of a convolution: {peak / 1e12:.2f} TFLOP/s\n", flush=True)
    print("| Task | Size | Batch | Plain, ms | gan-tasks, ms | Ratio | Share of the peak | Memory, MiB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name, batch, size in measured:
        print(row(name, batch, size, measure(name, batch, size, options), peak), flush=True)


if __name__ == "__main__":
    main()
