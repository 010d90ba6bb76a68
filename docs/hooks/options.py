"""Options and fields of dataclasses as Markdown tables: names, types, defaults and docstrings."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import Any, get_type_hints

from text import inline, one_line, table

from gan_tasks.apps.cli.help import grouped
from gan_tasks.apps.cli.options import MISSING, Option, field_docstrings, options_of
from gan_tasks.apps.cli.values import ANY_NUMBER, choices, count, elements, placeholder, shown


def option_tables(options: Iterable[Option], title: Callable[[Option], str], *, heading: str = "**{}**") -> list[str]:
    """A table for each group of options, in the order of the help; the first of a command has no heading."""
    lines: list[str] = []
    for name, members in grouped(options, lambda option: title(option).replace("arguments", "options")).items():
        if name != "options":
            lines += [heading.format(name), ""]
        lines += table(("Option", "Value", "Default", "Meaning"), [row(option) for option in members])
    return lines


def row(option: Option) -> tuple[str, str, str, str]:
    name = option.field.upper() if option.positional else option.flag
    if option.default is True:  # a person would give the opposite of the default
        name = name.replace("--", "--no-", 1)
    default = "required" if option.default is MISSING else code(shown(option.default))
    return code(name), values(option.type), default, inline(option.help)


def changed_options(config: Any, default: Any) -> list[str]:
    """The options in which a preset differs from the default, as a person would write them."""
    usual = {option.route: option.default for option in options_of(default)}
    changed = []
    for option in options_of(config):
        if option.default == usual[option.route]:
            continue
        if isinstance(option.default, bool):
            changed.append(option.flag if option.default else option.flag.replace("--", "--no-", 1))
        else:
            changed.append(f"{option.flag} {shown(option.default)}")
    return changed


def fields_table(config: type) -> list[str]:
    """The fields of a dataclass that is no command, such as the metadata of a file."""
    docs, hints = field_docstrings(config), get_type_hints(config)
    rows = []
    for field in dataclasses.fields(config):
        default = "" if field.default is dataclasses.MISSING else code(shown(field.default))
        rows.append((code(field.name), values(hints[field.name]), default, inline(docs.get(field.name, ""))))
    return table(("Entry", "Type", "Default", "Meaning"), rows)


def values(kind: Any) -> str:
    """The values that a type takes, each choice as code of its own."""
    if allowed := choices(kind):
        return ", ".join(code(str(choice)) for choice in allowed)
    if count(kind) == ANY_NUMBER and choices(elements(kind)[0]):
        return f"any of {values(elements(kind)[0])}"
    try:
        return code(re.sub(r"[\[\]{}]", "", placeholder(kind)))
    except KeyError:  # no type of an option
        return code(getattr(kind, "__name__", str(kind)))


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def doc_of(config: type) -> str:
    """The docstring in one line; empty where there is none, for which `dataclass` makes up a signature."""
    doc = one_line(config.__doc__ or "")
    return "" if doc.startswith(f"{config.__name__}(") else doc
