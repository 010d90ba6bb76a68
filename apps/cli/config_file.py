"""`--config FILE.toml`: options of `gan-tasks train` in a file.

    task = "pix2pix"          # may be left out; an error where it is not the task of the command line
    preset = "modern"
    data = "photos"           # paths are relative to the folder that the command runs in

    [optimizer]
    batch-size = 4            # or batch_size
    betas = [0.0, 0.99]
    lr-d = "None"             # as on the command line, for an option that is not to be set

Tables are headings only: an option may stand in any table, or above all. A table has the name of no option above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gan_tasks.apps.cli.options import Option, Route
from gan_tasks.apps.cli.values import convert_toml
from gan_tasks.datasets.errors import UserError, did_you_mean

LARGEST_BYTES, LONGEST_LINE_BYTES = 64_000, 8_000
"""Of a file of options: the time and memory of dotted keys grow with the square of their length."""
NOT_IN_A_FILE = ("config", "preview")
MAX_TABLES = 20
"""Largest number of tables within one another."""


def read_config(path: Path, task: str) -> dict[str, Any]:
    """The values in a file by option name, with underscores; `task` itself is checked and left out.

    Raises UserError where the file is missing, too large, is not TOML, gives an option twice, or is of another task.
    """
    import tomllib

    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a TOML file with --config") from error
    if len(data) > LARGEST_BYTES or max(map(len, data.split(b"\n"))) > LONGEST_LINE_BYTES:
        raise UserError(
            f"{path} is no file of options: expected {LARGEST_BYTES:,} bytes at most, in lines of "
            f"{LONGEST_LINE_BYTES:,}. Give a TOML file with --config"
        )
    try:
        # File names that are not UTF-8 are kept, as Python keeps them elsewhere.
        content = tomllib.loads(data.decode("utf-8", "surrogateescape"))
    except RecursionError:
        raise UserError(f"{path} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, or a number of too many digits
        raise UserError(f"{path} is not valid TOML: {error}") from error
    values: dict[str, Any] = {}
    for key, value in flattened(content, path):
        name = key.replace("-", "_")
        if name in values:
            raise UserError(f"{path} gives {key} twice: leave one of them out")
        values[name] = value
    found = values.pop("task", task)
    if found != task:
        raise UserError(f"{path} holds options of the task {found!r}, not of {task}: use it with its own task")
    return values


def flattened(content: Mapping[str, Any], path: Path, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The keys and values of all tables of a file. Raises UserError for too many tables within one another."""
    if depth > MAX_TABLES:
        raise UserError(f"{path} has more than {MAX_TABLES} tables within one another: tables are headings only")
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flattened(value, path, depth + 1)
        else:
            yield key, value


def values_of(path: Path, content: Mapping[str, Any], options: Iterable[Option]) -> dict[Route, Any]:
    """The values of a file, converted. Raises UserError for an unknown key, and for a value that does not fit."""
    by_name = {option.field: option for option in options if option.field not in NOT_IN_A_FILE}
    values = {}
    for name, value in content.items():
        key = name.replace("_", "-")
        if name not in by_name:
            known = [field.replace("_", "-") for field in by_name]
            hint = did_you_mean(key, known, ": expected the name of an option, without the hyphens before it")
            raise UserError(f"{path} holds an unknown option {key!r}{hint}")
        option = by_name[name]
        values[option.route] = convert_toml(f"{key} in {path}", option.type, value)
    return values
