"""The help of a command, printed from its options."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gan_tasks.apps.cli.options import MISSING, Option
from gan_tasks.apps.cli.values import count, elements, placeholder, shown
from gan_tasks.tasks.own import OPTION

LARGEST_WIDTH = 100
INDENT, GAP, NAME_WIDTH = 2, 2, 26
EVERYWHERE = (OPTION, "--debug")
"""The options of every command, which the overview explains."""


@dataclass(frozen=True)
class Help:
    """The page that explains a command."""

    prog: str
    """The command as a person types it, such as `gan-tasks apply`."""
    text: str
    """What the command does."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """Titles of groups by the field that holds a nested dataclass; see `group`."""
    common: frozenset[str] | None = None
    """Names of the fields that `--help` shows, where `--help-all` shows more; None: it shows all."""
    group: Callable[[Option], str] | None = None
    """Gives the title that an option stands under, instead of `titles`."""

    def print(self, options: Sequence[Option], *, everything: bool) -> None:
        print("\n".join(self.lines(options, everything=everything)))

    def lines(self, options: Sequence[Option], *, everything: bool) -> list[str]:
        width = min(shutil.get_terminal_size().columns, LARGEST_WIDTH)
        listed = [option for option in options if everything or self.common is None or option.field in self.common]
        lines = [self.usage(options), ""]
        for paragraph in self.text.split("\n\n"):
            lines += [*textwrap.wrap(" ".join(paragraph.split()), width), ""]
        for title, members in grouped(listed, self.group or self.title).items():
            lines += [title, *(line for option in members for line in explained(option, width)), ""]
        lines += [f"{' and '.join(EVERYWHERE)} work with every command: see gan-tasks --help.", ""]
        if len(listed) < len(options):
            lines.append(f"{self.prog} --help-all shows all {len(options)} options.")
            lines.append("")
        return lines[:-1]

    def usage(self, options: Iterable[Option]) -> str:
        words = ["usage:", self.prog]
        for option in options:
            name = option.field.upper() + (" ..." if count(option.type) < 0 else "")
            if option.positional:
                words.append(name if option.default is MISSING else f"[{name}]")
            elif option.default is MISSING:
                words.append(f"{option.flag} {placeholder(option.type)}")
        return " ".join([*words, "[OPTIONS]"])

    def title(self, option: Option) -> str:
        if option.positional:
            return "arguments"
        for name in reversed(option.route[:-1]):
            if name in self.titles:
                return self.titles[name]
        return "options"


def grouped(options: Iterable[Option], title: Callable[[Option], str]) -> dict[str, list[Option]]:
    groups: dict[str, list[Option]] = {}
    for option in options:
        groups.setdefault(title(option), []).append(option)
    return groups


def explained(option: Option, width: int) -> list[str]:
    """An option's name and what it takes, and beside or below it the help."""
    column = INDENT + NAME_WIDTH + GAP
    text = option.help
    if option.default is MISSING:
        text += "" if option.positional else " (required)"
    elif value := shown(option.default):
        text += f" (default: {value})"
    name = " " * INDENT + heading(option)
    lines = textwrap.wrap(text, max(30, width - column), break_on_hyphens=False)
    lines = [" " * column + line for line in lines]
    if len(name) + GAP <= column and lines:
        return [name.ljust(column) + lines[0].lstrip(), *lines[1:]]
    return [name, *lines]


def heading(option: Option) -> str:
    if option.positional:
        return option.field.upper()
    if count(option.type) == 0:
        return f"{option.flag}, {option.off_flag}" if option.default is True else option.flag
    return f"{option.flag} {placeholder(elements(option.type)[0] if option.repeated else option.type)}"
