"""Verify an exported model on the machine where it will run.

Imports no torch: the outputs of torch are in the file, as test vectors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.onnx.apart.limits import run_limit
from gan_tasks.export.onnx.apart.run import run_session
from gan_tasks.export.onnx.apart.session import ApartSession, OverTimeError
from gan_tasks.export.onnx.file import OnnxFile, graph_sha256, read_onnx
from gan_tasks.export.onnx.metadata import OnnxMetadata
from gan_tasks.export.onnx.model import check_fit, open_session
from gan_tasks.export.onnx.providers import CPU, Configuration, Session, core_count
from gan_tasks.export.onnx.test_vectors import TestVector, comparable, legal_sizes, noise, test_vectors_of

TOLERANCE = 1e-4
"""Largest allowed difference between runtimes and machines, of values in [0, 1]."""
MAX_SECONDS = 600.0
"""Most time that all runs of a file may take. One of them may take a minute, and more if its features are large."""
MAX_MEMORY_BYTES = 8 * 10**9
"""Most memory that a run may need, by what the file says of itself."""

Run = Callable[[Mapping[str, FloatImages]], FloatImages]
"""Runs the graph on its inputs by name."""


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Verification:
    """The results of all checks. `providers` are those that would run the model here, the preferred one first."""

    name: str
    metadata: OnnxMetadata
    checks: tuple[Check, ...]
    providers: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def lines(self) -> Iterator[str]:
        metadata = self.metadata
        yield f"{self.name}: {metadata.model_name}, {metadata.spec.task}, exported by gan-tasks {metadata.gan_tasks}"
        yield f"licence: {metadata.licence or 'not stated'}; training data: {metadata.training_data or 'not stated'}"
        for check in self.checks:
            yield f"{'ok' if check.ok else 'FAILED':<8}{check.name}: {check.detail}"
        yield f"here it runs on {', '.join(self.providers)}"
        yield "verified" if self.ok else "NOT verified: do not use this file; export the model again"


def verify(path: Path, *, max_seconds: float = MAX_SECONDS) -> Verification:
    """Check an exported model on the CPU, without torch.

    The checks: graph and weights are unchanged since the export; ONNX's checker accepts the file, if the package onnx
    is installed; the test vectors in the file give the outputs of torch; all sizes and batches give the right shape
    and finite values, and an image in a batch gives the same output as alone.

    Raises UserError for a file that is not an exported model or cannot be opened, and for one that needs more than
    MAX_MEMORY_BYTES. A run that takes too long is stopped, and its check fails.
    """
    return verify_file(read_onnx(path), max_seconds=max_seconds)


def verify_file(file: OnnxFile, *, max_seconds: float = MAX_SECONDS) -> Verification:
    """Check a file that is read already, as `verify` does."""
    metadata, vectors = OnnxMetadata.of(file), test_vectors_of(file)
    check_memory(file, metadata)
    with closing(ApartSession(file, Configuration(CPU, core_count()))) as session:
        check_fit(file, metadata, session)
        run = in_time(file, metadata, session, time.monotonic() + max_seconds)
        checks = (
            attempt("contents", lambda: check_contents(file, metadata)),
            attempt("structure", lambda: check_structure(file)),
            attempt("test vectors", lambda: check_test_vectors(metadata, vectors, run)),
            attempt("sizes", lambda: check_sizes(metadata, run)),
        )
    used = open_session(file, start=ApartSession)
    return Verification(file.name, metadata, checks, tuple(used.get_providers()))


def check_memory(file: OnnxFile, metadata: OnnxMetadata) -> None:
    """Raise UserError if a run of `check_sizes` needs more than MAX_MEMORY_BYTES, before anything is allocated."""
    spec = metadata.spec
    for height, width in legal_sizes(spec):
        channels = sum(given.channels for given in spec.inputs)
        out_channels, rows, columns = spec.output_shape(height, width)
        numbers = channels * height * width + out_channels * rows * columns
        needed = 2 * (height * width * metadata.bytes_per_pixel + 4 * numbers)
        if needed > MAX_MEMORY_BYTES:
            raise UserError(
                f"{file.name} needs {needed / 1e9:,.0f} GB for two images of {height}×{width} pixels, as its "
                f"metadata say: it can be verified with at most {MAX_MEMORY_BYTES / 1e9:,.0f} GB"
            )


def in_time(file: OnnxFile, metadata: OnnxMetadata, session: Session, deadline_s: float) -> Run:
    """Return a function that runs an ApartSession until a time of `time.monotonic`, and then fails."""

    def run(feeds: Mapping[str, FloatImages]) -> FloatImages:
        limit = run_limit(metadata.spec, metadata.bytes_per_pixel, feeds, on_gpu=False)
        limit = replace(limit, seconds=min(limit.seconds, max(0, deadline_s - time.monotonic())))
        try:
            return run_session(session, feeds, limit, name=file.name)
        except OverTimeError as error:
            raise UserError(f"the runs took more than {limit.seconds:,.0f} seconds and were stopped") from error

    return run


def attempt(name: str, check: Callable[[], str]) -> Check:
    """Run a check. It fails if it raises anything: for a damaged graph the runtime may raise any exception."""
    try:
        return Check(name, True, check())
    except Exception as error:
        return Check(name, False, str(error) or type(error).__name__)


def check_contents(file: OnnxFile, metadata: OnnxMetadata) -> str:
    found = graph_sha256(file)
    if found != metadata.graph_sha256:
        raise UserError(f"the graph or its weights were changed since the export (SHA-256 {found})")
    return f"graph and weights are unchanged since the export (SHA-256 {found[:16]}…)"


def check_structure(file: OnnxFile) -> str:
    if find_spec("onnx") is None:
        return "ONNX Runtime accepts it (for ONNX's own checker, install the package onnx)"
    import onnx

    onnx.checker.check_model(file.data, full_check=True)
    return f"onnx {onnx.__version__} and ONNX Runtime accept it"


def check_test_vectors(metadata: OnnxMetadata, vectors: Sequence[TestVector], run: Run) -> str:
    if not vectors:
        raise UserError("the file has none")
    error = max(vector.error(run(vector.feeds())) for vector in vectors)
    allowed = metadata.max_error + TOLERANCE
    text = f"largest difference from torch {error:.1e} in {counted(len(vectors), 'test vector')}"
    if not error <= allowed:
        raise UserError(f"{text}, more than {allowed:.1e}: the file was changed, or the runtime is not accurate")
    return f"{text} (exported with {metadata.max_error:.1e}, weights {metadata.weights})"


def check_sizes(metadata: OnnxMetadata, run: Run) -> str:
    spec = metadata.spec
    sizes = legal_sizes(spec)
    largest = 0.0
    for height, width in sizes:
        feeds, output = comparable(spec, noise(spec, 2, height, width), run)
        expected = (2, *spec.output_shape(height, width))
        if output.shape != expected:
            raise UserError(f"{height}×{width} pixels gave the shape {output.shape} instead of {expected}")
        if not np.isfinite(output).all():
            raise UserError(f"{height}×{width} pixels gave values that are not finite")
        for index in range(2):
            single = run({name: value[index : index + 1] for name, value in feeds.items()})
            largest = max(largest, float(np.abs(output[index] - single[0]).max()))
    if largest > TOLERANCE:
        raise UserError(f"an image in a batch differs by {largest:.1e} from the same image by itself")
    return f"{', '.join(f'{height}×{width}' for height, width in sizes)} pixels, in batches of one and two"
