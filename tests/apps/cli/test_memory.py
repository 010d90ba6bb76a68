"""Amounts of memory as people write them."""

import pytest

from gan_tasks.apps.cli.memory import memory_bytes
from gan_tasks.datasets.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GB", 2_000_000_000),
        ("512MB", 512_000_000),
        ("1.5 GiB", 1_610_612_736),
        ("1mib", 1_048_576),
        (" 0.5gb ", 500_000_000),
    ],
)
def test_amounts(text: str, expected: int) -> None:
    assert memory_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "2", "2G", "GB", "-2GB", "0GB", "2 000MB", "1e3MB", "2GB MB", "inf GB"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected such as 2GB or 512MB"):
        memory_bytes(text)
