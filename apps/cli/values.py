"""Texts of the command line and values of TOML, converted to the types of options."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from gan_tasks.datasets.errors import UserError, did_you_mean

WORDS = {int: "whole number", float: "number", str: "text", Path: "path"}
"""What a value of each type is called in messages."""
ANY_NUMBER = -1
"""See `count`."""


def without_none(kind: Any) -> tuple[Any, bool]:
    """The type without None, and whether None is allowed. Several Literals become one."""
    if get_origin(kind) not in (Union, types.UnionType):
        return kind, False
    parts = [part for part in get_args(kind) if part is not type(None)]
    optional = len(parts) < len(get_args(kind))
    if len(parts) == 1:
        return parts[0], optional
    return Literal[tuple(choice for part in parts for choice in get_args(part))], optional


def choices(kind: Any) -> tuple[Any, ...]:
    """The values of a type that allows only certain ones; empty for any other type."""
    kind, _ = without_none(kind)
    return get_args(kind) if get_origin(kind) is Literal else ()


def elements(kind: Any) -> tuple[Any, ...]:
    """The types of a tuple's elements; of one of any length, the type that all have. Empty for what is no tuple."""
    kind, _ = without_none(kind)
    return tuple(part for part in get_args(kind) if part is not ...) if get_origin(kind) is tuple else ()


def is_supported(kind: Any) -> bool:
    """Whether the command line can take values of a type."""
    inner, _ = without_none(kind)
    parts = elements(inner) or (inner,)
    return all(choices(part) or part in WORDS for part in parts) or inner is bool


def count(kind: Any) -> int:
    """How many words an option takes: 0 for a bool, the length of a tuple or ANY_NUMBER, else 1."""
    kind, _ = without_none(kind)
    if get_origin(kind) is tuple:
        return ANY_NUMBER if ... in get_args(kind) else len(get_args(kind))
    return 0 if kind is bool else 1


def convert(name: str, kind: Any, words: Sequence[str]) -> Any:
    """The value of an option. Raises UserError, with `name` in its sentence, for words that do not fit its type."""
    inner, optional = without_none(kind)
    if optional and list(words) == ["None"]:
        return None
    expected = count(inner)
    if expected != ANY_NUMBER and len(words) != max(1, expected):
        raise UserError(f"{name} takes {describe(inner)}, and got {len(words)}")
    parts = elements(inner)
    if not parts:
        return convert_word(name, inner, words[0])
    if expected == ANY_NUMBER:
        parts = parts * len(words)
    return tuple(convert_word(name, part, word) for part, word in zip(parts, words, strict=True))


def convert_word(name: str, kind: Any, word: str) -> Any:
    if allowed := choices(kind):
        found = [choice for choice in allowed if str(choice) == word]
        if not found:
            raise UserError(f"{name} is {word!r}, expected {describe(kind)}{did_you_mean(word, map(str, allowed))}")
        return found[0]
    if kind is bool:
        if word not in ("True", "False"):
            raise UserError(f"{name} is {word!r}, expected true or false")
        return word == "True"
    try:
        return kind(word)
    except ValueError:
        raise UserError(f"{name} is {word!r}, expected a {WORDS[kind]}") from None


def convert_toml(name: str, kind: Any, value: Any) -> Any:
    """The value of an option that TOML gives as a string, a number, a boolean or an array of them."""
    values = value if isinstance(value, list) else [value]
    if isinstance(value, list) != bool(elements(kind)) and value != "None":
        raise UserError(f"{name} is {value!r}, expected {describe(kind)}")
    for one in values:
        if not isinstance(one, str | bool | int | float):
            raise UserError(f"{name} is {value!r}, expected {describe(kind)}")
    return convert(name, kind, [one if isinstance(one, str) else repr(one) for one in values])


def describe(kind: Any) -> str:
    """What a type takes, for a sentence: `a number`, `2 numbers`, `a or b`."""
    inner, _ = without_none(kind)
    if allowed := choices(inner):
        *first, last = map(str, allowed)
        return f"{', '.join(first)} or {last}" if first else last
    if parts := elements(inner):
        one = "" if choices(parts[0]) else f"{WORDS[parts[0]]}s"
        if count(inner) == ANY_NUMBER:
            return one or f"any of {describe(parts[0]).replace(' or ', ' and ')}"
        return f"{len(parts)} {one}" if one else f"{len(parts)} of {describe(parts[0])}"
    return "true or false" if inner is bool else f"a {WORDS[inner]}"


def placeholder(kind: Any) -> str:
    """What stands for a value in a command's usage: `INT`, `PATH PATH`, `{a,b}`, `[{a,b} ...]`."""
    inner, _ = without_none(kind)
    if allowed := choices(inner):
        return f"{{{','.join(map(str, allowed))}}}"
    if parts := elements(inner):
        each = [placeholder(part) for part in parts]
        return f"[{each[0]} ...]" if count(inner) == ANY_NUMBER else " ".join(each)
    return {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH", bool: ""}[inner]


def shown(value: Any) -> str:
    """A default as it would be given on the command line; empty for what is not set."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(shown(one) for one in value)
    return str(value)
