"""Ranges of numeric options: the borders, NaN and infinity, tuples and optional values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import Checked, Range

Share = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class Options(Checked):
    share: Share = 0.5
    pair: tuple[Share, Share] = (0.0, 1.0)
    maybe: Share | None = None
    rate: Annotated[float, Range(0, 1, above=True, below=True)] = 0.5
    steps: Annotated[int, Range(1, 1_000_000)] = 1
    free: float = 0.0


def test_the_borders_are_included_unless_they_are_not() -> None:
    assert Options(share=0, pair=(1, 1), maybe=1, steps=1_000_000).steps == 1_000_000
    for border in (0, 1):
        with pytest.raises(UserError, match=f"rate is {border}: expected a number above 0 to below 1"):
            Options(rate=border)


@given(st.floats())
def test_a_number_is_refused_exactly_where_it_is_out_of_range(number: float) -> None:
    if 0 <= number <= 1:
        assert Options(share=number).share == number
    else:
        with pytest.raises(UserError, match=r"share is .*: expected a number from 0 to 1"):
            Options(share=number)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["share", "maybe", "rate", "steps"])
def test_numbers_that_are_not_finite_are_in_no_range(name: str, number: float) -> None:
    with pytest.raises(UserError, match=rf"{name} is {number}"):
        Options(**{name: number})


def test_each_number_of_a_tuple_is_checked() -> None:
    with pytest.raises(UserError, match=r"pair is 0\.5 2: expected numbers from 0 to 1"):
        Options(pair=(0.5, 2.0))


def test_the_message_writes_large_numbers_out() -> None:
    with pytest.raises(UserError, match="steps is 0: expected a number from 1 to 1,000,000"):
        Options(steps=0)
