"""The command line's words, read into the dataclass of a command."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from gan_tasks.apps.cli.console import OK
from gan_tasks.apps.cli.help import EVERYWHERE, Help
from gan_tasks.apps.cli.options import MISSING, Option, Route, defaults_of, options_of, with_values
from gan_tasks.apps.cli.values import ANY_NUMBER, convert, count, describe, elements, is_supported
from gan_tasks.datasets.errors import UserError, did_you_mean

T = TypeVar("T")
HELP, HELP_ALL = ("-h", "--help"), "--help-all"


class Command:
    """A command: a frozen dataclass whose fields are its options, and `run`, which returns the exit code.

    The first line of its docstring is its summary in `gan-tasks --help`.
    """

    titles: ClassVar[Mapping[str, str]] = {}
    """Titles of groups of options in the help, by the field that holds a nested dataclass."""

    @classmethod
    def parse(cls, arguments: Sequence[str], prog: str) -> Command:
        """The command with its options. Raises UserError for what does not fit, SystemExit(0) after showing help."""
        return parse(defaults_of(cls), arguments, Help(prog, cls.__doc__ or "", titles=cls.titles))

    def run(self) -> int:
        raise NotImplementedError


def parse(defaults: T, arguments: Sequence[str], help_page: Help, values: Mapping[Route, Any] | None = None) -> T:
    """A copy of `defaults` with the values of the arguments.

    Args:
        values: values that replace the defaults, and that arguments override, such as those of a file.

    Raises UserError for arguments that do not fit, and for missing ones; SystemExit(0) after showing help.
    """
    given = values or {}
    options = [dataclasses.replace(o, default=given.get(o.route, o.default)) for o in options_of(defaults)]
    for option in options:
        if not is_supported(option.type):
            raise UserError(
                f"{option.flag} has the type {option.type}, which {help_page.prog} cannot take: expected bool, int, "
                "float, str, Path, a Literal, or a tuple of them"
            )
    if asks_for_help(arguments):
        help_page.print(options, everything=HELP_ALL in arguments)
        sys.exit(OK)
    read = read_arguments(options, arguments, help_page.prog)
    missing = [option for option in options if option.default is MISSING and option.route not in read]
    if missing:
        names = " and ".join(option.field.upper() if option.positional else option.flag for option in missing)
        raise UserError(f"{help_page.prog} needs {names}; {help_page.prog} --help explains its options")
    return with_values(defaults, {**given, **read})


def asks_for_help(arguments: Iterable[str]) -> bool:
    return any(argument in (*HELP, HELP_ALL) for argument in arguments)


def read_arguments(options: Sequence[Option], arguments: Sequence[str], prog: str) -> dict[Route, Any]:
    """The values that are given on the command line; the last one counts where an option is given again, unless it is
    one that is `repeated`.

    `--lr 1`, `--lr=1`, `--batch_size 1`, `--flip` and `--no-flip` are understood, and `--` before a positional
    argument that begins with two hyphens. Raises UserError for what is unknown or does not fit.
    """
    by_flag = {option.flag: option for option in options if not option.positional}
    switches = {option.off_flag: option for option in by_flag.values() if is_switch(option)}
    known = {**by_flag, **switches}
    values: dict[Route, Any] = {}
    positional: list[str] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        position += 1
        if word == "--":
            positional += arguments[position:]
            break
        if not word.startswith("--"):
            positional.append(word)
            continue
        name, has_value, value = word.partition("=")
        flag = name.replace("_", "-")
        if flag not in known:
            flags = [*known, *EVERYWHERE]
            hint = did_you_mean(flag, flags, f"; {prog} --help lists the options")
            raise UserError(f"{prog} has no option {name}{hint}")
        option = known[flag]
        if is_switch(option):
            if has_value:
                raise UserError(f"{name} takes no value, and got {value!r}: give {option.flag} or {option.off_flag}")
            values[option.route] = flag == option.flag
            continue
        kind, *_ = elements(option.type) if option.repeated else (option.type,)
        words = [value] if has_value else words_from(arguments[position:], count(kind))
        position += 0 if has_value else len(words)
        if not words and count(kind) != ANY_NUMBER:
            raise UserError(f"{name} takes {describe(kind)}, and got nothing")
        made = convert(name, kind, words)
        values[option.route] = (*values.get(option.route, ()), made) if option.repeated else made
    return values | read_positional([option for option in options if option.positional], positional, prog)


def read_positional(options: Sequence[Option], words: Sequence[str], prog: str) -> dict[Route, Any]:
    """Each option takes one word, in order; one that takes any number takes the rest."""
    values: dict[Route, Any] = {}
    rest = list(words)
    for option in options:
        taken = rest if count(option.type) == ANY_NUMBER else rest[:1]
        if taken:
            values[option.route] = convert(option.field.upper(), option.type, taken)
        rest = rest[len(taken) :]
    if rest:
        expected = " ".join(option.field.upper() for option in options) or "options only"
        raise UserError(f"{prog} takes no argument {rest[0]!r} here: expected {expected}")
    return values


def words_from(arguments: Sequence[str], number: int) -> list[str]:
    """The words that follow an option, up to `number` of them, and up to the next option."""
    words: list[str] = []
    for word in arguments:
        if word.startswith("--") or len(words) == number:
            break
        words.append(word)
    return words


def value_of(flag: str, arguments: Sequence[str], default: str = "") -> str:
    """The value of one option that decides which others there are; the last one counts.

    Raises UserError where its value is missing.
    """
    for position in range(len(arguments) - 1, -1, -1):
        name, has_value, value = arguments[position].partition("=")
        if name == flag:
            words = [value] if has_value else words_from(arguments[position + 1 :], 1)
            if not words:
                raise UserError(f"{flag} takes a value, and got nothing")
            return words[0]
    return default


def without_option(flag: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without an option that takes one value, and the values that it was given, in order.

    Raises UserError where a value is missing. Words after `--` are left alone.
    """
    rest, values = [], []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
            break
        name, has_value, value = word.partition("=")
        if not name.startswith("--") or name.replace("_", "-") != flag:
            rest.append(word)
            continue
        value = value if has_value else next(words, "")
        if not value or (value.startswith("--") and not has_value):
            raise UserError(f"{flag} takes a value, and got nothing")
        values.append(value)
    return rest, values


def is_switch(option: Option) -> bool:
    return count(option.type) == 0
