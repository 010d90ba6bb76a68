"""Options read from dataclasses, and the words of the command line read into them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from gan_tasks.apps.cli.arguments import Command, value_of
from gan_tasks.apps.cli.options import Positional, defaults_of, field_docstrings, options_of
from gan_tasks.apps.cli.values import describe, placeholder
from gan_tasks.datasets.errors import UserError, did_you_mean

Kind = Literal["small", "large"]


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    """The rate."""
    kind: Kind | Literal["other"] | None = None
    """The kind,
    on two lines."""
    undocumented: int = 1
    flag: bool = True
    """A switch that is on."""


@dataclass(frozen=True)
class More(Inner):
    rate: float = 0.25
    """Another rate."""
    odd: bool = False
    """A switch that is off."""


@dataclass(frozen=True)
class Example(Command):
    """An example."""

    source: Positional[Path]
    """Where from."""
    rest: Positional[tuple[Path, ...]]
    """The others."""
    number: int
    """A number."""
    size: tuple[int, int] = (1, 2)
    """Height and width."""
    names: tuple[Kind, ...] = ()
    """Any of them."""
    file: Path | None = None
    """A file."""
    pair: tuple[Path, Path] | None = None
    """Two files."""
    inner: More = field(default_factory=More)


def parsed(*words: str) -> Any:
    return Example.parse(["a", "b", "--number", "1", *words], "example")


def refusal(*words: str) -> str:
    with pytest.raises(UserError) as refused:
        parsed(*words)
    return str(refused.value)


def test_options_come_from_fields_and_help_from_their_docstrings() -> None:
    options = {option.flag: option for option in options_of(defaults_of(Example))}
    assert list(options)[:4] == ["--source", "--rest", "--number", "--size"]
    assert options["--rate"].route == ("inner", "rate")
    assert options["--rate"].default == 0.25
    assert options["--rate"].help == "Another rate."
    assert options["--kind"].help == "The kind, on two lines."
    assert options["--undocumented"].help == ""
    assert [option.field for option in options.values() if option.positional] == ["source", "rest"]
    assert field_docstrings(More)["flag"] == "A switch that is on."


def test_values_are_converted_to_the_types_of_their_fields() -> None:
    assert parsed() == Example(Path("a"), (Path("b"),), 1)
    options = ("--size", "3", "4", "--rate=-1e-3", "--kind", "other", "--no-flag", "--odd", "--file", "x")
    found = parsed(*options, "--pair", "p", "q", "--names", "small", "large", "small")
    assert found == Example(
        *(Path("a"), (Path("b"),), 1, (3, 4), ("small", "large", "small")),
        *(Path("x"), (Path("p"), Path("q")), More(rate=-0.001, kind="other", flag=False, odd=True)),
    )


@pytest.mark.parametrize(
    ("words", "field", "expected"),
    [
        (("--number", "-5"), "number", -5),
        (("--number", "2", "--number=3"), "number", 3),
        (("--names",), "names", ()),
        (("--file", "None"), "file", None),
        (("c", "d"), "rest", (Path("b"), Path("c"), Path("d"))),
        (("--", "--c"), "rest", (Path("b"), Path("--c"))),
    ],
)
def test_other_ways_to_give_values(words: tuple[str, ...], field: str, expected: object) -> None:
    assert getattr(parsed(*words), field) == expected


def test_underscores_stand_for_hyphens() -> None:
    @dataclass(frozen=True)
    class Long(Command):
        batch_size: int = 1

    assert Long.parse(["--batch_size", "4"], "long") == Long.parse(["--batch-size=4"], "long") == Long(4)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--numbr", "1"), "example has no option --numbr: did you mean --number?"),
        (("--no-flagg",), "example has no option --no-flagg: did you mean --no-flag?"),
        (("--zzz", "1"), "example has no option --zzz; example --help lists the options"),
        (("--number", "one"), "--number is 'one', expected a whole number"),
        (("--number", "1.0"), "--number is '1.0', expected a whole number"),
        (("--number",), "--number takes a whole number, and got nothing"),
        (("--number", "--odd"), "--number takes a whole number, and got nothing"),
        (("--rate", "fast"), "--rate is 'fast', expected a number"),
        (("--kind", "lagre"), "--kind is 'lagre', expected small, large or other: did you mean large?"),
        (("--names", "small", "huge"), "--names is 'huge', expected small or large"),
        (("--size", "1"), "--size takes 2 whole numbers, and got 1"),
        (("--pair", "a"), "--pair takes 2 paths, and got 1"),
        (("--odd=yes",), "--odd takes no value, and got 'yes': give --odd or --no-odd"),
    ],
)
def test_what_does_not_fit_is_answered_in_a_sentence(words: tuple[str, ...], sentence: str) -> None:
    assert refusal(*words) == sentence


def test_what_is_missing_or_too_much_is_named() -> None:
    with pytest.raises(UserError, match=r"^example needs REST and --number; example --help explains its options$"):
        Example.parse(["a"], "example")

    @dataclass(frozen=True)
    class One(Command):
        file: Positional[Path]

    with pytest.raises(UserError, match=r"^one takes no argument 'b' here: expected FILE$"):
        One.parse(["a", "b"], "one")


def test_an_option_that_decides_which_others_there_are_is_found_first() -> None:
    assert value_of("--task", ["x", "--task", "a", "--task=b", "--other", "c"]) == "b"
    assert value_of("--task", ["x"], "default") == "default"
    with pytest.raises(UserError, match="--task takes a value, and got nothing"):
        value_of("--task", ["--task", "--other"])


@pytest.mark.parametrize(
    ("kind", "sentence", "usage"),
    [
        (int, "a whole number", "INT"),
        (float | None, "a number", "FLOAT"),
        (bool, "true or false", ""),
        (Path, "a path", "PATH"),
        (tuple[float, float], "2 numbers", "FLOAT FLOAT"),
        (tuple[str, ...], "texts", "[TEXT ...]"),
        (Literal["a"], "a", "{a}"),
        (Kind | Literal["c"] | None, "small, large or c", "{small,large,c}"),
        (tuple[Kind, ...], "any of small and large", "[{small,large} ...]"),
    ],
)
def test_types_are_described(kind: Any, sentence: str, usage: str) -> None:
    assert (describe(kind), placeholder(kind)) == (sentence, usage)


def test_a_suggestion_is_made_only_where_a_name_is_near() -> None:
    assert did_you_mean("evalute", ["apply", "evaluate"]) == ": did you mean evaluate?"
    assert did_you_mean("zzz", ["apply", "evaluate"], ": try --help") == ": try --help"


@pytest.mark.parametrize("word", ["tpu", "x", ""])
def test_nothing_is_suggested_where_nothing_is_near(word: str) -> None:
    assert did_you_mean(word, ["cpu", "cuda", "auto"]) == ""


def test_upper_case_is_near() -> None:
    assert (
        did_you_mean("EVALUATE", ["evaluate"]) == did_you_mean("Evaluat", ["evaluate"]) == ": did you mean evaluate?"
    )
