"""Read, run and write at the same time, in order and with constant memory."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Result = TypeVar("Result")
Written = TypeVar("Written")

AHEAD = 2
"""Number of items read in advance, of results that wait to be written, of reading and of writing threads."""


def pipelined(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    run: Callable[[Read], Result],
    write: Callable[[Result], Written],
) -> Iterator[Written | Exception]:
    """Yield `write(run(read(item)))` for each item in order, or the exception that it raises.

    `run` is called in this thread for one item after the other, while other threads `read` and `write`. What ends the
    program, such as KeyboardInterrupt, is raised after the started reads and writes have ended.
    """

    def write_or_error(result: Result) -> Written | Exception:
        try:
            return write(result)
        except Exception as error:
            return without_variables(error)

    waiting = iter(items)
    with ThreadPoolExecutor(AHEAD) as readers, ThreadPoolExecutor(AHEAD) as writers:
        reading = deque(readers.submit(read, item) for item in islice(waiting, AHEAD))
        writing = deque[Future[Written | Exception]]()
        while reading:
            future = reading.popleft()
            future.exception()  # waits, so that no more than AHEAD items are held
            reading.extend(readers.submit(read, item) for item in islice(waiting, 1))
            try:
                result = run(future.result())
            except Exception as error:
                writing.append(Future())
                writing[-1].set_result(without_variables(error))
            else:
                writing.append(writers.submit(write_or_error, result))
            if len(writing) > AHEAD:
                yield writing.popleft().result()
        while writing:
            yield writing.popleft().result()


def without_variables(error: Exception) -> Exception:
    """Free the variables of the functions that raised an error: the next image needs the memory of this one."""
    traceback.clear_frames(error.__traceback__)
    return error
