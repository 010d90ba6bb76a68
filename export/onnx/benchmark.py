"""Measure every available provider on one exported model, and choose the fastest that is accurate enough.

Imports no torch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.apart.run import run_session
from gan_tasks.export.onnx.file import OnnxFile
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.export.onnx.model import check_fit
from gan_tasks.export.onnx.providers import Configuration, Session, configurations, start_session
from gan_tasks.export.onnx.test_vectors import blocks, test_vectors_of, to_feeds
from gan_tasks.progress import track

MIN_FIDELITY_DB = 45.0
"""Lowest fidelity of a chosen provider. At 45 dB to float32 on the CPU, the mean difference is 1.4 levels of 255."""
MIN_GAIN = 1.05
"""Lowest speed-up over float32 on the CPU of a chosen provider; a smaller one is within the noise."""
MEASURING_S = 20.0
"""Approximate time of all rounds."""
MIN_ROUNDS, MAX_ROUNDS = 5, 50


@dataclass(frozen=True)
class Measured:
    """The results of one configuration.

    latencies_s: one per round; each round runs every configuration once.
    fidelity_db: PSNR to the output of float32 on the CPU, for the worst input; infinite for equal outputs.
    problem: why there are no results; empty if there are.
    """

    configuration: Configuration
    load_s: float = float("nan")
    latencies_s: tuple[float, ...] = ()
    fidelity_db: float = float("nan")
    problem: str = ""

    @property
    def latency_s(self) -> float:
        return statistics.median(self.latencies_s)


@dataclass(frozen=True)
class Bench:
    """The results of a benchmark.

    size: (height, width) in pixels of the timed image.
    measured: all configurations; the first is the reference, by default float32 on the CPU.
    """

    size: tuple[int, int]
    measured: tuple[Measured, ...]
    chosen: Measured


def bench(
    file: OnnxFile, *, size: int = 256, tried: Sequence[Configuration] | None = None, quiet: bool = False
) -> Bench:
    """Measure configurations on a model, in turns, so that changes of the machine's speed affect all equally.

    Fidelity is measured on the inputs of the file's test vectors and on the timed image.

    Args:
        size: height and width of the timed image, in pixels; rounded up to a size that the graph accepts.
        tried: the configurations, with the reference first; by default all that are available.

    Raises UserError if the reference cannot run the model, or if there is no configuration.
    """
    metadata = OnnxMetadata.of(file)
    spec = metadata.spec
    least = spec.minimum_size if spec.fixed_size else max(size, spec.minimum_size)
    side = -(-least // spec.size_multiple) * spec.size_multiple
    tried = configurations() if tried is None else tried
    if not tried:
        raise UserError("no package that runs .onnx files is installed: `pip install 'gan-tasks[cpu]'`")
    feeds = [vector.feeds() for vector in test_vectors_of(file)]
    first = open_and_run(file, metadata, tried[0], feeds, side)
    opened: list[Opened | Measured] = [first]
    for configuration in tried[1:]:
        try:
            opened.append(open_and_run(file, metadata, configuration, feeds, side))
        except Exception as error:  # a runtime may raise anything; the other configurations still run
            opened.append(Measured(configuration, problem=str(error) or type(error).__name__))
    running = [one for one in opened if isinstance(one, Opened)]
    round_s = sum(one.run() for one in running)
    rounds = int(min(MAX_ROUNDS, max(MIN_ROUNDS, MEASURING_S / round_s)))
    latencies: list[list[float]] = [[] for _ in running]
    with track(rounds, "Measuring", "rounds", quiet=quiet) as advance:
        for _ in range(rounds):
            for taken, one in zip(latencies, running, strict=True):
                taken.append(one.run())
            advance(1)
    in_turn = iter(latencies)
    measured = tuple(one.measured(first, next(in_turn)) if isinstance(one, Opened) else one for one in opened)
    return Bench((side, side), measured, choose(measured))


@dataclass(frozen=True)
class Opened:
    """A session that has run every input once. `timed` is the input to time."""

    configuration: Configuration
    session: Session
    load_s: float
    timed: dict[str, FloatImages]
    outputs: tuple[FloatImages, ...]

    def run(self) -> float:
        """Run the timed image; return the seconds that it took."""
        start = time.perf_counter()
        run_session(self.session, self.timed)
        return time.perf_counter() - start

    def measured(self, first: Opened, latencies_s: Sequence[float]) -> Measured:
        fidelity = min(map(fidelity_db, self.outputs, first.outputs))
        return Measured(self.configuration, self.load_s, tuple(latencies_s), fidelity)


def open_and_run(
    file: OnnxFile,
    metadata: OnnxMetadata,
    configuration: Configuration,
    feeds: Sequence[dict[str, FloatImages]],
    side: int,
) -> Opened:
    start = time.perf_counter()
    session = start_session(file, configuration)
    load_s = time.perf_counter() - start
    check_fit(file, metadata, session)
    timed = to_feeds(blocks(metadata.spec, side, side))
    outputs = tuple(run_session(session, inputs) for inputs in (*feeds, timed))
    return Opened(configuration, session, load_s, timed, outputs)


def choose(measured: Sequence[Measured]) -> Measured:
    """Return the fastest of the accurate configurations; the first one if the speed-up is too small."""
    first = measured[0]
    rest = [one for one in measured[1:] if one.latencies_s and one.fidelity_db >= MIN_FIDELITY_DB]
    best = max(rest, key=lambda one: speed_up(first, one), default=first)
    return best if speed_up(first, best) >= MIN_GAIN else first


def speed_up(slow: Measured, fast: Measured) -> float:
    """Return how many times as fast `fast` is, as the median over the rounds."""
    return statistics.median(a / b for a, b in zip(slow.latencies_s, fast.latencies_s, strict=True))


def fidelity_db(output: FloatImages, expected: FloatImages) -> float:
    """Return the PSNR of values in [0, 1]; minus infinity if the output has another shape or is not finite."""
    if output.shape != expected.shape or not np.isfinite(output).all():
        return float("-inf")
    error = float(np.mean(np.square(output.astype(np.float64) - expected)))
    return float(-10 * np.log10(error)) if error else float("inf")
