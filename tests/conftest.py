"""Shared fixtures, and the order of the tests.

Tests run on one thread a process: many small tensors gain nothing from more, and there is a process for each core.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import EXAMPLES, write_pairs

from gan_tasks import tasks


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, or one process would be busy with the last of them while the others wait."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def example_tasks() -> Iterator[None]:
    """The one line of each example in TASKS: everything that runs over the tasks runs over them too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "TASKS", (*tasks.TASKS, *EXAMPLES))
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep manifests and downloads of the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this run of pytest that all its processes share; lock what you write there."""
    folder = tmp_path_factory.getbasetemp()
    return folder if worker_id == "master" else folder.parent


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small training pairs, two for the test; not to be changed."""
    return write_pairs(tmp_path_factory.mktemp("pairs"))
