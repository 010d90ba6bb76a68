"""Messages to somebody who is gone."""

import os
import sys
from pathlib import Path

import pytest

from gan_tasks.stderr import say, silence_if_gone


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_nobody_reads_any_more(kind: str) -> None:
    ours, theirs = os.openpty() if kind == "terminal" else os.pipe()
    closed, close = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(theirs, 2)
            os.close(theirs)
            os.close(ours)
            os.read(closed, 1)  # until nobody reads any more
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            if kind == "terminal":
                silence_if_gone()
            say("one")
            say("two")
            os.write(2, b"three")
            code = 0
        finally:
            os._exit(code)
    os.close(theirs)
    os.close(ours)
    os.write(close, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_keeps_the_stream_for_what_comes_later() -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, 2)
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            say("one")
            code = 0 if os.path.sameopenfile(2, full) else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
