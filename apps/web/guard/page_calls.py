"""What a page sends when a button is pressed, checked before Gradio takes it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_tasks.apps.web.guard.routes import SESSION
from gan_tasks.datasets.errors import UserError
from gan_tasks.runs.json_file import parse_json

KEYS = {"data", "event_data", "fn_index", "trigger_id", "session_hash"}
SESSION_NAME = re.compile(SESSION, re.ASCII)
MAX_VALUES = 4096
"""Of a call, with those inside of others."""


@dataclass(frozen=True)
class Calls:
    """The calls of our own pages.

    inputs: how many values each function takes, by its index.
    components: the ids of what may have caused a call.
    files: the folder of uploads and results.
    """

    inputs: dict[int, int]
    components: Collection[int]
    files: Path

    def session_of(self, body: bytes) -> str:
        """The session of a call. Raises UserError for what no page of ours sends."""
        try:
            call = parse_json(body)
        except ValueError:
            raise UserError("the body is no JSON") from None
        if not isinstance(call, dict) or not call.keys() <= KEYS:
            raise UserError(f"expected an object with {', '.join(sorted(KEYS))}")
        index, trigger, session, data = (call.get(key) for key in ("fn_index", "trigger_id", "session_hash", "data"))
        if type(index) is not int or index not in self.inputs:
            raise UserError("this page has no such function: load it again")
        if trigger is not None and (type(trigger) is not int or trigger not in self.components):
            raise UserError("this page has no such component: load it again")
        if not isinstance(session, str) or not SESSION_NAME.fullmatch(session):
            raise UserError("the name of the session is of another kind")
        if not isinstance(data, list) or len(data) != self.inputs[index] or call.get("event_data") is not None:
            raise UserError("the function takes other values: load the page again")
        for count, value in enumerate(nested(data)):
            if count > MAX_VALUES:
                raise UserError(f"the call has more than {MAX_VALUES} values")
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError("a number of the call is not finite")
            if isinstance(value, dict) and not self.is_own_file(value.get("path")):
                raise UserError("a file of the call was not uploaded here: upload it again")
        return session

    def is_own_file(self, path: Any) -> bool:
        """Whether a path, of what a page says is a file, lies in the folder of uploads. None is no file."""
        return path is None or (isinstance(path, str) and is_inside(path, self.files))


def is_inside(path: str, folder: Path) -> bool:
    """Whether an absolute path leads into the folder, links followed. An address of another server does not."""
    try:
        return Path(path).is_absolute() and Path(path).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):  # too long, or with a zero
        return False


def nested(data: list[Any]) -> Iterator[Any]:
    """All values, with those inside of lists and objects."""
    left = list(data)
    while left:
        value = left.pop()
        yield value
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
