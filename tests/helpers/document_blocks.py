"""Find the code blocks of a Markdown document, and the commands in a bash block."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RECORDED = ("gan-tasks", "python", "torchrun", "curl", "bash")
"""Programs that may occur in a block. Bash has no PATH, so that any other program fails."""


@dataclass(frozen=True)
class Block:
    language: str
    """The language name after the three backticks."""
    code: str


def blocks(document: Path) -> Iterator[Block]:
    text = document.read_text(encoding="utf-8")
    for language, code in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield Block(language, code)


def commands(code: str) -> list[list[str]]:
    """Return the commands of a bash block with their arguments. Bash expands variables, loops and quotes.

    Each program is replaced by a function that prints its arguments, so that no program runs.
    """
    functions = "".join(f'{name}() {{ printf "%s\\0" {name} "$@"; printf "\\1"; }}\n' for name in RECORDED)
    result = subprocess.run(
        ["/bin/bash", "-euc", f"{functions}{code}"], env={"PATH": "/nonexistent"}, capture_output=True, text=True
    )
    if result.returncode:
        raise AssertionError(f"bash cannot run this block: {result.stderr}\n{code}")
    return [command.split("\0")[:-1] for command in result.stdout.split("\1")[:-1]]
