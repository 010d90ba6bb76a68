"""One part of the measurement, in a process of its own: `python -m gpu.part NAME OPTIONS FILE`.

It appends each line of its table to the file as soon as it is measured, so that nothing is lost if it is ended.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

from gpu.options import Options, Part, Row, repository

TESTS = ("tests/gan_tasks/tasks/test_contract.py", "tests/gan_tasks/training/test_waits.py")
"""The files with tests that need a GPU."""


def tests(options: Options) -> Iterator[Row]:
    """The tests that need a GPU. They are skipped without one."""
    import pytest

    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        files = [str(repository() / name) for name in TESTS]
        settings = ["-o", "addopts=", "-o", "required_plugins=", "--import-mode=importlib", "-p", "no:cacheprovider"]
        pytest.main(
            [*files, *settings, "-q", "-k", "cuda or gpu", f"--rootdir={repository()}", f"--junitxml={report}"]
        )
        for case in ElementTree.parse(report).iter("testcase"):
            problem = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
            row: Row = {"test": case.get("name"), "outcome": "passed" if problem is None else problem.tag}
            if problem is not None:
                row["error"] = (problem.get("message") or "").partition("\n")[0][:300]
            yield row


def find(name: str) -> Part:
    """Return the part of this name. It imports what the part needs."""
    if name == "tests":
        return tests
    homes = {"waiting": "data", "training": "data", "inference": "inference"}
    found: Part = getattr(importlib.import_module(f"gpu.{homes.get(name, 'steps')}"), name)
    return found


def run(name: str, options: Options, rows: Path) -> None:
    with rows.open("a") as file:
        for row in find(name)(options):
            file.write(json.dumps({name: finite(value) for name, value in row.items()}) + "\n")
            file.flush()


def finite(value: str | float | None) -> str | float | None:
    """Return None for a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_argument(options: Options) -> str:
    return json.dumps(asdict(options))


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    run(sys.argv[1], Options(**given | {"tasks": tuple(given["tasks"])}), Path(sys.argv[3]))
