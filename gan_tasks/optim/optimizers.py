"""Optimizers and their options."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import nn

from gan_tasks.datasets.ranges import Checked, LearningRate, Range, Weight
from gan_tasks.optim.memory_order import update_in_memory_order

Decay = Annotated[float, Range(0, 1, below=True)]


@dataclass(frozen=True)
class OptimisationConfig(Checked):
    """Options of the batch, the optimizer and the average of the weights."""

    batch_size: Annotated[int, Range(1, 65_536)] = 1
    """Images per step on each device."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Optimizer: adam, or adamw with decoupled weight decay."""
    lr: LearningRate = 2e-4
    """Learning rate of the generators, and of the discriminators unless --lr-d is given."""
    lr_d: LearningRate | None = None
    """Learning rate of the discriminators; without it, they use --lr."""
    betas: tuple[Decay, Decay] = (0.5, 0.999)
    """Decay rates β1 and β2 of the running averages of the gradient and of its square."""
    weight_decay: Weight = 0.0
    """Weight decay: decoupled from the gradient with adamw, an L2 penalty with adam."""
    clip_grad_norm: Weight = 0.0
    """Largest gradient norm; larger gradients are scaled down to it (0 = no limit)."""
    ema_halflife_images: Weight = 0.0
    """Half-life, in images, of the average of the generator weights that is used after training (0 = off)."""


def make_optimizer(config: OptimisationConfig, modules: Iterable[nn.Module], lr: float) -> torch.optim.Adam:
    """Return one optimizer for the trainable weights of all `modules`; CycleGAN has one for both generators."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    # Fused: one pass over the weights instead of a dozen. Unfused it takes a quarter of a small-batch step on a CPU.
    optimizer = kind(parameters, lr=lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)
    update_in_memory_order(optimizer)
    return optimizer
