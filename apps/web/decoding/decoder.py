"""The server's side of the decoding process: starts it, gives it files, kills it over one that costs too much."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gan_tasks.apps.web.decoding.messages import receive_picture
from gan_tasks.datasets.images import MAX_PIXELS, ImageError, Picture
from gan_tasks.export.onnx.apart.messages import BrokenPipe, receive_header, send

SECONDS = 10.0
"""For a file; a photo of 48 megapixels takes about 1 s."""
_LIBRARY_BYTES, _BYTES_PER_PIXEL = 1_000_000_000, 64
"""Address space of Python with its libraries, and for a pixel: 4 values of 4 bytes, with copies."""
_GRACE_S = 1.0
"""After which a process that should have ended itself is killed."""
_START_S = 60.0
_PIPE_BYTES = 2**20
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Each thread takes address space."""


class Decoder:
    """Decodes images in a process that starts with the first one, and again with the next one after it died.

    Args:
        max_pixels: the most that `read` is called with; the memory of the process is made for it.
        seconds: for a file.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS, *, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self.memory_bytes = _LIBRARY_BYTES + _BYTES_PER_PIXEL * max_pixels
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def read(self, source: Path | bytes, *, max_pixels: int | None = None) -> Picture:
        """Decode as `datasets.images.read` does, and with its errors.

        Raises ImageError as well for a file that takes too much time or memory, or breaks the process.
        """
        name = "the image" if isinstance(source, bytes) else str(source)
        with self._lock:
            start = time.monotonic()
            try:
                return self._ask(source if isinstance(source, bytes) else source.read_bytes(), max_pixels)
            except FileNotFoundError as error:
                raise ImageError(f"{name}: there is no such file") from error
            except ImageError as error:
                raise ImageError(f"{name}: {error}") from None
            except (BrokenPipe, OSError):
                if time.monotonic() - start >= self.seconds:
                    why = f"takes over {self.seconds:g} s to decode: save it again, as PNG or JPEG"
                else:
                    why = (
                        "cannot be decoded (the decoder broke, or needs more memory than it may have): save it again"
                    )
                raise ImageError(f"{name}: {why}") from None

    def close(self) -> None:
        """End the process. A later `read` starts another."""
        with self._lock:
            self._stop()

    def _ask(self, data: bytes, max_pixels: int | None) -> Picture:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        with self._ended_after(process, self.seconds + _GRACE_S):
            send(process.stdin, {"bytes": len(data), "max_pixels": max_pixels}, data)
            return receive_picture(process.stdout, 4 * (MAX_PIXELS if max_pixels is None else max_pixels))

    def _started(self) -> subprocess.Popen[bytes]:
        """Return the process, a new one where there is none or it has died."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        process = self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.worker", str(self.memory_bytes), str(self.seconds)],
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
        but one that the process has told."""
        timer = threading.Timer(seconds, process.kill)
        timer.daemon = True
        timer.start()
        is_whole = False
        try:
            yield
            is_whole = True
        except ImageError:
            is_whole = True
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
