"""One training step, and everything that a step changes: the part of training that must resume bit for bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gan_tasks.optim.ema import copy_for_average, update_average
from gan_tasks.optim.optimizers import make_optimizer
from gan_tasks.runs.checkpoint import CheckpointError, Parts
from gan_tasks.tasks.base import NetworkRole, Stage, Step, Task
from gan_tasks.training.runtime import Runtime


class Trainer:
    """A task's networks with their optimisers and average, moved together.

    All randomness of a step is seeded by (seed, step, rank) when it begins, so that there is no state of
    random number generators to save: a resumed step draws what the uninterrupted one drew.
    """

    def __init__(self, task: Task[Any, Any], stage: Stage, runtime: Runtime, *, seed: int) -> None:
        self.task = task
        self.stage = stage
        self.runtime = runtime
        self.seed = seed
        config = stage.optimisation
        for networks in task.networks():
            runtime.place(networks)
            networks.train()
        self.average = copy_for_average(task.generators) if config.ema_halflife_images else None
        runtime.compile_networks(task.generators, task.discriminators)
        self.networks: dict[NetworkRole, nn.ModuleDict] = {"g": task.generators, "d": task.discriminators}
        self.lr = {"g": config.lr, "d": config.lr if config.lr_d is None else config.lr_d}
        self.optimizers = {
            role: make_optimizer(config, [self.networks[role]], self.lr[role]) for role in stage.update_order
        }

    @property
    def best_generators(self) -> nn.ModuleDict:
        """The generators to use: their average where one is kept."""
        return self.task.generators if self.average is None else self.average

    def step(self, batch: Any, *, index: int, lr_factor: float = 1.0, stage_images: int = 0) -> dict[str, Tensor]:
        """One step on one batch; returns losses and diagnostics by name, and `skipped`, 1 if one was.

        Args:
            batch: the task's NamedTuple of N×C×H×W tensors, on any device.
            index: steps taken before this one.
            lr_factor: what to multiply the learning rates with.
            stage_images: images shown before this step, in this stage.
        """
        task, stage, runtime = self.task, self.stage, self.runtime
        x = runtime.to_device(batch)
        stand_at(task, stage, runtime, seed=self.seed, index=index)
        x = task.prepared(x)
        for role, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.lr[role] * lr_factor
        moving = [role for role in stage.update_order if role == "d" or self._g_moves(index, stage_images)]
        buffers = [buffer.clone() for buffer in self._buffers()]

        with runtime.autocast(), torch.set_grad_enabled("g" in moving):
            y = task.generate(x)
        detached = {name: image.detach() for name, image in y.items()}

        log: dict[str, Tensor] = {}
        sound = True
        for role in moving:
            with runtime.autocast():
                if role == "d":
                    losses = task.d_losses(x, detached)
                else:
                    # What flows through D to G needs no gradients of D's own weights.
                    task.discriminators.requires_grad_(False)
                    losses = task.g_losses(x, y)
            total = torch.stack([loss.float() for loss in losses.values()]).sum()
            norm = self._update(role, total)
            task.discriminators.requires_grad_(True)
            sound = sound and bool(torch.isfinite(norm))
            log |= {f"{role}/{name}": loss.detach() for name, loss in losses.items()}
            log |= {f"{role}/total": total.detach(), f"grad/{role}": norm}
        if not sound:
            for buffer, before in zip(self._buffers(), buffers, strict=True):
                buffer.copy_(before)
        elif self.average is not None and "g" in moving:
            images = len(x[0]) * runtime.world_size
            halflife = stage.optimisation.ema_halflife_images
            update_average(self.average, task.generators, images=images, halflife_images=halflife)
        return log | task.diagnostics | {"skipped": torch.tensor(float(not sound))}

    def _g_moves(self, index: int, stage_images: int) -> bool:
        return stage_images >= self.stage.d_warmup_images and index % self.stage.g_interval_steps == 0

    def _update(self, role: NetworkRole, loss: Tensor) -> Tensor:
        """Move one player; returns the norm of its gradient. A norm that is not finite moves nothing."""
        optimizer = self.optimizers[role]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        # A weight that no loss of this step reaches gets no gradient, on every rank alike.
        gradients = [p.grad for p in parameters if p.grad is not None]
        self.runtime.average_gradients(gradients)
        norm = torch.nn.utils.get_total_norm(gradients)
        if torch.isfinite(norm):
            largest = self.stage.optimisation.clip_grad_norm
            if largest and norm > largest:
                torch._foreach_mul_(gradients, largest / norm)
            optimizer.step()
            if role == "d" and self.stage.d_weight_clip:
                with torch.no_grad():
                    for parameter in parameters:
                        parameter.clamp_(-self.stage.d_weight_clip, self.stage.d_weight_clip)
        optimizer.zero_grad(set_to_none=True)
        return norm.detach()

    def _buffers(self) -> list[Tensor]:
        """Running statistics and the like, which the forward passes change."""
        return [*self.task.generators.buffers(), *self.task.discriminators.buffers()]

    # Saving and restoring.

    def parts(self) -> Parts:
        """All state as flat dicts of tensors, by the name of the checkpoint's part. Call on every rank."""
        parts: Parts = {
            "generators": dict(self.task.generators.state_dict()),
            "discriminators": dict(self.task.discriminators.state_dict()),
            "task": {
                f"rank{rank}/{name}": tensor
                for rank, state in enumerate(self.runtime.gather(self.task.state()))
                for name, tensor in state.items()
            },
        }
        if self.average is not None:
            parts["average"] = dict(self.average.state_dict())
        for role, optimizer in self.optimizers.items():
            names = optimizer_names(self.networks[role], optimizer)
            parts[f"optimizer-{role}"] = {
                f"{name}/{key}": value
                for parameter, name in names.items()
                for key, value in optimizer.state[parameter].items()
            }
        return parts

    def load_parts(self, parts: Parts) -> None:
        """The reverse of `parts`. Raises CheckpointError for parts that are missing or do not fit."""
        needed = {"generators", "discriminators", "task", *(f"optimizer-{p}" for p in self.optimizers)}
        needed |= {"average"} if self.average is not None else set()
        if missing := needed - parts.keys():
            raise CheckpointError(f"the checkpoint lacks {', '.join(sorted(missing))}: it cannot be resumed")
        self.task.generators.load_state_dict(parts["generators"])
        self.task.discriminators.load_state_dict(parts["discriminators"])
        if self.average is not None:
            self.average.load_state_dict(parts["average"])
        mine = f"rank{self.runtime.rank}/"
        self.task.load_state(
            {name.removeprefix(mine): t for name, t in parts["task"].items() if name.startswith(mine)}
        )
        for role, optimizer in self.optimizers.items():
            stored = parts[f"optimizer-{role}"]
            for parameter, name in optimizer_names(self.networks[role], optimizer).items():
                for key in ("step", "exp_avg", "exp_avg_sq"):
                    if (value := stored.get(f"{name}/{key}")) is not None:
                        # Like the parameter, memory layout included: a copy in another layout is slower.
                        like = torch.empty_like(parameter) if key != "step" else torch.empty_like(value)
                        optimizer.state[parameter][key] = like.copy_(value)


def stand_at(task: Task[Any, Any], stage: Stage, runtime: Runtime, *, seed: int, index: int) -> None:
    """Begin a step: seed all that it draws, and tell the task where training stands."""
    torch.manual_seed(mix_seed(seed, index, 1 + runtime.rank))
    generator = torch.Generator().manual_seed(mix_seed(seed, index, 0))
    task.step = Step(index, stage, generator, runtime.rank, runtime.world_size)
    task.diagnostics = {}


def optimizer_names(networks: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> dict[Tensor, str]:
    """The names, within the networks, of the weights that an optimiser moves."""
    names = {parameter: name for name, parameter in networks.named_parameters()}
    return {p: names[p] for group in optimizer.param_groups for p in group["params"]}


def mix_seed(*numbers: int) -> int:
    """One well-mixed seed of several small numbers (splitmix64)."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed >> 1
