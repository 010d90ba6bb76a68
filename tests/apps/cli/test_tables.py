"""Tables of results in narrow terminals: names are shortened, numbers never cut."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from gan_tasks.apps.cli.tables import Columns, fitted, shortened
from gan_tasks.export.evaluation.report import text
from gan_tasks.export.evaluation.result import Figure

NAMES = ("runs/a-long-name-of-a-run step-00010000", "runs/a-long-name-of-a-run step-00020000", "モデル [bold]x")
NUMBERS = ("0.0123 [0.0120, 0.0130]", "-25.70 [-26.12, -25.34]", "156.26 [155.68, 156.73]", "0.940")


def printed(width: int, names: int, values: int) -> str:
    table = Columns("title", ("model", "first", "second")[:names], tuple(f"metric {n} ↑" for n in range(values)))
    for _ in range(2):
        table.add(*NAMES[:names], values=NUMBERS[:values])
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(fitted(table, width))
    return console.export_text()


@pytest.mark.parametrize("width", [50, 60, 80, 100, 200])
@pytest.mark.parametrize(("names", "values"), [(1, 1), (1, 2), (1, 4), (3, 2), (3, 4)])
def test_numbers_are_whole_at_every_width(width: int, names: int, values: int) -> None:
    table = printed(width, names, values)
    assert max(map(cell_len, table.splitlines())) <= width
    found = re.findall(r"-?\d+\.\d+", table)
    expected = [number for cell in NUMBERS[:values] for number in re.findall(r"-?\d+\.\d+", cell)]
    assert sorted(found) == sorted(2 * expected)
    assert "10000" in table and (names < 3 or "20000" in table)  # the ends of names, which tell them apart
    if width == 200:
        assert all(name in table for name in NAMES[:names])


def test_names_are_shortened_in_the_middle() -> None:
    assert shortened("a-long-name-1", 9) == "a-lo…me-1" and shortened("short", 5) == "short"
    assert all(cell_len(shortened("モデル" * 9, width)) <= width for width in range(3, 40))


@pytest.mark.parametrize("width", [30, 200])
def test_names_and_titles_command_neither_the_terminal_nor_the_table(width: int) -> None:
    table = Columns("data\x1b[2J [/] [red]", ("model",), ("metric",))
    table.add("a\x1b]0;\nb", values=["1.0"])
    file = io.StringIO()
    Console(width=width, file=file, force_terminal=False).print(fitted(table, width))
    shown = file.getvalue()
    assert "\x1b" not in shown
    assert "data\\x1b[2J" in shown and "[/]" in shown and "a\\x1b]0;\\x0ab" in shown


@pytest.mark.parametrize(
    ("figure", "shown"),
    [((12.26, 12.2571, 12.2599), "12.26"), ((12.26, 12.25, 12.27), "12.26 [12.25, 12.27]"), ((1, 1, 1), "1.00")],
)
def test_an_interval_of_two_equal_ends_is_not_shown(figure: tuple[float, float, float], shown: str) -> None:
    assert text(Figure(*figure), 2) == shown
