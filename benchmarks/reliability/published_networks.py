"""A small network of each architecture of public checkpoints, with its published names."""

from __future__ import annotations

import re

from torch import Tensor

from gan_tasks.pretrained.conversion import State
from gan_tasks.pretrained.load import ARCHITECTURES


def published_networks() -> dict[str, State]:
    """Return the state dicts of the networks by the titles of their architectures."""
    return {architecture.title: architecture.example() for architecture in ARCHITECTURES}


def repeated(state: State, number: int, times: int, most: int) -> dict[str, Tensor]:
    """Add tensors whose names count on from 0 in one of the numbers, the first, the second …"""
    numbered: dict[tuple[str, str], Tensor] = {}
    for key, tensor in state.items():
        places = list(re.finditer(r"\d+", key))
        if len(places) > number:
            start, end = places[number].span()
            numbered.setdefault((key[:start], key[end:]), tensor)
    added = {f"{before}{i}{after}": tensor for i in range(times) for (before, after), tensor in numbered.items()}
    return dict([*state.items(), *added.items()][:most])
