"""Options and tensors of runs that an earlier version wrote, under the names that this version gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")

OPTIONS = {
    "change": "residual",
    "reduce": "residual_downscale",
    "holes": "drawn_masks",
    "min_hole": "min_mask_ratio",
    "max_hole": "max_mask_ratio",
    "hole_weight": "mask_weight",
    "rim_weight": "boundary_weight",
    "swap_colours": "channel_shuffle",
}
"""Earlier name of an option → its name."""
MODULES = {
    "trunk": "body",
    "imagining": "dilated_branch",
    "describing": "attention_encoder",
    "borrowing": "attention_decoder",
}
"""Earlier name of a network's part, as in the keys of its tensors → its name."""


def renamed_options(options: Any) -> Any:
    """Return JSON options with the names of this version, in nested objects too."""
    if not isinstance(options, dict):
        return options
    return {OPTIONS.get(name, name): renamed_options(value) for name, value in options.items()}


def renamed_tensors(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Return tensors by keys such as g.body.0.weight with the names of this version."""
    part = re.compile(rf"(?<![^.])({'|'.join(MODULES)})(?=\.)")
    return {part.sub(lambda match: MODULES[match[1]], key): tensor for key, tensor in tensors.items()}
