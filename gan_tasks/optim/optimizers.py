"""How weights move: the optimisers' options and their making."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class OptimisationConfig:
    """Batch, optimiser and the average of the weights."""

    batch_size: int = 1
    """Images a step, on each device."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """adamw decays the weights apart from the gradient."""
    lr: float = 2e-4
    """Learning rate of the generators, and of the discriminators unless --lr-d is given."""
    lr_d: float | None = None
    """Learning rate of the discriminators."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Decay of the running means of the gradient and of its square."""
    weight_decay: float = 0.0
    """Strength of adamw's decay."""
    clip_grad_norm: float = 0.0
    """Largest gradient norm of a step; longer ones are scaled down to it. 0 = any."""
    ema_halflife_images: float = 0.0
    """Images after which a weight counts half in the average of the weights that is used in the end. 0 = off."""


def make_optimizer(config: OptimisationConfig, modules: Iterable[nn.Module], lr: float) -> torch.optim.Adam:
    """One optimiser over all the modules' trainable weights (as CycleGAN has one for both generators)."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    # Fused: one pass over the weights instead of a dozen; a quarter of a small-batch step on a CPU.
    return kind(parameters, lr=lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)
