"""Checkpoints in folders of any name."""

import os
from pathlib import Path

import pytest
import torch

from gan_tasks.runs.checkpoint import load_checkpoint, save_checkpoint


@pytest.mark.parametrize("name", [b"run", "läuf".encode(), b"l\xe4uf", b"x" * 250])
def test_a_run_folder_may_have_any_name(name: bytes, tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    path = save_checkpoint(tmp_path / os.fsdecode(name), 3, {"part": {"weight": weight}}, {"step": 3})
    parts, state = load_checkpoint(path)
    assert torch.equal(parts["part"]["weight"], weight) and state["step"] == 3
