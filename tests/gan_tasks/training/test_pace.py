"""Repeated actions are due by time, and take a bounded share of it."""

from __future__ import annotations

import pytest

from gan_tasks.training.pace import Pace


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(("cost_s", "wait_s"), [(0.1, 60), (3, 60), (6, 120), (60, 1200)])
def test_an_action_takes_at_most_a_twentieth_of_the_time(
    cost_s: float, wait_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("gan_tasks.training.pace.monotonic", clock)
    pace = Pace(60)
    with pace.timed():
        clock.now_s += cost_s
    clock.now_s += wait_s - 1
    assert not pace.is_due()
    clock.now_s += 1
    assert pace.is_due()


def test_the_first_action_comes_earlier_and_none_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("gan_tasks.training.pace.monotonic", clock)
    paces = [Pace(600, first_s=60), Pace(30, first_s=60), Pace(600), Pace(0, first_s=60)]
    clock.now_s = 59
    assert [pace.is_due() for pace in paces] == [False, True, False, False]
    clock.now_s = 60
    assert [pace.is_due() for pace in paces] == [True, True, False, False]
    with paces[0].timed():
        pass
    clock.now_s = 659
    assert not paces[0].is_due()
