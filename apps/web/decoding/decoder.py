"""The server's side of the decoding process: starts it, gives it files, kills it over one that costs too much."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gan_tasks.apps.web.decoding.messages import receive_picture
from gan_tasks.datasets.images import COLOUR_KINDS, MAX_PIXELS, ColourKind, ImageError, Picture
from gan_tasks.export.onnx.apart.messages import BrokenPipe, receive_header, send

SECONDS = 2.0
"""Computing time for a file, so that other programs on a busy machine do not count."""
_SECONDS_PER_VALUE = 1e-7
"""Beside it, for height × width × channels, as the file's header says them. The slowest images that people make,
16-bit PNG whose colours are converted, take a quarter of it."""
_BUSY = 3
"""Elapsed time over computing time, from which on a process is killed too."""
_LIBRARY_BYTES, _BYTES_PER_PIXEL = 1_000_000_000, 64
"""Address space of Python with its libraries, and for a pixel: 4 values of 4 bytes, with copies."""
_GRACE_S = 1.0
"""After which a process that should have ended itself is killed."""
_START_S = 60.0
_PIPE_BYTES = 2**20
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Each thread takes address space."""


class TooSlow(Exception):
    """The process was ended over a file that takes too long."""


class Decoder:
    """Decodes images in a process that starts with the first one, and again with the next one after it died.

    Args:
        max_pixels: the most that `read` is called with; the memory of the process is made for it.
        seconds: of computing for a file of a small image.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS, *, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self.longest_s = _BUSY * (seconds + _SECONDS_PER_VALUE * 4 * max_pixels) + _GRACE_S
        self.memory_bytes = _LIBRARY_BYTES + _BYTES_PER_PIXEL * max_pixels
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def read(
        self,
        source: Path | bytes,
        *,
        max_pixels: int | None = None,
        keep_profiles: Collection[ColourKind] = COLOUR_KINDS,
    ) -> Picture:
        """Decode, and convert colours, as `datasets.images.read` does, and with its errors.

        Raises ImageError as well for a file that takes too much time or memory, or breaks the process.
        """
        name = "the image" if isinstance(source, bytes) else str(source)
        with self._lock:
            try:
                data = source if isinstance(source, bytes) else source.read_bytes()
                return self._ask(data, max_pixels, sorted(keep_profiles))
            except FileNotFoundError as error:
                raise ImageError(f"{name}: there is no such file") from error
            except ImageError as error:
                raise ImageError(f"{name}: {error}") from None
            except TooSlow:
                raise ImageError(f"{name}: takes too long to decode: save it again, as PNG or JPEG") from None
            except (BrokenPipe, OSError):
                raise ImageError(
                    f"{name}: cannot be decoded (the decoder broke, or needs more memory than it may have): save it "
                    "again"
                ) from None

    def close(self) -> None:
        """End the process. A later `read` starts another."""
        with self._lock:
            self._stop()

    def _ask(self, data: bytes, max_pixels: int | None, keep_profiles: list[ColourKind]) -> Picture:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        with self._ended_after(process, self.longest_s):
            options = {"max_pixels": max_pixels, "keep_profiles": keep_profiles}
            send(process.stdin, {"bytes": len(data), "options": options}, data)
            return receive_picture(process.stdout, 4 * (MAX_PIXELS if max_pixels is None else max_pixels))

    def _started(self) -> subprocess.Popen[bytes]:
        """Return the process, a new one where there is none or it has died."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        limits = (self.memory_bytes, self.seconds, _SECONDS_PER_VALUE)
        process = self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.worker", *map(str, limits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ONE_THREAD,
            pipesize=_PIPE_BYTES,
        )
        assert process.stdout is not None
        with self._ended_after(process, _START_S):
            if receive_header(process.stdout) is None:
                raise BrokenPipe
        return process

    @contextmanager
    def _ended_after(self, process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
        """Kill the process when the `with` body takes longer, which ends its pipes, and when it is left by any error
        but one that the process has told. Raises TooSlow where it took longer, or ended itself for that reason."""
        was_late = threading.Event()

        def kill() -> None:
            was_late.set()
            process.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        is_whole = False
        try:
            yield
            is_whole = True
        except ImageError:
            is_whole = True
            raise
        except (BrokenPipe, OSError) as error:
            self._stop()
            if was_late.is_set() or process.returncode == -getattr(signal, "SIGPROF", 0):
                raise TooSlow from error
            raise
        finally:
            timer.cancel()
            timer.join()  # it may have fired just now
            if not is_whole or process.poll() is not None:
                self._stop()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what was not yet written
                if pipe is not None:
                    pipe.close()
