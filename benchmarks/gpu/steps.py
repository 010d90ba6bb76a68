"""Training steps: their speed in each precision and form, beside the plain form, and their memory at 512 × 512 px."""

from __future__ import annotations

import gc
import itertools
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import plain_steps
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from train_step import ROWS, images, peak_bytes

from gan_tasks.training.runtime import Runtime, pick_device, start_runtime
from gan_tasks.training.step import Trainer
from gpu.options import Options, Row, attempt

PRECISIONS = ("bf16", "tf32", "fp32")
TINY_SIZES_PX = {"pix2pix": 256, "cyclegan": 32, "compact": 32, "esrgan": 32, "inpainting": 64}
WARM_UP_STEPS = 3
FEWEST_RUNS = 3
MEASURED_S = 0.4
LARGE_PX = 512
TENSORS_BYTES = 7.3 * 2**30
"""What tensors may take of a GPU of 8 GB; the rest is for CUDA itself."""
Step = Callable[[Any], object]


@contextmanager
def computing(options: Options, precision: str, *, recompute: bool = False) -> Iterator[Runtime]:
    """Set up the device. fp32 multiplies without TF32, which is the default of gan-tasks on a GPU."""
    exact = precision == "fp32"
    with start_runtime(options.device, "bf16" if precision == "bf16" else "fp32", recompute=recompute) as runtime:
        if runtime.device.type == "cuda":
            torch.set_float32_matmul_precision("highest" if exact else "high")
            torch.backends.cudnn.allow_tf32 = not exact
        yield runtime


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget(device: torch.device) -> None:
    """Give memory back, and measure its peak anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def seconds_of(run: Callable[[], object], device: torch.device, options: Options) -> float:
    """Return the seconds of a run, the mean of many that are launched one after another.

    A GPU can be a thousand launches behind the CPU. A few runs tell how many take MEASURED_S; no more are launched.
    """

    def mean_s(runs: int) -> float:
        synchronise(device)
        start = time.perf_counter()
        for _ in range(runs):
            run()
        synchronise(device)
        return (time.perf_counter() - start) / runs

    for _ in range(1 if options.tiny else WARM_UP_STEPS):
        run()
    if options.tiny:
        return mean_s(1)
    first_s = mean_s(FEWEST_RUNS)
    runs = math.ceil(MEASURED_S / first_s)
    return mean_s(runs) if runs > FEWEST_RUNS else first_s


def machine(options: Options) -> Iterator[Row]:
    """The versions, and the speed of the fastest convolution in each precision."""
    device = pick_device(options.device)
    on_gpu = device.type == "cuda"
    yield {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_gpu else None,
        "device": torch.cuda.get_device_name(device) if on_gpu else "CPU",
        "memory_mib": torch.cuda.get_device_properties(device).total_memory / 2**20 if on_gpu else None,
        "cores": float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1),
    }
    for precision in PRECISIONS:
        row: Row = {"precision": precision}
        yield attempt(row, partial(convolution_peak, options, precision))


def convolution_peak(options: Options, precision: str) -> Row:
    """Return the floating-point operations in a second of the fastest of a few 3 × 3 convolutions, channels-last."""
    best = 0.0
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    shapes = ((1, 64, 32),) if options.tiny else ((16, 256, 64), (16, 512, 64), (32, 1024, 32))
    with computing(options, precision) as runtime, torch.inference_mode():
        for count, channels, size in shapes:
            x = torch.randn(count, channels, size, size, device=runtime.device, dtype=dtype)
            conv = nn.Conv2d(channels, channels, 3, padding=1, device=runtime.device, dtype=dtype)
            conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            run = partial(conv, x.contiguous(memory_format=torch.channels_last))
            seconds = seconds_of(run, runtime.device, options)
            best = max(best, 2 * count * 9 * (channels * size) ** 2 / seconds)
    return {"flops": best}


def cases(options: Options) -> Iterator[tuple[str, int, int, str]]:
    """Yield task, batch size, height and width, and precision, the most important first."""
    tasks = options.tasks or tuple(ROWS)
    batches, precisions = ((1, 2), ("fp32",)) if options.tiny else ((1, 16), PRECISIONS)
    for precision, name, batch in itertools.product(precisions, tasks, batches):
        yield name, batch, TINY_SIZES_PX[name] if options.tiny else ROWS[name].size_px, precision


def speed(step: Step, x: Any, device: torch.device, options: Options) -> Row:
    seconds = seconds_of(lambda: step(x), device, options)
    return {"ms": seconds * 1000, "images_per_s": len(x[0]) / seconds, "peak_mib": peak_bytes(device) / 2**20}


def plain(options: Options) -> Iterator[Row]:
    """The plain form of each step, in bf16 with autocast around it, and its floating-point operations."""
    plain_steps.use_layers_of_pytorch()
    for name, batch, size, precision in cases(options):
        row: Row = {"task": name, "batch": float(batch), "precision": precision, "form": "plain"}
        yield attempt(row, partial(plain_step, options, name, batch, size, precision))


def plain_step(options: Options, name: str, batch: int, size: int, precision: str) -> Row:
    with computing(options, precision) as runtime:
        forget(runtime.device)
        step = ROWS[name].plain(runtime.device)
        x = runtime.to_device(images(name, batch, size))

        def in_precision(x: Any) -> None:
            with runtime.autocast():
                step(x)

        found = speed(in_precision, x, runtime.device, options)
        with FlopCounterMode(display=False) as counter:
            in_precision(x)
        return found | {"flops": counter.get_total_flops()}


def own(options: Options) -> Iterator[Row]:
    """The eager step of gan-tasks."""
    for name, batch, size, precision in cases(options):
        row: Row = {"task": name, "batch": float(batch), "precision": precision, "form": "eager"}
        yield attempt(row, partial(own_step, options, name, batch, size, precision))


def compiled(options: Options) -> Iterator[Row]:
    """The step of gan-tasks with compiled networks, and with networks as CUDA graphs.

    A whole step is no graph: the CPU decides in it whether a gradient was finite.
    """
    for name, batch, size, precision in cases(options):
        for form, mode in (("compiled", None), ("graphs", "reduce-overhead")):
            row: Row = {"task": name, "batch": float(batch), "precision": precision, "form": form}
            yield attempt(row, partial(own_step, options, name, batch, size, precision, compile=True, mode=mode))


def own_step(
    options: Options,
    name: str,
    batch: int,
    size: int,
    precision: str,
    *,
    compile: bool = False,
    mode: str | None = None,
    recompute: bool = False,
) -> Row:
    with computing(options, precision, recompute=recompute) as runtime:
        torch.compiler.reset()
        forget(runtime.device)
        task = ROWS[name].task(batch)
        task.build(for_training=True)
        trainer = Trainer(task, task.stages(1)[ROWS[name].stage], runtime, seed=0)
        for network in (*task.generators.values(), *task.discriminators.values()) if compile else ():
            network.compile(mode=mode, dynamic=False)
        taken = itertools.count()

        def step(x: Any) -> None:
            if mode:
                torch.compiler.cudagraph_mark_step_begin()
            trainer.step(x, index=next(taken))

        return speed(step, runtime.to_device(images(name, batch, size)), runtime.device, options)


def memory(options: Options) -> Iterator[Row]:
    """Steps of pix2pix and CycleGAN on one large image, with and without recomputed features, in 8 GB of memory."""
    size = TINY_SIZES_PX["cyclegan"] if options.tiny else LARGE_PX
    precisions, names = (("fp32",), ("cyclegan",)) if options.tiny else (("bf16", "tf32"), ("pix2pix", "cyclegan"))
    device = pick_device(options.device)
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1, TENSORS_BYTES / there), device)
    for precision, name, recompute in itertools.product(precisions, names, (False, True)):
        row: Row = {"task": name, "size_px": float(size), "precision": precision}
        row |= {"form": "recomputed" if recompute else "kept"}
        yield attempt(row, partial(large_step, options, name, size, precision, recompute))


def large_step(options: Options, name: str, size: int, precision: str, recompute: bool) -> Row:
    found = own_step(options, name, 1, size, precision, recompute=recompute)
    device = pick_device(options.device)
    if device.type == "cuda":
        found["reserved_mib"] = torch.cuda.max_memory_reserved(device) / 2**20
    return found
