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

NOT_IN_A_FILE = ("config", "preview")
MAX_BYTES = 1_000_000
"""Largest size of a file of options."""
MAX_TABLES = 20
"""Largest number of tables within one another."""


def read_config(path: Path, task: str) -> dict[str, Any]:
    """The values in a file by option name, with underscores; `task` itself is checked and left out.

    Raises UserError where the file is missing, is not TOML, gives an option twice, or is of another task.
    """
    import tomllib

    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a TOML file with --config") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{path} has more than {MAX_BYTES:,} bytes: give a TOML file with --config")
    try:
        # File names that are not UTF-8 are kept, as Python keeps them elsewhere.
        content = tomllib.loads(data.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits and deep tables are no TOMLDecodeError
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
