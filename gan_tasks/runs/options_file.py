"""Write `train.toml`, the options of a run in the form that `gan-tasks train TASK --config` reads."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gan_tasks.tasks.base import Task
from gan_tasks.tasks.own import option_for

Leaf = tuple[tuple[str, ...], Any]
"""The names of the nested fields that lead to a value, and the value."""


def options_toml(task: Task[Any, Any], train_config: Any, data: Path, init_from: Path | None = None) -> str:
    """Return all options of a training except `--out` as TOML, which `gan-tasks train --config` reads.

    The keys are option names. The tables are named after the fields of the config, but are only headings:
    `gan-tasks train` accepts a key in any of them. Paths are absolute. An option that is not set is left out, or is
    "None" if the preset sets it. A task that was made in Python has no preset; the preset that differs in the fewest
    options is written.
    """
    preset, base = nearest_preset(task)
    top = {"task": task.name, "preset": preset, "data": data.absolute()}
    if init_from is not None:
        top["init_from"] = init_from.absolute()
    defaults = dict(leaves(base))
    tables: dict[str, dict[str, Any]] = {}
    for fields, value in leaves(task.config):
        written = "None" if value is None and defaults.get(fields) is not None else value
        heading = fields[-2] if len(fields) > 1 else "model"
        tables.setdefault(f"{heading}_options" if heading in top else heading, {})[fields[-1]] = written
    tables["run"] = {fields[-1]: value for fields, value in leaves(train_config)}
    words = shlex.join(["train", task.name, *option_for(type(task)), "--config"])
    head = f"# gan-tasks {words} train.toml --out NEW_RUN repeats this training.\n"
    return head + table(top) + "".join(f"\n[{key(name)}]\n{table(values)}" for name, values in tables.items())


def nearest_preset(task: Task[Any, Any]) -> tuple[str, Any]:
    """Return name and config of the preset that differs from the task's config in the fewest options."""
    presets = {task.default_preset: type(task).Config(), **task.presets}
    own = dict(leaves(task.config))

    def differences(name: str) -> int:
        return sum(own[fields] != value for fields, value in leaves(presets[name]))

    name = min(presets, key=differences)
    return name, presets[name]


def leaves(config: Any, route: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Yield every value of a dataclass and of its nested dataclasses, with the field names that lead to it."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, (*route, field.name))
        else:
            yield (*route, field.name), value


def with_values(config: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy of a dataclass with the values of some fields, of its nested dataclasses too, replaced."""
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return type(config)(
        **{
            name: with_values(value, values) if dataclasses.is_dataclass(value) else values.get(name, value)
            for name, value in fields.items()
        }
    )


def with_absolute_paths(config: Any) -> Any:
    """Return a copy of a dataclass whose paths, those in nested dataclasses too, are absolute."""
    paths = {fields[-1]: value.absolute() for fields, value in leaves(config) if isinstance(value, Path)}
    return with_values(config, paths)


def table(values: Mapping[str, Any]) -> str:
    return "".join(f"{key(name)} = {toml_value(value)}\n" for name, value in values.items() if value is not None)


def key(field: str) -> str:
    """Return the option name of a field, without the leading dashes."""
    return field.replace("_", "-")


def toml_value(value: Any) -> str:
    """Return a value as TOML: text and paths as strings, tuples as arrays."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(float(value))  # the shortest text that gives the same number; TOML also has inf and nan
        case Path():
            return toml_value(str(value.absolute()))
        case str():
            return f'"{"".join(map(escaped, value))}"'
        case tuple() | list():
            return f"[{', '.join(map(toml_value, value))}]"
    raise TypeError(
        f"an option has a value of type {type(value).__name__}: expected text, a number, a path or a tuple"
    )


def escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return f"\\u{ord(character):04x}" if ord(character) < 32 or ord(character) == 127 else character
