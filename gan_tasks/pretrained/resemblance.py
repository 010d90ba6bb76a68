"""Which known architecture the names of an unknown checkpoint resemble most, and what is missing."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from gan_tasks.datasets.errors import counted
from gan_tasks.pretrained.conversion import Architecture

LEAST_SHARE = 0.5
"""Least share of the file's names that are known, and of the architecture's layers that are in the file."""
FEWEST_KINDS = 3
"""Fewest kinds of layers of an architecture that is named: many networks have layers called `model.#` alone."""
MOST_NAMES = 4
"""Most names that a message lists."""


@dataclass(frozen=True)
class Resemblance:
    """How far the names of a checkpoint are those of an architecture.

    names: number of tensors in the checkpoint.
    known: number of these that belong to layers of the architecture.
    missing: layers of the architecture that are not in the checkpoint.
    unknown: names of tensors that belong to no layer of the architecture.
    share: share of the architecture's kinds of layers that are in the checkpoint.
    """

    architecture: Architecture
    names: int
    known: int
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    share: float

    def __str__(self) -> str:
        parts = [f"it resembles {self.architecture.title} ({self.known} of its {counted(self.names, 'name')})"]
        if self.missing:
            parts.append(f"lacks {listed(self.missing)}")
        if self.unknown:
            parts.append(f"has {listed(self.unknown)}, which that network does not have")
        return ", but ".join([parts[0], " and ".join(parts[1:])] if parts[1:] else parts)


def most_similar(keys: Iterable[str], architectures: Sequence[Architecture]) -> Resemblance | None:
    """Return the architecture that the names of a state dict resemble most; None if they resemble none."""
    names = list(keys)
    found = [
        compare(names, architecture)
        for architecture in architectures
        if len(kinds_of_layers(architecture)) >= FEWEST_KINDS
    ]
    alike = [each for each in found if each.known >= LEAST_SHARE * len(names) and each.share >= LEAST_SHARE]
    return max(alike, key=lambda each: each.share * each.known, default=None)


def compare(names: Sequence[str], architecture: Architecture) -> Resemblance:
    """Compare the names of tensors with the layers of an architecture. Numbers in the names do not count."""
    typical = kinds_of_layers(architecture)
    layers = {name: pattern(layer_of(name)) for name in names}
    missing = tuple(layer for kind, layer in typical.items() if kind not in layers.values())
    unknown = tuple(name for name, layer in layers.items() if layer not in typical)
    known = len(names) - len(unknown)
    return Resemblance(architecture, len(names), known, missing, unknown, 1 - len(missing) / len(typical))


@cache
def kinds_of_layers(architecture: Architecture) -> Mapping[str, str]:
    """Return the patterns of the layers of an architecture, and the first layer of each."""
    layers: dict[str, str] = {}
    for name in architecture.example():
        layers.setdefault(pattern(layer_of(name)), layer_of(name))
    return layers


def layer_of(name: str) -> str:
    """Return the name of a tensor's layer."""
    return name.rpartition(".")[0]


def pattern(name: str) -> str:
    """Return a name with its numbers replaced."""
    return re.sub(r"\d+", "#", name)


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
