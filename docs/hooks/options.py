"""Options of a command as Markdown tables, read from its dataclass: names, types, defaults and docstrings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar

from text import inline, one_line, table

REQUIRED = "required"


@dataclass(frozen=True)
class Option:
    """One field of a dataclass, as a person writes it."""

    name: str
    """`--crop-size`, or `MODEL` for a positional argument."""
    values: str
    default: str
    doc: str


@dataclass(frozen=True)
class Group:
    """The options of one dataclass; nested dataclasses are groups of their own."""

    title: str
    doc: str
    options: tuple[Option, ...]


def groups(config: Any, default: Any = None, *, title: str = "") -> Iterator[Group]:
    """The options of a dataclass type, its own first, then those of each nested dataclass.

    default: an instance whose values are shown as defaults, if not those of the type.
    """
    own = own_group(config, default, title=title)
    if own.options:
        yield own
    hints = typing.get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        value = default_of(field, default)
        if (inner := nested_dataclass(hints[field.name], value)) is not None:
            instance = value if dataclasses.is_dataclass(value) else None
            yield from groups(inner, instance, title=field.name.replace("_", " "))


def own_group(config: Any, default: Any = None, *, title: str = "") -> Group:
    """The fields of a dataclass that are options, nested dataclasses left out."""
    docs = field_docs(config)
    hints = typing.get_type_hints(config, include_extras=True)
    options = []
    for field in dataclasses.fields(config):
        hint, value = hints[field.name], default_of(field, default)
        if nested_dataclass(hint, value) is None and not isinstance(hint, TypeVar):
            options.append(option(field.name, hint, value, docs.get(field.name, "")))
    return Group(title, doc_of(config), tuple(options))


def doc_of(config: Any) -> str:
    """The docstring in one line; empty where there is none, for which `dataclass` makes up a signature."""
    doc = one_line(config.__doc__ or "")
    return "" if doc.startswith(f"{config.__name__}(") else doc


def option(name: str, hint: Any, value: Any, doc: str) -> Option:
    positional = "Positional" in repr(getattr(hint, "__metadata__", ""))
    flag = name.upper() if positional else f"--{name.replace('_', '-')}"
    if hint is bool and value is True:  # what a person would give is the opposite of the default
        flag = f"--no-{name.replace('_', '-')}"
    return Option(flag, "" if hint is bool else values_of(hint), default_text(value), doc)


def options_table(group: Group) -> list[str]:
    rows = [
        [f"`{each.name}`", codes(each.values), default_cell(each.default), inline(each.doc)] for each in group.options
    ]
    return table(("Option", "Value", "Default", "Meaning"), rows)


def fields_table(config: Any) -> list[str]:
    """The fields of a dataclass that is no command, such as the metadata of a file."""
    docs = field_docs(config)
    hints = typing.get_type_hints(config, include_extras=True)
    rows = [
        [f"`{field.name}`", codes(values_of(hints[field.name])), inline(docs.get(field.name, ""))]
        for field in dataclasses.fields(config)
    ]
    return table(("Entry", "Type", "Meaning"), rows)


def flat_values(config: Any) -> dict[str, Any]:
    """All values of a dataclass instance, nested ones included, by the name of the option."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            values |= flat_values(value)
        else:
            values[f"--{field.name.replace('_', '-')}"] = value
    return values


def changed_options(config: Any, default: Any) -> list[str]:
    """The options in which a preset differs from the default, as a person would write them."""
    usual = flat_values(default)
    changed = []
    for name, value in flat_values(config).items():
        if value == usual.get(name):
            continue
        if isinstance(value, bool):
            changed.append(name if value else name.replace("--", "--no-", 1))
        else:
            changed.append(f"{name} {default_text(value)}")
    return changed


def field_docs(config: Any) -> dict[str, str]:
    """The string below each field of a dataclass; those of base classes included."""
    docs: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for statement, after in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                match after:
                    case ast.Expr(ast.Constant(str(text))):
                        docs[statement.target.id] = one_line(text)
    return docs


def nested_dataclass(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value)
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    return inner if dataclasses.is_dataclass(inner) else None


def default_of(field: dataclasses.Field[Any], default: Any) -> Any:
    if default is not None:
        return getattr(default, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def values_of(hint: Any) -> str:
    """What may be given, in short: `PATH`, `a|b|c`, `INT INT`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return values_of(arguments[0])
    if origin is Literal:
        return "|".join(str(argument) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return "|".join(values_of(argument) for argument in arguments if argument is not type(None))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"{values_of(arguments[0])} …"
        return " ".join(values_of(argument) for argument in arguments)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "|".join(member.name for member in hint)
    names = {str: "TEXT", int: "INT", float: "FLOAT", bool: "BOOL", Path: "PATH"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def default_text(value: Any) -> str:
    if value is dataclasses.MISSING:
        return REQUIRED
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return " ".join(default_text(each) for each in value)
    return str(value)


def codes(values: str) -> str:
    """`a|b` as code, each choice on its own."""
    return ", ".join(f"`{value}`" for value in values.split("|") if value)


def default_cell(text: str) -> str:
    return text if text in ("", REQUIRED, "yes", "no") else f"`{text}`"
