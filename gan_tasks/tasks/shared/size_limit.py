"""Build the networks of a task, unless they are absurdly large: a run folder may come from somebody else."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gan_tasks.datasets.errors import UserError
from gan_tasks.tasks.base import Task

LARGEST_PARAMETERS = 2_000_000_000
"""Forty times those of the U-Net of pix2pix, and 8 GB."""


class TooLargeError(UserError):
    """The networks of a task have too many parameters."""


def build_networks(task: Task[Any, Any], *, for_training: bool) -> None:
    """Build the networks of a task. Raises TooLargeError before memory is taken if they are too large."""
    try:
        count_on_meta(type(task)(task.config), for_training=for_training)
    except TooLargeError:
        raise
    except Exception:  # it comes again, or the networks cannot be built on the meta device
        pass
    task.build(for_training=for_training)


def build_without_weights(task: Task[Any, Any]) -> None:
    """Build the networks of a training on the meta device, without memory, and without loading pretrained networks.

    A task that cannot be built there is built as usual. Raises TooLargeError as `build_networks` does.
    """
    try:
        count_on_meta(task, for_training=True)
    except TooLargeError:
        raise
    except Exception:
        task.build(for_training=True)


def count_on_meta(task: Task[Any, Any], *, for_training: bool) -> None:
    """Build the networks on the meta device, which has no memory, and raise TooLargeError at the limit."""
    total = 0

    def count(layer: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal total
        total += 0 if parameter is None else parameter.numel()
        if total > LARGEST_PARAMETERS:
            raise TooLargeError(
                f"the networks have more than {LARGEST_PARAMETERS:,} parameters: lower the options that set their "
                "widths, numbers of layers and channels. The config.json of a run has them"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            task.build(for_training=for_training)
    finally:
        handle.remove()
