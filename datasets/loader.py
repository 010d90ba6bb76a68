"""Build the PyTorch DataLoader for a dataset and a stream of keys."""

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
    """A dataset keyed by (epoch, index). A sample is a (named) tuple of numpy arrays and depends only on its key."""

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
    """Return a DataLoader that loads the stream's endless batches as tuples of tensors, N×… each.

    workers: number of processes that load in advance; 0 loads in this process. It does not change the batches.
    pin_memory: copy the tensors to page-locked memory, from which transfers to a GPU are faster.
    start_method: how worker processes start; None is Python's default for the system.
    """
    _end_opencv_threads()  # a fork does not copy threads, so forked workers would hang in OpenCV
    closing = multiprocessing.RawValue(ctypes.c_bool, False)
    atexit.register(setattr, closing, "value", True)  # runs before multiprocessing ends its children
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # torch's code needs only these two methods
        batch_sampler=stream,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=functools.partial(_start_worker, closing),
        multiprocessing_context=start_method if workers > 0 else None,
        # Without its own generator the loader draws from the global one, and a resumed run would differ.
        generator=torch.Generator().manual_seed(0),
    )


def _start_worker(closing: "ctypes.c_bool", worker_id: int) -> None:
    _end_opencv_threads()  # needed in spawned workers; forked workers have no threads, see make_loader
    torch.set_num_threads(1)

    # Ctrl-C and a scheduler's SIGTERM are also sent to the workers. They ignore both until the main process exits,
    # because it may still be saving; at exit it ends them with SIGTERM.
    def exit_if_closing(*_: object) -> None:
        if closing.value:
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, exit_if_closing)


def _end_opencv_threads() -> None:
    import cv2

    if cv2.getNumThreads() > 1:
        cv2.setNumThreads(1)
