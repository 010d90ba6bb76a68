"""Which variables are set before a numerical library loads; the user's own settings stay."""

import importlib
import os
import sys

import pytest

import gan_tasks
from gan_tasks.apps.cli.main import main
from gan_tasks.threads import SPIN_COUNT, WAITING

NAMES = (*WAITING, "OPENBLAS_NUM_THREADS")


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new interpreter, and without these variables."""
    for name in ("torch", "numpy"):
        monkeypatch.setitem(sys.modules, name, sys)  # so that it is put back, or removed
        monkeypatch.delitem(sys.modules, name)
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def start_command_line() -> dict[str, str]:
    """Import the package and run a command; returns the variables after it."""
    importlib.reload(gan_tasks)
    with pytest.raises(SystemExit):
        main(["--version"])
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def test_waiting_threads_sleep_and_numpy_multiplies_on_one() -> None:
    assert start_command_line() == {
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": SPIN_COUNT,
        "OPENBLAS_NUM_THREADS": "1",
    }


@pytest.mark.parametrize("name", WAITING)
def test_a_user_may_set_them(name: str) -> None:
    theirs = {name: "7", "OPENBLAS_NUM_THREADS": "4"}
    os.environ.update(theirs)
    assert start_command_line() == theirs


def test_nothing_is_set_that_would_have_no_effect() -> None:
    sys.modules.update(torch=sys, numpy=sys)
    assert start_command_line() == {}
