"""The runtime of a training: device, ranks, precision, memory layout and compilation."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError, counted, did_you_mean
from gan_tasks.networks.backbone import Generator
from gan_tasks.stderr import say

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Runtime:
    """Device, ranks and precision of a training. `torchrun … train …` starts one process per rank."""

    device: torch.device
    rank: int
    world_size: int
    bf16: bool
    compile: bool
    recompute: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this rank writes the files and prints messages."""
        return self.rank == 0

    def say(self, message: str) -> None:
        """Print a message, in the main process only."""
        if self.is_main:
            say(message)

    def describe(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        cores = f", {counted(torch.get_num_threads(), 'thread')}" if self.device.type == "cpu" else ""
        ranks = f", {self.world_size} processes" if self.world_size > 1 else ""
        return f"{name}{cores}, {'bf16' if self.bf16 else 'fp32'}{ranks}"

    def place(self, module: nn.Module) -> None:
        """Move a module to the device, in its fastest memory layout.

        This is channels-last, but NCHW on a CPU in float32, where a U-Net's convolutions are a quarter faster in it.
        """
        in_rows = self.device.type == "cpu" and not self.bf16
        layout = torch.contiguous_format if in_rows else torch.channels_last
        module.to(self.device, memory_format=layout)  # type: ignore[call-overload]

    def compile_networks(self, *groups: nn.ModuleDict) -> None:
        """Compile each network in place if `compile` is set. The names in state dicts do not change."""
        if self.compile:
            for group in groups:
                for network in group.values():
                    network.compile()

    def recompute_features(self, generators: nn.ModuleDict) -> None:
        """Let generators compute their features again in the backward pass if `recompute` is set."""
        for module in generators.modules():
            if isinstance(module, Generator):
                module.recompute = self.recompute

    def to_device(self, batch: Any) -> Any:
        """Move a NamedTuple of tensors to the device. There, uint8 becomes float32 in [-1, 1]."""
        return type(batch)(*(_centred(x.to(self.device, non_blocking=True)) for x in batch))

    def on_device(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield endless batches on the device. A GPU copies each while it computes the step of the one before it.

        Batches for a GPU must be in page-locked memory.
        """
        if self.device.type != "cuda":
            yield from batches
            return
        copies = torch.cuda.Stream(self.device)

        def begin(batch: Any) -> tuple[Any, torch.cuda.Event]:
            with torch.cuda.stream(copies):
                return self.to_device(batch), copies.record_event()

        for batch, copied in one_ahead(batches, begin):
            steps = torch.cuda.current_stream(self.device)
            steps.wait_event(copied)
            for tensor in batch:
                tensor.record_stream(steps)  # else its memory could be used again before the step has ended
            yield batch

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def average_gradients(self, gradients: list[Tensor]) -> None:
        """Replace each gradient by its mean over the ranks.

        This replaces DistributedDataParallel, which does not support several forward passes per step,
        discriminators without gradients, and double backward (gradient penalties) together.
        """
        if self.world_size == 1:
            return
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        flat /= self.world_size
        means = torch.split(flat, [g.numel() for g in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Return the mean of each value over the ranks, which must have the same keys."""
        if self.world_size == 1:
            return values
        flat = torch.tensor([values[key] for key in sorted(values)], dtype=torch.float64, device=self.device)
        dist.all_reduce(flat)
        return dict(zip(sorted(values), (flat / self.world_size).tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on at least one rank."""
        return self.any_of(flag)[0]

    def any_of(self, *flags: bool) -> list[bool]:
        """Return for each flag whether it is set on at least one rank."""
        if self.world_size == 1:
            return list(flags)
        shared = torch.tensor(flags, dtype=torch.float32, device=self.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return [bool(flag) for flag in shared.tolist()]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in rank order."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.barrier()


@contextmanager
def start_runtime(
    device: str = "auto", precision: Precision = "auto", *, compile: bool = False, recompute: bool = False
) -> Iterator[Runtime]:
    """Set up device and ranks, and shut the process group down at the end.

    Raises UserError if the device is unknown or does not exist.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    place = pick_device(device)
    started = world_size > 1 and not dist.is_initialized()
    if started:
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    if place.type == "cuda":
        torch.cuda.set_device(place)
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    else:
        keep_freed_memory()
        torch.set_flush_denormal(True)  # Adam's moments decay to denormal numbers, which are a hundred times slower
    try:
        yield Runtime(
            device=place,
            rank=int(os.environ.get("RANK", "0")),
            world_size=world_size,
            bf16=precision == "bf16" or (precision == "auto" and bf16_is_fast(place)),
            compile=compile,
            recompute=recompute,
        )
    finally:
        torch.set_flush_denormal(False)
        if started:
            dist.destroy_process_group()


def one_ahead(batches: Iterator[Any], begin: Callable[[Any], Any]) -> Iterator[Any]:
    """Yield `begin(batch)` for endless batches, each begun before the one in front of it is yielded.

    An error is raised when its batch is due.
    """
    following = begin(next(batches))
    error: Exception | None = None
    while error is None:
        current = following
        try:
            following = begin(next(batches))
        except Exception as raised:
            error = raised
        yield current
    raise error


def keep_freed_memory() -> None:
    """Make glibc keep large freed blocks for the next step, which saves page faults.

    This saves a tenth of a small-batch step on a CPU. Does nothing without glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_mmap_threshold, limit_bytes = -1, -3, 2**30
        libc.mallopt(m_mmap_threshold, limit_bytes)
        libc.mallopt(m_trim_threshold, 2 * limit_bytes - 1)


def pick_device(name: str) -> torch.device:
    """Return the device of a name: auto (the first GPU, else the CPU), cpu, cuda or cuda:N.

    Under torchrun, cuda is a different GPU for each rank.

    Raises UserError if the device is unknown or does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        hint = did_you_mean(name, ("auto", "cpu", "cuda"))
        raise UserError(f"unknown device {name!r}, expected auto, cpu, cuda or cuda:N{hint}") from error
    if device.type == "cuda":
        index = device.index if device.index is not None else int(os.environ.get("LOCAL_RANK", "0"))
        if index >= torch.cuda.device_count():
            raise UserError(
                f"device {name!r} was requested, but torch {torch.__version__} finds "
                f"{torch.cuda.device_count()} GPUs: use --device cpu, or see `gan-tasks doctor`"
            )
        device = torch.device("cuda", index)
    elif device.type != "cpu":
        raise UserError(f"device {name!r} is not supported: expected auto, cpu, cuda or cuda:N")
    return device


def _centred(x: Tensor) -> Tensor:
    """Map uint8 to float32 in [-1, 1], as `images.centred` does; other tensors are returned as they are."""
    return x.to(torch.float32).div_(127.5).sub_(1) if x.dtype == torch.uint8 else x


def bf16_is_fast(device: torch.device) -> bool:
    """Return whether the hardware multiplies bfloat16. Without it, bf16 is ten times slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())
