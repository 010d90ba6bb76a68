"""The DataLoader: torch's processes around a torch-free dataset and stream."""

import atexit
import ctypes
import functools
import multiprocessing
import os
import signal
from typing import Any, Literal, Protocol

import torch
from torch.utils.data import DataLoader

from gan_tasks.datasets.sampler import ImageStream, Key


class KeyedDataset(Protocol):
    """Samples by (epoch, index). Each is a (named) tuple of numpy arrays and depends on the key alone."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Key, /) -> Any: ...


def make_loader(
    dataset: KeyedDataset,
    stream: ImageStream,
    *,
    workers: int,
    pin_memory: bool = False,
    start_method: Literal["fork", "spawn"] | None = None,
) -> DataLoader[Any]:
    """Load the stream's batches for ever, as tuples of tensors with a batch dimension in front.

    workers: processes that load ahead; 0 loads in this one. The batches are the same at any number.
    start_method: how workers start; None is Python's default for the system.
    """
    _end_opencv_threads()  # forked workers would wait for ever for threads that a fork does not copy
    closing = multiprocessing.RawValue(ctypes.c_bool, False)
    atexit.register(setattr, closing, "value", True)  # runs before multiprocessing ends its children
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # torch's type wants a subclass, its code only these two methods
        batch_sampler=stream,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=functools.partial(_start_worker, closing),
        multiprocessing_context=start_method if workers > 0 else None,
        # Without a generator of its own the loader draws from the global one, and a resumed run differs.
        generator=torch.Generator().manual_seed(0),
    )


def _start_worker(closing: "ctypes.c_bool", worker_id: int) -> None:
    _end_opencv_threads()  # of a spawned worker; a forked one has none, see make_loader
    torch.set_num_threads(1)

    # Ctrl-C and a scheduler's SIGTERM reach workers too, but the main process decides when they end: it may still be
    # saving. At exit it sends SIGTERM itself.
    def exit_if_closing(*_: object) -> None:
        if closing.value:
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, exit_if_closing)


def _end_opencv_threads() -> None:
    import cv2

    if cv2.getNumThreads() > 1:
        cv2.setNumThreads(1)
