"""The machine: device, ranks, precision, memory layout, compilation."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Runtime:
    """Where and how a training runs. One machine or many is only the launcher: `torchrun … train …`."""

    device: torch.device
    rank: int
    world_size: int
    bf16: bool
    compile: bool

    @property
    def is_main(self) -> bool:
        """Whether this rank writes the files and talks to the person."""
        return self.rank == 0

    def describe(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        cores = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        ranks = f", {self.world_size} processes" if self.world_size > 1 else ""
        return f"{name}{cores}, {'bf16' if self.bf16 else 'fp32'}{ranks}"

    def place(self, module: nn.Module) -> None:
        """Put a module on the device, in the layout that it is fastest in; what it makes has that layout too.

        Channels last on GPUs, and on CPUs in bf16. Instance norm on a CPU is several times faster in rows, and a step
        of CycleGAN by a sixth; so are float32 convolutions, a U-Net's by a quarter.
        """
        in_rows = not self.bf16 or any(isinstance(part, nn.InstanceNorm2d) for part in module.modules())
        layout = torch.contiguous_format if self.device.type == "cpu" and in_rows else torch.channels_last
        module.to(self.device, memory_format=layout)  # type: ignore[call-overload]

    def compile_networks(self, *groups: nn.ModuleDict) -> None:
        """Compile each network in place, where that was asked for; names in state dicts stay as they are."""
        if self.compile:
            for group in groups:
                for network in group.values():
                    network.compile()

    def to_device(self, batch: Any) -> Any:
        """A NamedTuple of tensors, on the device."""
        return type(batch)(*(x.to(self.device, non_blocking=True) for x in batch))

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def average_gradients(self, gradients: list[Tensor]) -> None:
        """Replace each gradient by its mean over the ranks.

        Done by hand after the backward pass instead of by DistributedDataParallel, which several forward
        passes a step, frozen discriminators and double backward (gradient penalties) get in the way of.
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
        """Each number's mean over the ranks, which must have the same keys."""
        if self.world_size == 1:
            return values
        flat = torch.tensor([values[key] for key in sorted(values)], dtype=torch.float64, device=self.device)
        dist.all_reduce(flat)
        return dict(zip(sorted(values), (flat / self.world_size).tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on at least one rank."""
        if self.world_size == 1:
            return flag
        shared = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return bool(shared.item())

    def gather(self, value: Any) -> list[Any]:
        """The value of every rank, in their order."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.barrier()


@contextmanager
def start_runtime(device: str = "auto", precision: Precision = "auto", *, compile: bool = False) -> Iterator[Runtime]:
    """Set up device and ranks, and take the ranks down again at the end.

    Raises UserError for a device that is not there.
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
        torch.set_flush_denormal(True)  # Adam's oldest moments fade into numbers that cost a hundredfold
    try:
        yield Runtime(
            device=place,
            rank=int(os.environ.get("RANK", "0")),
            world_size=world_size,
            bf16=precision == "bf16" or (precision == "auto" and bf16_is_fast(place)),
            compile=compile,
        )
    finally:
        torch.set_flush_denormal(False)
        if started:
            dist.destroy_process_group()


def keep_freed_memory() -> None:
    """Have glibc keep large blocks for the next step instead of giving them back and faulting them in again.

    That is a tenth of a small-batch step on a CPU. Without glibc nothing is done.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_mmap_threshold, limit_bytes = -1, -3, 2**30
        libc.mallopt(m_mmap_threshold, limit_bytes)
        libc.mallopt(m_trim_threshold, 2 * limit_bytes - 1)


def pick_device(name: str) -> torch.device:
    """`auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:1`; under torchrun each rank gets its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"unknown device {name!r}: expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        index = device.index if device.index is not None else int(os.environ.get("LOCAL_RANK", "0"))
        if index >= torch.cuda.device_count():
            raise UserError(
                f"device {name!r} was asked for, but torch {torch.__version__} sees "
                f"{torch.cuda.device_count()} GPUs: use --device cpu, or see `gan-tasks doctor`"
            )
        device = torch.device("cuda", index)
    elif device.type != "cpu":
        raise UserError(f"device {name!r} is not supported: expected auto, cpu, cuda or cuda:N")
    return device


def bf16_is_fast(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself; where it does not, bf16 is ten times slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())
