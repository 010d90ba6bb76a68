"""The ranges of numeric options, and the check of a dataclass against them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from gan_tasks.datasets.errors import UserError


@dataclass(frozen=True)
class Range:
    """The numbers that an option takes: from `lowest` to `highest`, both included.

    above: `lowest` itself is not included.
    below: `highest` itself is not included.
    """

    lowest: float
    highest: float
    above: bool = False
    below: bool = False

    def __contains__(self, number: float) -> bool:
        """Whether the option takes this number. NaN and infinity are in no range."""
        if not math.isfinite(number):
            return False
        return (self.lowest < number if self.above else self.lowest <= number) and (
            number < self.highest if self.below else number <= self.highest
        )

    def __str__(self) -> str:
        first = f"above {self.lowest:,.10g}" if self.above else f"from {self.lowest:,.10g}"
        return f"{first} to {'below ' if self.below else ''}{self.highest:,.10g}"


LARGEST_COUNT = 10**9
"""Bound of options that count images, steps or epochs. A larger number is a typing error."""

Count = Annotated[int, Range(0, LARGEST_COUNT)]
PositiveCount = Annotated[int, Range(1, LARGEST_COUNT)]
Workers = Annotated[int, Range(0, 256)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Side = Annotated[int, Range(0, 65_536)]
"""A height or width in pixels, or 0."""
Channels = Annotated[int, Range(0, 4096)]
"""The number of channels of images, or 0 where it is read from the first file."""
Width = Annotated[int, Range(1, 4096)]
"""The number of channels of a layer."""
Weight = Annotated[float, Range(0, 1e9)]
"""The weight of a loss; 0 turns it off."""
Fraction = Annotated[float, Range(0, 1)]
Scale = Annotated[float, Range(0, 16, above=True)]
"""Pixels of a result per pixel of the image, along each side."""
LearningRate = Annotated[float, Range(0, 100)]
Seconds = Annotated[float, Range(1, 1_000_000)]


class Checked:
    """The base of dataclasses of options. A number out of the `Range` of its field raises UserError.

    A dataclass with a `__post_init__` of its own calls `super().__post_init__()` first.
    """

    def __post_init__(self) -> None:
        config_type: type = type(self)
        for name, allowed in ranges(config_type).items():
            value = getattr(self, name)
            numbers = [n for n in (value if isinstance(value, tuple) else (value,)) if isinstance(n, int | float)]
            if any(number not in allowed for number in numbers):
                shown = " ".join(f"{number:.10g}" for number in numbers)
                what = "numbers" if isinstance(value, tuple) else "a number"
                raise UserError(f"{name} is {shown}: expected {what} {allowed}")


@cache
def ranges(config_type: type) -> dict[str, Range]:
    """The ranges of a dataclass's fields by their names. A field of a tuple has one range for all its numbers."""
    hints = get_type_hints(config_type, include_extras=True)
    found = {field.name: next(ranges_in(hints[field.name]), None) for field in fields(config_type)}
    return {name: allowed for name, allowed in found.items() if allowed is not None}


def ranges_in(hint: Any) -> Iterator[Range]:
    """The ranges in a type such as `Annotated[int, Range(0, 1)] | None`."""
    if get_origin(hint) is Annotated:
        yield from (extra for extra in hint.__metadata__ if isinstance(extra, Range))
    for inner in get_args(hint):
        yield from ranges_in(inner)
