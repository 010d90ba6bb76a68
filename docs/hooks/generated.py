"""MkDocs hook: fill reference pages from the code, where a page says `<!-- generated: NAME -->`.

What is generated cannot differ from the code. A marker that is unknown, and a name that the code no longer has, stop
the build.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import architectures
import command_line
import python_names
import ready_made
import rest
import transfer
from options import fields_table

ROOT = Path(__file__).parents[2]
MARKER = re.compile(r"^<!-- generated: (.+?) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with each page before it is rendered."""
    return MARKER.sub(lambda match: "\n".join(generate(match[1])), markdown)


def generate(what: str) -> list[str]:
    """The Markdown lines for one marker. Raises KeyError for an unknown one."""
    name, _, argument = what.partition(" ")
    if name == "file":
        return ["```python", *(ROOT / argument).read_text(encoding="utf-8").splitlines(), "```"]
    if name == "name":
        return python_names.named(argument)
    if name == "dataclass":
        module, class_name = argument.split(":")
        return fields_table(getattr(importlib.import_module(module), class_name))
    makers = {
        "architectures": architectures.generators,
        "other-architectures": architectures.others,
        "commands": command_line.commands,
        "training-options": command_line.training_options,
        "public-names": python_names.public_names,
        "routes": rest.routes,
        "limits": rest.limits,
        "transfers": transfer.transfers,
        "shipped-models": ready_made.shipped,
        "ready-made-models": ready_made.models,
        "ready-made-packages": ready_made.packages,
    }
    return makers[name]()
