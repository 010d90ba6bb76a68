"""Tiny models, each exported once for all tests."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock
from tiny_runs import Exported, export_tiny

from gan_tasks.export.models.run_model import TrainedModel


@pytest.fixture(scope="session")
def exported(shared_folder: Path) -> Callable[[str], Exported]:
    """A model of one of the KINDS, its ONNX file and what was reported of it; not to be changed.

    The first process that needs a kind exports it, which takes seconds, and the others load it.
    """

    @cache
    def export(kind: str) -> Exported:
        folder = shared_folder / "exported" / kind.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        done = folder / "report.pickle"
        with FileLock(folder / "lock"):
            if not done.exists():
                made = export_tiny(folder, kind)
                done.write_bytes(pickle.dumps(made.report))
                return made
        report = pickle.loads(done.read_bytes())
        return Exported(TrainedModel(folder / "run", device="cpu"), report.path, report)

    return export
