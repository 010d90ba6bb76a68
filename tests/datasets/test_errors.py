"""Errors of other libraries that say that the memory does not suffice."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from gan_tasks.datasets.errors import is_out_of_memory

ALLOCATIONS: dict[str, Callable[[], object]] = {
    "numpy": lambda: np.zeros((2**24, 2**24), np.float64),
    "opencv": lambda: cv2.resize(np.zeros((8, 8, 3), np.uint8), (2**31 - 1, 2**17)),
    "torch": lambda: torch.empty(2**24, 2**24),
    "torch, more than 64 bits": lambda: torch.empty(2**40, 2**40),
}
"""Each asks for more memory than processors can address."""


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_too_little_memory_is_recognised(name: str) -> None:
    with pytest.raises((MemoryError, RuntimeError, cv2.error)) as failed:
        ALLOCATIONS[name]()
    assert is_out_of_memory(failed.value)


def test_other_errors_are_not_taken_for_it() -> None:
    with pytest.raises(cv2.error) as failed:
        cv2.resize(np.zeros((8, 8, 3), np.uint8), (-1, 5))
    assert not is_out_of_memory(failed.value) and not is_out_of_memory(RuntimeError("shapes do not fit"))
