"""How the threads of numerical libraries share the cores with other processes. Imports none of these libraries."""

import os
import sys

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""What tells OpenMP how a thread waits: the variable of the standard, that of GCC, and that of LLVM and Intel."""


SPIN_COUNT = "1000"
"""How often a waiting thread of GCC's OpenMP looks for work before it sleeps: tens of microseconds. A step is a tenth
faster than without looking, and beside busy processes it takes as long."""


def let_waiting_threads_sleep() -> None:
    """Let waiting threads sleep, in this process and those it starts, unless the environment says how to wait.

    By default a thread of PyTorch that waits spins for milliseconds: it takes a core from the data workers, and from
    the thread that it waits for. Sets OMP_WAIT_POLICY=PASSIVE, and GOMP_SPINCOUNT, which PyTorch for Linux takes
    instead. PyTorch reads them when it is loaded; after that nothing is set. `benchmarks/shared_machine.py` measures
    what this saves.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in WAITING):
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": SPIN_COUNT}


def multiply_on_one_thread() -> None:
    """Set OPENBLAS_NUM_THREADS=1, so that NumPy multiplies on one thread, unless the environment sets a number.

    Our products of NumPy are small and run in data workers, or while a network computes. Every process that has
    NumPy would start a thread for each core, and these spin while they wait.
    """
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
