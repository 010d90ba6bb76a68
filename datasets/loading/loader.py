"""Load batches of a dataset in the order of a stream of keys, in worker processes."""

import atexit
import ctypes
import errno
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch.utils.data import DataLoader, default_collate

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import ImageError
from gan_tasks.datasets.images.pixels import centred
from gan_tasks.datasets.loading.sampler import ImageStream, Key, load_sample

_SIGNALS = {getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)}


class WorkerError(UserError):
    """A worker process was ended, or could not hand over its batch."""


class KeyedDataset(Protocol):
    """A dataset keyed by (epoch, index). A sample is a (named) tuple of numpy arrays and depends only on its key.

    It may also have `load`, see `load_sample`.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, key: Key, /) -> Any: ...


def load_batches(
    dataset: KeyedDataset,
    stream: ImageStream,
    *,
    workers: int,
    pin_memory: bool = False,
    start_method: Literal["fork", "spawn"] | None = None,
) -> Generator[Any, None, None]:
    """Yield the stream's endless batches as tuples of tensors, N×… each, by `load` if the dataset has it.

    workers: number of processes that load in advance; 0 loads in this process. It does not change the batches.
    pin_memory: copy the tensors to page-locked memory, from which transfers to a GPU are faster.
    start_method: how worker processes start; None is Python's default for the system.

    Raises ImageError, when its batch is due, for a file that cannot be read, with the same message with and without
    workers. Raises WorkerError for a worker that was killed or has no shared memory left. Closing the generator ends
    the workers.
    """
    _end_opencv_threads()  # a fork does not copy threads, so forked workers would hang in OpenCV
    closing = multiprocessing.RawValue(ctypes.c_bool, False)
    atexit.register(setattr, closing, "value", True)  # runs before multiprocessing ends its children
    loader: DataLoader[Any] = DataLoader(
        _Guarded(dataset),  # type: ignore[arg-type]  # torch's code needs only these two methods
        batch_sampler=stream,
        num_workers=workers,
        collate_fn=_collated,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=functools.partial(_start_worker, closing),
        multiprocessing_context=start_method if workers > 0 else None,
        # Without its own generator the loader draws from the global one, and a resumed run would differ.
        generator=torch.Generator().manual_seed(0),
    )
    batches: Any = None
    try:
        batches = _start(loader)
        while True:
            batch = next(batches)
            if isinstance(batch, _Unreadable):
                raise ImageError(batch.message)
            yield batch
    except (RuntimeError, OSError, EOFError) as error:
        if failure := _failure_of_workers(error, batches):
            raise failure from error
        raise
    finally:
        # At once: the frames of an error keep the loader, and one that is collected later waits 20 s for its workers.
        # A signal may have come when the workers had just been started.
        started: Any = loader._iterator if batches is None else batches
        if hasattr(started, "_shutdown_workers"):
            started._shutdown_workers()


@dataclass(frozen=True)
class _Unreadable:
    """Takes the place of a sample that cannot be read: torch would pass the error on as a worker's traceback."""

    message: str


class _Guarded:
    """A dataset whose unreadable samples are `_Unreadable`."""

    def __init__(self, dataset: KeyedDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Any:
        try:
            return load_sample(self.dataset, key)
        except (UserError, OSError) as error:
            return _Unreadable(str(error))


def _collated(samples: Sequence[Any]) -> Any:
    unreadable = [sample for sample in samples if isinstance(sample, _Unreadable)]
    return unreadable[0] if unreadable else default_collate([_of_one_type(sample, samples) for sample in samples])


def _of_one_type(sample: Any, samples: Sequence[Any]) -> Any:
    """Return a sample whose images of 8 bits became float32 where others of the batch have more bits."""
    if not isinstance(sample, tuple) or not hasattr(sample, "_fields"):
        return sample
    mixed = [len({each[i].dtype for each in samples}) > 1 for i in range(len(sample))]
    return type(sample)(*(centred(x) if mix else x for x, mix in zip(sample, mixed, strict=True)))


def _start(loader: DataLoader[Any]) -> Any:
    """Start the workers. Their end is found when a batch is due.

    Torch's handler of SIGCHLD would raise the error at any moment, such as between the updates of two networks.
    Signals wait until all workers run, so that none is left half started, and until each has its own handlers.
    """
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    handler = signal.getsignal(signal.SIGCHLD)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        return iter(loader)
    finally:
        signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _failure_of_workers(error: Exception, batches: Any) -> WorkerError | None:
    """Return what happened if a worker was ended or found no room; None for an error of the code that it runs."""
    text = str(error)
    workers = getattr(batches, "_workers", [])  # private, and only for the name of the signal
    for worker in workers:
        worker.join(timeout=0.1)
    ended = sorted({-worker.exitcode for worker in workers if worker.exitcode})
    if ended or isinstance(error, ConnectionError | EOFError) or "exited unexpectedly" in text:
        causes = {signal.SIGKILL: ", usually for lack of memory", signal.SIGBUS: ": /dev/shm is full"}
        by = f" by {signal.Signals(ended[0]).name}{causes.get(ended[0], '')}" if ended and ended[0] > 0 else ""
        return WorkerError(f"a process that loads images was ended{by}")
    no_room = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if no_room or "shared memory" in text or "</torch_" in text:
        return WorkerError("the processes that load images have no shared memory left: /dev/shm is full")
    if "Too many open files" in text:
        return WorkerError("the processes that load images have too many open files (see `ulimit -n`)")
    return None


def _start_worker(closing: "ctypes.c_bool", worker_id: int) -> None:
    _end_opencv_threads()  # needed in spawned workers; forked workers have no threads, see load_batches
    torch.set_num_threads(1)

    # Ctrl-C, a scheduler's SIGTERM and the SIGHUP of a closed terminal are also sent to the workers. They ignore them
    # until the main process exits, because it may still be saving; at exit it ends them with SIGTERM.
    def exit_if_closing(*_: object) -> None:
        if closing.value:
            os._exit(0)

    for number in _SIGNALS:
        signal.signal(number, exit_if_closing if number == signal.SIGTERM else signal.SIG_IGN)
    if os.name == "posix":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _end_opencv_threads() -> None:
    import cv2

    if cv2.getNumThreads() > 1:
        cv2.setNumThreads(1)
