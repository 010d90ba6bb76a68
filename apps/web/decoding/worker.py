"""The process that decodes: it reads files from its standard input and writes pixels to its standard output.

    python -m gan_tasks.apps.web.decoding.worker MEMORY_BYTES SECONDS SECONDS_PER_VALUE

It ends with its parent, whose pipe closes, and ends itself over a file that takes too much computing time, also
without a parent.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import IO

from gan_tasks.apps.web.decoding.messages import send_picture
from gan_tasks.apps.web.guard.bounded_log import BoundedLog
from gan_tasks.datasets.images import ImageError, read
from gan_tasks.export.onnx.apart.messages import BrokenPipe, Header, read_exactly, receive_header, send


def main(memory_bytes: int, seconds: float, seconds_per_value: float) -> None:
    """seconds, seconds_per_value: of computing for a file, and beside that for height × width × channels."""
    for each in (signal.SIGINT, signal.SIGTERM):  # the server finishes its jobs first, and then closes the pipe
        signal.signal(each, signal.SIG_IGN)
    sys.stderr = BoundedLog(sys.stderr)  # libraries warn of what files hold
    limit_memory(memory_bytes)
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # for what decoders print
    send(target, {"is_ready": True})
    with suppress(BrokenPipe, BrokenPipeError, MemoryError):  # the parent sees that this process ends
        while (header := receive_header(source)) is not None:
            data = read_exactly(source, header["bytes"])
            limit_time(seconds)
            options = header["options"] | {"on_size": lambda values: limit_time(seconds + seconds_per_value * values)}
            answer(target, data, options)
            limit_time(0)


def answer(target: IO[bytes], data: bytes, options: Header) -> None:
    """options: the keyword arguments of `read`."""
    try:
        picture = read(data, **options)
    except ImageError as error:
        send(target, {"error": str(error).removeprefix("the image: ")})
    else:
        send_picture(target, picture)


def limit_memory(memory_bytes: int) -> None:
    """Of the address space. Windows has no such limit."""
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def limit_time(seconds: float) -> None:
    """End this process after so much computing, whatever it is doing; 0 is never. Windows has no such clock: the
    parent kills."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
