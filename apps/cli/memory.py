"""Amounts of memory as people write them."""

from __future__ import annotations

import re

from gan_tasks.datasets.errors import UserError

BYTES = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def memory_bytes(text: str) -> int:
    """Bytes of such as `2GB` or `512 MiB`. Raises UserError for anything else."""
    for unit, size in BYTES.items():
        amount = re.fullmatch(rf"(\d+(?:\.\d+)?) ?{unit}", text.strip(), re.IGNORECASE)
        if amount and float(amount[1]) > 0:
            return int(float(amount[1]) * size)
    raise UserError(f"no amount of memory is called {text!r}: expected such as 2GB or 512MB ({', '.join(BYTES)})")
