"""Undo the last update of an optimizer."""

from __future__ import annotations

import torch
from torch import Tensor


class Undo:
    """Copies of the weights and of the state of an optimizer, to undo its last update.

    The copies are allocated once.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.originals: list[Tensor] = []
        self.copies: list[Tensor] = []
        self.stateless: list[Tensor] = []
        """The weights that had no state yet."""
        self.is_ahead = False
        """Whether there is an update to undo."""

    @torch.no_grad()
    def back_up(self) -> None:
        """Copy weights and state, before an update."""
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        state = self.optimizer.state
        self.stateless = [weight for weight in weights if not state.get(weight)]
        originals = [*weights, *(each for weight in weights for each in state.get(weight, {}).values())]
        if [id(each) for each in originals] != [id(each) for each in self.originals]:  # in the first two steps
            self.originals, self.copies = originals, [torch.empty_like(each) for each in originals]
        torch._foreach_copy_(self.copies, originals)
        self.is_ahead = True

    @torch.no_grad()
    def undo(self) -> None:
        """Put back weights and state as they were, if there was an update since."""
        if self.is_ahead:
            torch._foreach_copy_(self.originals, self.copies)
            for weight in self.stateless:
                self.optimizer.state.pop(weight, None)
            self.is_ahead = False

    def forget(self) -> None:
        """Keep the update."""
        self.is_ahead = False
