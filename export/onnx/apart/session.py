"""A session that runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, TypeVar

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.base import FloatImages, ModelRunError
from gan_tasks.export.models.interruption import Check, current_check
from gan_tasks.export.onnx.apart.limits import Limit, opening_limit
from gan_tasks.export.onnx.apart.messages import BrokenPipe, Header, as_bytes, receive_floats, receive_header, send
from gan_tasks.export.onnx.apart.run import shapes_text
from gan_tasks.export.onnx.file import OnnxFile, OnnxFileError
from gan_tasks.export.onnx.providers import Configuration, Value

Made = TypeVar("Made")

_COMMAND = [sys.executable, "-P", "-m", f"{__package__}.process"]
_PIPE_BYTES = 2**20
_WATCH_S = 0.1
"""Between two calls of a check."""
_START_S = 60.0
"""Time that Python may take to start."""


class OverTimeError(ModelRunError):
    """A run took longer than it may."""


class ApartSession:
    """A `providers.Session` of a file that a process of its own opens and runs, and that is killed over its limits.

    The next run starts another one.

    Raises OnnxFileError if the runtime does not accept the file, or takes too much time or memory to open it,
    UserError if the process does not start, and the errors of `providers.start_session`.
    """

    def __init__(self, file: OnnxFile, configuration: Configuration) -> None:
        self._file, self._configuration = file, configuration
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] = lambda: None
        told = self._start()
        self._inputs, self._outputs = (
            [Value(name, tuple(shape)) for name, shape in told[side]] for side in ("inputs", "outputs")
        )
        self._providers = tuple(map(str, told["providers"]))

    def run(
        self, output_names: Sequence[str], feeds: Mapping[str, FloatImages], *options: Limit
    ) -> Sequence[FloatImages]:
        """Run the graph; it has one output.

        options: one limit.

        Raises ModelRunError if the runtime cannot run it, OverTimeError, and what the current check raises (see
        models/interruption.py).
        """
        (limit,) = options
        with self._lock:
            told, output = self._ask(feeds, limit, shrink=False)
        if output is None:
            raise ModelRunError(str(told["error"]))
        return [output]

    def shrink(self, feeds: Mapping[str, FloatImages], limit: Limit) -> None:
        """Give back the memory that the runtime keeps between runs. feeds: small inputs."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._ask(feeds, limit, shrink=True)

    def get_inputs(self) -> Sequence[Value]:
        return self._inputs

    def get_outputs(self) -> Sequence[Value]:
        return self._outputs

    def get_providers(self) -> Sequence[str]:
        return self._providers

    def close(self) -> None:
        """End the process. A later `run` starts another."""
        with self._lock:
            self._stop()

    def _start(self) -> Header:
        """Start the process and open the file. Returns what the session says of itself."""
        file, configuration = self._file, self._configuration
        limit = opening_limit(file, configuration.provider, configuration.threads)
        process = self._process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pipesize=_PIPE_BYTES,
        )
        self._end = weakref.finalize(self, end, process)
        source, target = pipes_of(process)
        header = {
            "name": file.name,
            "metadata": file.metadata,
            "provider": configuration.provider.name,
            "threads": configuration.threads,
            "device_index": configuration.device_index,
            "memory_bytes": limit.memory_bytes,
            "bytes": len(file.data),
        }

        def talk() -> Header:
            send(source, header, file.data)
            return told_by(target)

        try:
            self._watched(_START_S, lambda: told_by(target))
        except (OverTimeError, BrokenPipe) as error:
            raise UserError(
                f"Python did not start to run {file.name} ({ending(process)}): `{' '.join(_COMMAND)}` shows why"
            ) from error
        try:
            told = self._watched(limit.seconds, talk)
        except OverTimeError as error:
            raise OnnxFileError(
                f"{file.name} takes over {limit.seconds:,.0f} s to open: use another file, or export the model again"
            ) from error
        except BrokenPipe as error:
            raise OnnxFileError(
                f"{file.name} broke the runtime that opened it ({ending(process)}), or needs more memory to be "
                "opened than a file of its size may have: use another file, or export the model again"
            ) from error
        if "error" in told:
            self._stop()
            raise (OnnxFileError if told["is_file"] else UserError)(str(told["error"]))
        return told

    def _ask(
        self, feeds: Mapping[str, FloatImages], limit: Limit, *, shrink: bool
    ) -> tuple[Header, FloatImages | None]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._start()
        assert self._process is not None
        process, name = self._process, self._file.name
        source, target = pipes_of(process)
        header = {
            "name": name,
            "feeds": [[key, list(x.shape)] for key, x in feeds.items()],
            "memory_bytes": limit.memory_bytes,
            "output_values": limit.output_values,
            "shrink": shrink,
        }

        def talk() -> tuple[Header, FloatImages | None]:
            send(source, header, *map(as_bytes, feeds.values()))
            told = told_by(target)
            if "shape" not in told:
                return told, None
            return told, receive_floats(target, told["shape"], max_values=limit.output_values)

        try:
            return self._watched(limit.seconds, talk)
        except OverTimeError as error:
            raise OverTimeError(
                f"{name} takes over {limit.seconds:,.0f} s for one run on {shapes_text(feeds)} and was stopped: a "
                "smaller --max-memory makes smaller tiles, and --max-seconds allows more time"
            ) from error
        except BrokenPipe as error:
            raise ModelRunError(
                f"{name} broke the runtime on {shapes_text(feeds)} ({ending(process)}), or needs more memory than it "
                "says: use another file, or export the model again"
            ) from error

    def _watched(self, seconds: float, talk: Callable[[], Made]) -> Made:
        """Talk with the process, and kill it if that takes too long, if the current check raises, and after an error.

        Raises OverTimeError, BrokenPipe, and what the check raises.
        """
        process = self._process
        assert process is not None
        limit = ProcessLimit(process, seconds, current_check())
        is_whole = False
        try:
            with limit:
                made = talk()
            is_whole = limit.error is None
        except (BrokenPipe, OSError) as error:
            if limit.error is None:
                raise BrokenPipe from error
        finally:
            if not is_whole:
                self._stop()
        if limit.error is not None:
            raise limit.error
        return made

    def _stop(self) -> None:
        self._process = None
        self._end()


class ProcessLimit:
    """A `with` block after which a process is killed if the block takes too long, or if a check raises.

    error: why it was killed; None if it was not.
    """

    def __init__(self, process: subprocess.Popen[bytes], seconds: float, check: Check) -> None:
        self.error: BaseException | None = None
        self._process, self._check = process, check
        self._ends_s = time.monotonic() + seconds
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._enforce, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._is_done.set()
        self._thread.join()

    def _enforce(self) -> None:
        while not self._is_done.wait(_WATCH_S):
            try:
                if time.monotonic() > self._ends_s:
                    raise OverTimeError
                self._check()
            except BaseException as error:
                self.error = error
                self._process.kill()
                return


def pipes_of(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None and process.stdout is not None
    return process.stdin, process.stdout


def told_by(pipe: IO[bytes]) -> Header:
    if (told := receive_header(pipe)) is None:
        raise BrokenPipe
    return told


def ending(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and close its pipes."""
    process.kill()
    process.wait()
    for pipe in pipes_of(process):
        with suppress(OSError):  # what was not yet written
            pipe.close()
