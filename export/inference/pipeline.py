"""Reading, running and writing at the same time, in order and in constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from gan_tasks.datasets.errors import UserError

Item = TypeVar("Item")
Read = TypeVar("Read")
Result = TypeVar("Result")
Written = TypeVar("Written")

AHEAD = 2
"""Items that are read before their turn, and results that wait to be written; as many threads read, and write."""


def pipelined(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    run: Callable[[Read], Result],
    write: Callable[[Result], Written],
) -> Iterator[Written | UserError]:
    """What `write(run(read(item)))` gives for each item, or the UserError that it raises, in their order.

    `run` is called in this thread, for one item after the other, while threads `read` and `write`. Any other error is
    raised, once the reading and writing that was begun has ended.
    """

    def write_or_error(result: Result) -> Written | UserError:
        try:
            return write(result)
        except UserError as error:
            return error

    waiting = iter(items)
    with ThreadPoolExecutor(AHEAD) as readers, ThreadPoolExecutor(AHEAD) as writers:
        reading = deque(readers.submit(read, item) for item in islice(waiting, AHEAD))
        writing = deque[Future[Written | UserError]]()
        while reading:
            future = reading.popleft()
            future.exception()  # waits; only now may the next item take its place
            reading.extend(readers.submit(read, item) for item in islice(waiting, 1))
            try:
                result = run(future.result())
            except UserError as error:
                writing.append(Future())
                writing[-1].set_result(error)
            else:
                writing.append(writers.submit(write_or_error, result))
            if len(writing) > AHEAD:
                yield writing.popleft().result()
        while writing:
            yield writing.popleft().result()
