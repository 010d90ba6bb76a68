"""The log of a server that is attacked grows slowly."""

from __future__ import annotations

import io
import logging
import time

from gan_tasks.apps.web.guard.bounded_log import BoundedLog


def test_lines_over_the_limit_are_counted_only() -> None:
    log = io.StringIO()
    bounded = BoundedLog(log, max_lines=3, window_s=0.2)
    handler = logging.StreamHandler(bounded)
    for number in range(10):
        handler.emit(logging.makeLogRecord({"msg": f"line {number}"}))
    assert log.getvalue() == "line 0\nline 1\nline 2\n"
    time.sleep(0.25)
    print("later", file=bounded)
    assert log.getvalue().splitlines()[3:] == ["7 lines of the log were left out", "later"]


def test_a_line_is_short_and_ends() -> None:
    log = io.StringIO()
    bounded = BoundedLog(log, max_lines=2)
    bounded.write("x" * 10**6 + "\n")
    assert (len(log.getvalue()) < 3000, log.getvalue()[-1]) == (True, "\n")
    for _ in range(1000):
        bounded.write("y" * 1000)
    assert len(log.getvalue()) < 5000


def test_what_clients_send_cannot_command_the_terminal() -> None:
    log = io.StringIO()
    print("a \x1b[31mname\r", file=BoundedLog(log))
    assert log.getvalue() == "a \\x1b[31mname\\x0d\n"
