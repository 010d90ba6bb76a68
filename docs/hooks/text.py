"""Pieces of Markdown, and docstrings turned into it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(map(one_line, row)) + " |" for row in rows]
    return [*lines, ""]


def one_line(text: str) -> str:
    return " ".join(text.split())


def inline(text: str) -> str:
    """Plain text as Markdown: code in backticks stays, addresses become links, what would be markup is escaped."""
    parts = re.split(r"(`[^`]*`|https?://[^\s),;]*[^\s),;.:])", text)
    for number, part in enumerate(parts):
        if part.startswith("http"):
            parts[number] = f"<{part}>"
        elif not part.startswith("`"):
            parts[number] = re.sub(r"([*_<>|\[\]])", r"\\\1", part)
    return "".join(parts)


def from_docstring(docstring: str) -> list[str]:
    """A docstring as Markdown: paragraphs, `Args:` and the like as lists, other indented lines as code."""
    lines: list[str] = []
    for number, block in enumerate(re.split(r"\n\s*\n", inspect.cleandoc(docstring))):
        first, *rest = block.splitlines()
        if rest and re.fullmatch(r"[A-Z]\w+:", first):
            lines += [f"**{first}**", "", *argument_list(rest), ""]
        elif number and re.match(r"[a-z]\w*(, *[a-z]\w*)*: \S", first) and all(line.startswith(" ") for line in rest):
            lines += [*argument_list([f"    {first}", *(f"    {line}" for line in rest)]), ""]
        elif first.startswith("    "):
            lines += ["```text", *inspect.cleandoc("\n" + block).splitlines(), "```", ""]
        else:
            lines += [inline(one_line(block)), ""]
    return lines


def argument_list(lines: Sequence[str]) -> list[str]:
    """Indented lines `name: meaning`, with continuations indented further, as a list."""
    items: list[str] = []
    for line in lines:
        name, colon, meaning = line.strip().partition(": ")
        if items and (line.startswith(" " * 8) or not colon):
            items[-1] += " " + inline(line.strip())
        else:
            items.append(f"- `{name}`: {inline(meaning)}" if colon else f"- {inline(name)}")
    return items
