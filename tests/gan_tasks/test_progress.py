import subprocess
import sys

import pytest

from gan_tasks import progress
from gan_tasks.progress import track


class Clock:
    """Time that passes only when told to."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_pipe_gets_a_line_every_ten_seconds_and_one_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with track(100, "Training", "images") as advance:
        for _ in range(25):
            clock.now_s += 1
            advance(4, l1=0.123456)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "Training: 40/100 images, 4 images/s, 0:00:15 left, l1 0.1235",
        "Training: 80/100 images, 4 images/s, 0:00:05 left, l1 0.1235",
        "Training: 100/100 images, 4 images/s, 0:00:25 taken, l1 0.1235",
    ]


def test_what_was_done_before_does_not_count_for_the_rate(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with track(1000, "Training", "images", done=900) as advance:
        clock.now_s += 10
        advance(20)
    assert capsys.readouterr().err.startswith("Training: 920/1000 images, 2 images/s, 0:00:40 left")


def test_a_failure_passes_through_after_a_last_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), track(10, "Reading", "files") as advance:
        clock.now_s += 2
        advance(4)
        raise KeyError
    assert capsys.readouterr().err.startswith("Reading: 4/10 files, 2 files/s")


def test_quiet_shows_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with track(10, "Reading", "files", quiet=True) as advance:
        clock.now_s += 60
        advance(10, note="x")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_live_bar_and_stdout_stays_clean() -> None:
    program = (
        "from gan_tasks.progress import track\n"
        "with track(4, 'Training [1/2]', 'images') as advance:\n"
        "    for _ in range(4): advance(1, l1=0.5); print('data')\n"
    )
    environment = {"FORCE_COLOR": "1", "COLUMNS": "120", "PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout == "data\n" * 4
    assert "Training [1/2]" in result.stderr and "images/s" in result.stderr and "l1 0.5" in result.stderr
