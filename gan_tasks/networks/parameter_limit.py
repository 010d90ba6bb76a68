"""The largest size of the networks of a task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gan_tasks.datasets.errors import UserError

LARGEST_PARAMETERS = 2_000_000_000
"""Forty times those of the U-Net of pix2pix, and 8 GB."""


@contextmanager
def bounded() -> Iterator[None]:
    """Raise UserError in the context if the networks that it builds have more than LARGEST_PARAMETERS together.

    It is raised when a layer has reserved its memory and not yet written it, so that none is taken.
    """
    total = 0

    def count(layer: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal total
        total += 0 if parameter is None else parameter.numel()
        if total > LARGEST_PARAMETERS:
            raise UserError(
                f"the networks have more than {LARGEST_PARAMETERS:,} parameters: lower the options that set their "
                "widths, numbers of layers and channels. The config.json of a run has them"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
