"""How much time and memory a file may take, and how a process keeps to its limit of memory and gives memory back."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gan_tasks.export.models.base import MAX_MEMORY_BYTES, FloatImages, output_shape
from gan_tasks.export.onnx.file import OnnxFile
from gan_tasks.export.onnx.providers import Provider
from gan_tasks.spec import ModelSpec

LEAST_S, BYTES_PER_S = 60.0, 500_000
"""Time of a run, and the features that a machine computes in a second. A slow single-board computer reaches twice
that with RRDBNet, which does the most arithmetic for a byte of its features."""
GPU_S = 1800.0
"""Time that a run on a GPU, and opening a file, may take more: TensorRT compiles for each new size."""
LEAST_BYTES, RUN_FACTOR = 512 * 10**6, 4
"""Memory of a run, and times the estimate of its features. ONNX Runtime's arena doubles what it asks for."""
FILE_FACTOR = 12
"""Memory for opening a file, in times its bytes: the bytes, the graph, float32 of float16, and Winograd's weights."""
THREAD_BYTES = 16 * 10**6
"""Memory of a thread."""


@dataclass(frozen=True)
class Limit:
    """What opening a file or running it once may take. memory_bytes: more than the process has then; 0 is no limit.

    output_values: numbers that the output may have.
    """

    seconds: float
    memory_bytes: int
    output_values: int = 0


def opening_limit(file: OnnxFile, provider: Provider, threads: int) -> Limit:
    seconds = LEAST_S + len(file.data) / BYTES_PER_S
    if provider.on_gpu:
        return Limit(seconds + GPU_S, 0)
    return Limit(seconds, 2 * LEAST_BYTES + FILE_FACTOR * len(file.data) + threads * THREAD_BYTES)


def run_limit(
    spec: ModelSpec,
    bytes_per_pixel: int,
    feeds: Mapping[str, FloatImages],
    *,
    on_gpu: bool,
    seconds: float | None = None,
) -> Limit:
    """Return the limit of a run on these inputs.

    bytes_per_pixel: the memory that the model says that it needs for a pixel of its largest image.
    seconds: the default is LEAST_S, and a second for BYTES_PER_S of its features, of which a model that cannot run in
        tiles gets time for MAX_MEMORY_BYTES at most.
    """
    inputs = tuple(feeds[given.name] for given in spec.inputs)
    count, channels, rows, columns = output_shape(spec, inputs)
    spatial = [feeds[given.name].shape[-2:] for given in spec.inputs if given.is_spatial] or [(rows, columns)]
    features = count * max(height * width for height, width in spatial) * bytes_per_pixel
    if not spec.runs_in_tiles:  # tiles have at most `max_memory_bytes`; here a file could ask for any time
        features = min(features, MAX_MEMORY_BYTES)
    output_values = count * channels * rows * columns
    memory = LEAST_BYTES + RUN_FACTOR * (features + 4 * output_values + sum(x.nbytes for x in inputs))
    if not spec.runs_in_tiles:  # the memory of attention grows with the square of the pixels
        memory = max(memory, available_bytes())
    if seconds is None:
        seconds = LEAST_S + features / BYTES_PER_S + GPU_S * on_gpu
    return Limit(seconds, 0 if on_gpu else memory, 2 * output_values)


def available_bytes() -> int:
    """Return the memory that the system can still give, as Linux says; 0 elsewhere."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def limit_memory(more_bytes: int) -> None:
    """Limit what this process may take to what it has and so many bytes more; 0 is no limit. Only Linux limits it."""
    if sys.platform != "linux":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = resource.RLIM_INFINITY
    if more_bytes:
        has = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        limit = min(has + more_bytes, 2**62)
    if most != resource.RLIM_INFINITY:
        limit = most if limit == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def be_killed_first() -> None:
    """Let Linux end this process before others if the machine has no memory left."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def trim_memory() -> None:
    """Let Python and the C library give back what was freed. Of C libraries, that of GNU/Linux keeps much."""
    gc.collect()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
