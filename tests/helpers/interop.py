"""Checkpoints made with other projects' own code, each with inputs and that code's outputs, beside the repository."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

INTEROP = Path(__file__).parents[3] / "shared" / "interop"
TOLERANCE = 1e-5
"""The stored cases are well conditioned: float32 and float64 differ by less than this, on any CPU."""


@dataclass(frozen=True)
class InteropCase:
    """A checkpoint, the inputs of the network in it, and its outputs by name."""

    path: Path
    inputs: tuple[Tensor, ...]
    outputs: dict[str, Tensor]


def interop_names(*prefixes: str) -> list[str]:
    """Return the names of the cases that start with one of the prefixes; none where the folder is absent."""
    index = INTEROP / "index.json"
    return [name for name in json.loads(index.read_text()) if name.startswith(prefixes)] if index.exists() else []


def interop_case(name: str) -> InteropCase:
    """Read a case. The test is skipped where the folder is absent."""
    path = INTEROP / f"{name}.pth"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    with np.load(path.with_suffix(".npz")) as arrays:
        values = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    inputs = [key for key in values if key.startswith("input")]
    ordered = sorted(inputs, key=lambda key: int(key.removeprefix("input")))
    return InteropCase(
        path, tuple(values[key] for key in ordered), {k: v for k, v in values.items() if k not in inputs}
    )
