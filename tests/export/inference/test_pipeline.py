"""Reading, running and writing overlap, keep the order, and hold few items at a time."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.pipeline import AHEAD, pipelined

STEPS = ("read", "run", "write")
LONGEST_WAIT_S = 20


def same(item: int) -> int:
    return item


@settings(deadline=None, max_examples=40)
@given(count=st.integers(0, 12), seed=st.integers(0, 2**32 - 1), failing=st.sets(st.integers(0, 35), max_size=8))
def test_results_and_errors_come_in_order(count: int, seed: int, failing: set[int]) -> None:
    durations_s = np.random.default_rng(seed).uniform(0, 1e-3, 36)

    def step(number: int, item: int) -> int:
        time.sleep(durations_s[number * 12 + item])
        if number * 12 + item in failing:
            raise UserError(f"{STEPS[number]} {item}")
        return item

    results = pipelined(range(count), *((lambda item, n=n: step(n, item)) for n in range(3)))
    expected = [
        next((f"{name} {item}" for n, name in enumerate(STEPS) if n * 12 + item in failing), item)
        for item in range(count)
    ]
    assert [str(result) if isinstance(result, UserError) else result for result in results] == expected


def test_reading_and_writing_overlap_with_running() -> None:
    read, running = [threading.Event() for _ in range(4)], [threading.Event() for _ in range(4)]

    def wait_for(event: threading.Event) -> None:
        assert event.wait(LONGEST_WAIT_S), "each step waits until the one before has ended"

    def run(item: int) -> int:
        running[item].set()
        if item < 3:
            wait_for(read[item + 1])
        return item

    def write(item: int) -> int:
        if item < 3:
            wait_for(running[item + 1])
        return item

    assert list(pipelined(range(4), lambda item: [read[item].set(), item][1], run, write)) == [0, 1, 2, 3]


@pytest.mark.parametrize("slow", STEPS)
def test_few_items_are_held_with_any_slow_step(slow: str) -> None:
    held, most, lock = 0, 0, threading.Lock()

    def step(name: str, change: int, item: int) -> int:
        nonlocal held, most
        time.sleep(0.002 if name == slow else 0)
        with lock:
            held += change
            most = max(most, held)
        return item

    steps = (
        lambda item: step("read", 1, item),
        lambda item: step("run", 0, item),
        lambda item: step("write", -1, item),
    )
    assert len(list(pipelined(range(60), *steps))) == 60
    assert most <= 2 * AHEAD + 2


@pytest.mark.parametrize("failing", STEPS)
def test_an_unexpected_error_is_the_result_of_one_item(failing: str) -> None:
    def step(name: str, item: int) -> int:
        if name == failing and item == 3:
            raise OSError("disk full")
        return item

    steps = ((lambda item, name=name: step(name, item)) for name in STEPS)
    results = list(pipelined(range(6), *steps))
    assert isinstance(results[3], OSError)
    assert [result for result in results if isinstance(result, int)] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("failing", STEPS)
def test_the_end_of_the_program_is_raised_after_started_items_end(failing: str) -> None:
    written = []
    before = set(threading.enumerate())

    def step(name: str, item: int) -> int:
        if name == failing and item == 3:
            raise KeyboardInterrupt
        return item

    def write(item: int) -> int:
        time.sleep(0.005)
        written.append(step("write", item))
        return item

    with pytest.raises(KeyboardInterrupt):
        list(pipelined(range(50), lambda item: step("read", item), lambda item: step("run", item), write))
    assert {0, 1, 2} <= set(written) and len(written) < 10
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("failing", STEPS)
def test_an_error_does_not_hold_the_memory_of_its_item(failing: str) -> None:
    freed = []

    class Large:
        def __del__(self) -> None:
            freed.append(self)

    def step(name: str, item: int) -> int:
        large = Large()
        if name == failing:
            raise ValueError(f"{item} with {type(large).__name__}")
        return item

    steps = ((lambda item, name=name: step(name, item)) for name in STEPS)
    (error,) = pipelined(range(1), *steps)
    assert isinstance(error, ValueError) and len(freed) == 1 + STEPS.index(failing)
