"""Tiny models, each exported once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from tiny_runs import Exported, export_tiny


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """A model of one of the KINDS, its ONNX file and what was reported of it; not to be changed."""

    @cache
    def export(kind: str) -> Exported:
        return export_tiny(tmp_path_factory.mktemp("export"), kind)

    return export
