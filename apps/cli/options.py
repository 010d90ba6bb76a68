"""The options of a command: the fields of a dataclass, nested dataclasses included.

A field `batch_size: int = 1` is the option `--batch-size`, and `class_` is `--class`, because Python has the word for
itself; the docstring below the field is its help. A nested
dataclass contributes its fields, whatever its own name, so that option names are unique within a command.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from gan_tasks.datasets.errors import UserError

T = TypeVar("T")
Route = tuple[str, ...]
"""The fields that lead to a value, such as ("task", "adversarial", "r1")."""

POSITIONAL = "positional"
Positional = Annotated[T, POSITIONAL]
"""The type of a field that is given by its place on the command line, without an option name."""


REPEATED = "repeated"
Repeated = Annotated[tuple[T, ...], REPEATED]
"""The type of an option that takes one value, and may be given several times: `--then A --then B`."""


class Missing:
    """The type of MISSING."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = Missing()
"""The value of a required field that was not given."""


@dataclass(frozen=True)
class Option:
    """One option or positional argument of a command."""

    route: Route
    type: Any
    """The field's type, such as `float | None`."""
    default: Any
    """MISSING where it is required."""
    help: str
    positional: bool = False
    repeated: bool = False
    """Whether each value has the option's name before it; its type is a tuple of any length."""

    @property
    def field(self) -> str:
        return self.route[-1]

    @property
    def flag(self) -> str:
        return "--" + self.field.rstrip("_").replace("_", "-")

    @property
    def off_flag(self) -> str:
        """The flag that switches the option off."""
        return self.flag.replace("--", "--no-", 1)


def defaults_of(command: type[T]) -> T:
    """A command with the defaults of its fields, and MISSING in the required ones."""
    required = {field.name: MISSING for field in dataclasses.fields(command) if is_required(field)}  # type: ignore[arg-type]
    return command(**required)


def is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def options_of(config: Any, route: Route = ()) -> Iterator[Option]:
    """The options of a dataclass instance, in the order of its fields; its values are their defaults.

    Raises UserError for a class whose types cannot be read.
    """
    try:
        hints, kinds = get_type_hints(type(config), include_extras=True), get_type_hints(type(config))
    except NameError as error:
        raise UserError(
            f"the types of {type(config).__name__} cannot be read ({error}): import them where the class is defined, "
            "not for type checkers only"
        ) from error
    docstrings = field_docstrings(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if dataclasses.is_dataclass(value):
            yield from options_of(value, (*route, field.name))
            continue
        marks = get_args(hint) if get_origin(hint) is Annotated else ()
        text = docstrings.get(field.name, "")
        yield Option(
            (*route, field.name), kinds[field.name], value, text, POSITIONAL in marks, repeated=REPEATED in marks
        )


def with_values(config: T, values: Mapping[Route, Any], route: Route = ()) -> T:
    """A copy of a dataclass instance with some of its values replaced, in nested dataclasses too.

    Raises what the dataclasses raise for values out of range: UserError.
    """
    replaced = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value, here = getattr(config, field.name), (*route, field.name)
        nested = dataclasses.is_dataclass(value)
        replaced[field.name] = with_values(value, values, here) if nested else values.get(here, value)
    return type(config)(**replaced)


def field_docstrings(config_type: type) -> dict[str, str]:
    """The docstrings of a dataclass's fields, inherited ones included, each on one line."""
    found: dict[str, str] = {}
    for base in reversed(config_type.__mro__):
        body = class_bodies(base.__module__).get(base.__name__, [])
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                name = field.target.id
                found.pop(name, None)  # a subclass that declares the field again documents it again
                if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                    found[name] = " ".join(str(text.value.value).split())
    return found


@cache
def class_bodies(module: str) -> dict[str, list[ast.stmt]]:
    """The statements of each top-level class of an imported module; empty where its source is not there."""
    file = getattr(sys.modules.get(module), "__file__", None)
    try:
        tree = ast.parse(Path(file or "").read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
