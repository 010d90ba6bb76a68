"""The process that opens and runs one ONNX file: it reads requests from its standard input, and writes answers.

    python -m gan_tasks.export.onnx.apart.process

It ends with its parent. `session.py` is the other side.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import IO

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.base import ModelRunError
from gan_tasks.export.onnx.apart.limits import be_killed_first, limit_memory, trim_memory
from gan_tasks.export.onnx.apart.messages import (
    BrokenPipe,
    Header,
    as_bytes,
    read_exactly,
    receive_floats,
    receive_header,
    send,
)
from gan_tasks.export.onnx.apart.run import run_session, shrink_arena
from gan_tasks.export.onnx.file import OnnxFile, OnnxFileError
from gan_tasks.export.onnx.providers import CPU, Configuration, Session, find_provider, start_session

MAX_VALUES = 2**40
"""Of an input: more than any memory holds."""


def main() -> None:
    for each in (signal.SIGINT, signal.SIGTERM):  # the parent decides when it ends
        signal.signal(each, signal.SIG_IGN)
    be_killed_first()
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # for what libraries print
    send(target, {"is_ready": True})
    with suppress(BrokenPipe, BrokenPipeError):  # the parent sees that this process ends
        if (session := opened(source, target)) is not None:
            while (request := receive_header(source)) is not None:
                answer(session, request, source, target)
    os._exit(0)  # at once: a runtime may still have threads


def end_with(parent: int) -> None:
    """End this process, whatever it is doing, when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def opened(source: IO[bytes], target: IO[bytes]) -> Session | None:
    """Open the file of the first request, and answer with what the session says of itself, or why it failed."""
    request = receive_header(source)
    if request is None:
        return None
    file = OnnxFile(request["name"], read_exactly(source, request["bytes"]), request["metadata"])
    configuration = Configuration(find_provider(request["provider"]), request["threads"], request["device_index"])
    limit_memory(request["memory_bytes"])
    try:
        session = start_session(file, configuration)
    except (UserError, MemoryError) as error:
        reason = str(error) or f"{file.name} needs more memory to be opened than a file of its size may have"
        send(target, {"error": reason, "is_file": not isinstance(error, UserError) or is_of_file(error)})
        return None
    inputs, outputs = (
        [[value.name, list(value.shape)] for value in values]
        for values in (session.get_inputs(), session.get_outputs())
    )
    send(target, {"inputs": inputs, "outputs": outputs, "providers": list(session.get_providers())})
    return session


def is_of_file(error: UserError) -> bool:
    return isinstance(error, OnnxFileError)


def answer(session: Session, request: Header, source: IO[bytes], target: IO[bytes]) -> None:
    """Run the session on the inputs of a request, and answer with the output, or why it failed."""
    limit_memory(request["memory_bytes"])
    feeds = {name: receive_floats(source, shape, max_values=MAX_VALUES) for name, shape in request["feeds"]}
    try:
        if request["shrink"]:
            if session.get_providers()[0] == CPU.engine:
                shrink_arena(session, feeds)
            trim_memory()
            send(target, {})
            return
        output = run_session(session, feeds, name=request["name"])
        if output.size > request["output_values"]:
            raise ModelRunError(
                f"{request['name']} gives {output.size:,} values where its spec promises "
                f"{request['output_values'] // 2:,}: export the model again, and check it with `gan-tasks verify`"
            )
    except ModelRunError as error:
        send(target, {"error": str(error)})
    except MemoryError:
        send(target, {"error": f"{request['name']} needs more memory than it says: a smaller --max-memory may help"})
    else:
        send(target, {"shape": list(output.shape)}, as_bytes(output))


if __name__ == "__main__":
    main()
