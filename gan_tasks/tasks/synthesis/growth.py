"""Progressive growing: the training begins with small images, and each stage adds a level to the networks.

Karras et al. 2018, https://arxiv.org/abs/1710.10196
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import doublings_for
from gan_tasks.tasks.base import Stage, Step


@dataclass(frozen=True)
class GrowthStage(Stage):
    """A stage of a training that grows the networks."""

    levels: int = 0
    """The stages of the networks that are in use, see `SynthesisGenerator.levels`."""
    fades_in: bool = False
    """Whether the newest of them is faded in during this stage."""


def growth_stages(whole: Stage, sizes: list[tuple[int, int]], share: float, dataset_size: int) -> tuple[Stage, ...]:
    """Divide a stage into those of a training that grows.

    whole: the stage without growth.
    sizes: (height, width) of the images of each level, from small to large.
    share: share of the training images before the networks are whole. Each size but the largest is trained for as
        many images as the next one is faded in.
    dataset_size: number of images of an epoch.
    """
    phases = 2 * (len(sizes) - 1)
    images = max(1, round(whole.images * share / phases)) if phases else 0
    constant = replace(whole.schedule, schedule="constant")
    stages: list[Stage] = []
    for levels, (height, width) in enumerate(sizes):
        for fades_in in (True, False) if levels else (False,):
            is_last = levels == len(sizes) - 1 and not fades_in
            rest = max(1, whole.images - phases * images)
            stages.append(
                GrowthStage(
                    name=f"{height}x{width}{'-fade-in' if fades_in else ''}",
                    images=rest if is_last else images,
                    optimisation=whole.optimisation,
                    schedule=replace(whole.schedule, epochs=max(1, rest // dataset_size)) if is_last else constant,
                    update_order=whole.update_order,
                    g_interval_steps=whole.g_interval_steps,
                    d_weight_clip=whole.d_weight_clip,
                    best_by=None,
                    continues=bool(stages),
                    levels=levels,
                    fades_in=fades_in,
                )
            )
    return tuple(stages)


class Growth(nn.Module):
    """How far the networks have grown. It is saved with the generators: a model of any checkpoint has its own level.

    The average of the generators shares it: a copy is the same object.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels, self.fade, self.most_levels = levels, 1.0, levels

    def follow(self, step: Step, step_images: int) -> None:
        """Grow as far as the step of a training with so many images a step, on all ranks."""
        stage = step.stage
        if isinstance(stage, GrowthStage):
            done = min(1.0, (step.stage_images + step_images) / stage.images)
            self.levels, self.fade = stage.levels, done if stage.fades_in else 1.0

    def apply_to(self, network: nn.Module) -> None:
        """Let a network use as many levels. One that does not grow ignores it."""
        for name in ("levels", "fade"):
            if getattr(network, name, None) not in (None, getattr(self, name)):
                setattr(network, name, getattr(self, name))

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def get_extra_state(self) -> Tensor:
        return torch.tensor([float(self.levels), self.fade])

    def set_extra_state(self, state: Tensor) -> None:
        levels, fade = state.tolist() if state.shape == (2,) else (-1.0, 0.0)
        if not (0 <= levels <= self.most_levels and 0 <= fade <= 1):  # NaN is not either
            raise UserError(
                f"the checkpoint says that the networks have grown by {levels} levels and {fade} of one: expected 0 "
                f"to {self.most_levels}, and 0 to 1. It is damaged, or from other networks"
            )
        self.levels, self.fade = int(levels), fade


def sizes_of_levels(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return (height, width) of the images of each level of networks for images of a size, from small to large."""
    doublings, (height, width) = doublings_for(size)
    return [(height << level, width << level) for level in range(doublings + 1)]
