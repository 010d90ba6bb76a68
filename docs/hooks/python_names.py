"""The reference of the Python API: signatures and docstrings of the public names."""

from __future__ import annotations

import importlib
import inspect
import sys
from types import FunctionType
from typing import Any

from options import doc_of
from text import from_docstring, inline

import gan_tasks


def public_names() -> list[str]:
    """Every name of `gan_tasks.__all__`; the options of tasks are in the reference of training options."""
    lines: list[str] = []
    for name in sorted(gan_tasks.__all__, key=str.lower):
        value = getattr(gan_tasks, name)
        if not name.startswith("_"):
            lines += described(f"gan_tasks.{name}", value)
    return lines


def named(where: str) -> list[str]:
    """One name that is not exported at the top, `module:name`; of a class also its public methods."""
    module, name = where.split(":")
    value = getattr(importlib.import_module(module), name)
    lines = described(f"{module}.{name}", value)
    if isinstance(value, type):
        for method_name, method in vars(value).items():
            public = method_name == "__call__" or not method_name.startswith("_")
            if isinstance(method, FunctionType) and method.__doc__ and public:
                lines += [f"#### {inline(f'{name}.{method_name}')}", "", "```python", signature(method), "```", ""]
                lines += from_docstring(method.__doc__)
    return lines


def described(title: str, value: Any) -> list[str]:
    lines = [f"### {inline(title)}", ""]
    if not isinstance(value, type):
        return [*lines, "```python", signature(value), "```", "", *from_docstring(value.__doc__ or "")]
    if title.endswith("Config"):
        page = "[training options](training-options.md)"
        return [*lines, inline(doc_of(value)), "", f"Its fields are the options of the command line; see {page}.", ""]
    # A class without a docstring of its own is described by its module.
    doc = value.__doc__ if doc_of(value) else sys.modules[value.__module__].__doc__
    return lines + from_docstring(doc or "")


def signature(function: Any) -> str:
    """`name(arguments) -> result`, one argument a line where it is long."""
    found = inspect.signature(function)
    arguments, star = [], False
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            arguments.append("*")
            star = True
        arguments.append(argument(parameter))
    arrow = "" if found.return_annotation is inspect.Signature.empty else f" -> {annotation(found.return_annotation)}"
    text = f"{function.__name__}({', '.join(arguments)}){arrow}"
    if len(text) <= 100:
        return text
    return "\n".join([f"{function.__name__}(", *(f"    {each}," for each in arguments), f"){arrow}"])


def argument(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}"
    typed = parameter.annotation is not parameter.empty
    if typed:
        text += f": {annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        text += f" = {parameter.default!r}" if typed else f"={parameter.default!r}"
    return text


def annotation(value: Any) -> str:
    """As in the source; annotations are strings where a module delays them."""
    return value if isinstance(value, str) else getattr(value, "__name__", str(value))
