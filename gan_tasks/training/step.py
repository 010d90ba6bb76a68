"""The training step, and the state that it changes. A resumed training continues bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_tasks.losses.adaptive import is_state
from gan_tasks.optim.ema import copy_for_average, update_average
from gan_tasks.optim.optimizers import make_optimizer
from gan_tasks.optim.undo import Undo
from gan_tasks.runs.checkpoint import CheckpointError, Parts, load_weights, shape_text
from gan_tasks.tasks.base import NetworkRole, Stage, Step, Task
from gan_tasks.training.runtime import Runtime

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps of a weight."""
ADAPTIVE = "adaptive/"
"""Prefix of the objective's adaptive states in a checkpoint."""
LARGEST_WEIGHT = 1e6
"""A larger weight is a sign that the training has diverged."""


class Trainer:
    """The networks of a task with their optimisers and the average of the generators.

    Each step seeds its random numbers with (seed, step, rank). The state of the random number generators need not be
    saved: a resumed step draws the same numbers as an uninterrupted one.
    """

    def __init__(self, task: Task[Any, Any], stage: Stage, runtime: Runtime, *, seed: int) -> None:
        self.task = task
        self.stage = stage
        self.runtime = runtime
        self.seed = seed
        self.is_whole = True
        """Whether all parts are those after the same step. False after an error while weights were updated."""
        config = stage.optimisation
        for networks in task.networks():
            runtime.place(networks)
            networks.train()
        self.average = copy_for_average(task.generators) if config.ema_halflife_images else None
        runtime.recompute_features(task.generators)
        runtime.compile_networks(task.generators, task.discriminators, task.heads)
        of_g = nn.ModuleDict({**dict(task.generators.items()), **dict(task.heads.items())})
        self.networks: dict[NetworkRole, nn.ModuleDict] = {"g": of_g, "d": task.discriminators}
        self.lr = {"g": config.lr, "d": config.lr if config.lr_d is None else config.lr_d}
        self.optimizers = {
            role: make_optimizer(config, [self.networks[role]], self.lr[role]) for role in stage.update_order
        }
        self.buffers = [buffer for networks in self.networks.values() for buffer in networks.buffers()]
        """Buffers, such as running statistics, which the forward passes change."""
        self.buffer_copies = [buffer.clone() for buffer in self.buffers]
        self.undo_d = Undo(self.optimizers["d"]) if stage.update_order == ("d", "g") else None

    @property
    def best_generators(self) -> nn.ModuleDict:
        """The generators for evaluation: their average if there is one, else the trained ones."""
        return self.task.generators if self.average is None else self.average

    def step(self, batch: Any, *, index: int, lr_factor: float = 1.0, stage_images: int = 0) -> dict[str, Tensor]:
        """Train one step on one batch.

        Args:
            batch: the task's NamedTuple of N×C×H×W tensors, on any device.
            index: number of steps before this one.
            lr_factor: factor on the learning rates.
            stage_images: number of training images before this step, in this stage.

        Returns:
            Losses and diagnostics by name, and `skipped`: 1 if the step was skipped because a gradient was not
            finite, else 0. A skipped step changes nothing.

        If it raises, the state is that before the step, unless the error came while weights were updated: then
        `is_whole` is False.
        """
        copy_all(self.buffers, self.buffer_copies)
        state, adaptive = self.task.state(), dict(self.task.adaptive)
        finite = False
        try:
            log, finite = self._take_step(batch, index, lr_factor, stage_images)
        finally:
            if not finite and self.is_whole:
                self._put_back()
                self.task.load_state(state)
                self.task.adaptive = adaptive
        return log | {"skipped": torch.tensor(float(not finite))}

    def _take_step(
        self, batch: Any, index: int, lr_factor: float, stage_images: int
    ) -> tuple[dict[str, Tensor], bool]:
        """Take the step of `step`. Returns losses and diagnostics, and whether all gradients were finite.

        The losses of D do not depend on an update of G in the same step, so that both wait until both gradients are
        known. The losses of G depend on an update of D before it, which is undone if a gradient was not finite. Only
        then does the CPU wait for the GPU, once in a step: before, it goes on to launch work.
        """
        task, stage, runtime = self.task, self.stage, self.runtime
        x = runtime.to_device(batch)
        start_step(task, stage, runtime, seed=self.seed, index=index, stage_images=stage_images)
        x = task.prepared(x)
        for role, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.lr[role] * lr_factor
        updated = [role for role in stage.update_order if role == "d" or self._updates_g(index, stage_images)]

        with runtime.autocast(), torch.set_grad_enabled("g" in updated):
            y = task.generate(x)
        detached = {name: image.detach() for name, image in y.items()}

        log: dict[str, Tensor] = {}
        norms: dict[NetworkRole, Tensor] = {}
        waiting: list[NetworkRole] = []
        for role in updated:
            if role == "g" and "d" in waiting and self.undo_d is not None:
                self.undo_d.back_up()
                self._update("d", norms["d"])
                self.is_whole = True  # because it can be undone
                waiting.remove("d")
            with runtime.autocast():
                if role == "d":
                    losses = task.d_losses(x, detached)
                else:
                    # The gradient of G passes through D and does not need the gradients of D's weights.
                    task.discriminators.requires_grad_(False)
                    losses = task.g_losses(x, y)
            total = torch.stack([loss.float() for loss in losses.values()]).sum()
            norms[role] = norm = self._gradient(role, total)
            task.discriminators.requires_grad_(True)
            log |= {f"{role}/{name}": loss.detach() for name, loss in losses.items()}
            log |= {f"{role}/total": total.detach(), f"grad/{role}": norm}
            waiting.append(role)
        if norms and not torch.isfinite(torch.stack(list(norms.values()))).all():
            return log, False
        for role in waiting:
            self._update(role, norms[role])
        if self.average is not None and "g" in updated:
            images = len(x[0]) * runtime.world_size
            halflife = stage.optimisation.ema_halflife_images
            update_average(self.average, task.generators, images=images, halflife_images=halflife)
        self.is_whole = True
        if self.undo_d is not None:
            self.undo_d.forget()
        return log | task.diagnostics, True

    def _updates_g(self, index: int, stage_images: int) -> bool:
        return stage_images >= self.stage.d_warmup_images and index % self.stage.g_interval_steps == 0

    def _gradient(self, role: NetworkRole, loss: Tensor) -> Tensor:
        """Compute the gradient of the networks of one role, and return its norm."""
        optimizer = self.optimizers[role]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = gradients_of(optimizer)
        self.runtime.average_gradients(gradients)
        return torch.nn.utils.get_total_norm(gradients).detach()

    def _update(self, role: NetworkRole, norm: Tensor) -> None:
        """Update the networks of one role with their gradient, which has this norm."""
        optimizer = self.optimizers[role]
        largest = self.stage.optimisation.clip_grad_norm
        if largest:
            torch._foreach_mul_(gradients_of(optimizer), (largest / norm).clamp(max=1))
        self.is_whole = False
        optimizer.step()
        if role == "d" and self.stage.d_weight_clip:
            with torch.no_grad():
                for parameter in weights_of(optimizer):
                    parameter.clamp_(-self.stage.d_weight_clip, self.stage.d_weight_clip)
        optimizer.zero_grad(set_to_none=True)

    def _put_back(self) -> None:
        """Undo what a step has changed in the networks."""
        self.is_whole = False
        if self.undo_d is not None:
            self.undo_d.undo()
        copy_all(self.buffer_copies, self.buffers)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        self.task.discriminators.requires_grad_(True)
        self.is_whole = True

    def is_well(self) -> bool:
        """Return whether weights, averages and states of the optimizers are finite, and no weight is very large."""
        networks = [*self.task.networks(), *([self.average] if self.average is not None else [])]
        weights = [parameter for each in networks for parameter in each.parameters()]
        others = [buffer for each in networks for buffer in each.buffers()]
        others += [
            value
            for optimizer in self.optimizers.values()
            for each in optimizer.state.values()
            for value in each.values()
        ]
        return largest_of(weights) <= LARGEST_WEIGHT and largest_of(others) < torch.inf

    # Saving and restoring.

    def parts(self) -> Parts:
        """Return the state as flat dicts of tensors, by the name of the checkpoint part. Call it on every rank."""
        parts: Parts = {
            "generators": dict(self.task.generators.state_dict()),
            "discriminators": dict(self.task.discriminators.state_dict()),
            "task": {
                f"rank{rank}/{name}": tensor
                for rank, state in enumerate(self.runtime.gather(self.task.state()))
                for name, tensor in state.items()
            }
            | {ADAPTIVE + name: tensor for name, tensor in self.task.adaptive.items()},
        }
        if self.task.heads:
            parts["heads"] = dict(self.task.heads.state_dict())
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

    def load_parts(self, parts: Parts, checkpoint: Path | str = "in memory") -> None:
        """Load the state that `parts` returned, of a checkpoint that errors name.

        Raises CheckpointError if a part is missing or does not fit the networks.
        """
        needed = {"generators", "discriminators", "task", *(f"optimizer-{p}" for p in self.optimizers)}
        needed |= {"average"} if self.average is not None else set()
        needed |= {"heads"} if self.task.heads else set()
        if missing := needed - parts.keys():
            raise CheckpointError(
                f"checkpoint {checkpoint} lacks {', '.join(sorted(missing))}: it cannot be resumed. Start a new run"
            )
        load_weights(self.task.generators, parts["generators"], checkpoint)
        load_weights(self.task.discriminators, parts["discriminators"], checkpoint)
        if self.task.heads:
            load_weights(self.task.heads, parts["heads"], checkpoint)
        if self.average is not None:
            load_weights(self.average, parts["average"], checkpoint)
        mine = f"rank{self.runtime.rank}/"
        state = {name.removeprefix(mine): t for name, t in parts["task"].items() if name.startswith(mine)}
        try:
            self.task.load_state(state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"checkpoint {checkpoint}: the state of {self.task.name} does not fit ({error}). "
                "Use the version of gan-tasks that config.json names"
            ) from error
        self.task.adaptive = adaptive_states(parts["task"], checkpoint)
        for role, optimizer in self.optimizers.items():
            stored = parts[f"optimizer-{role}"]
            names = optimizer_names(self.networks[role], optimizer)
            check_moments(stored, names.values(), checkpoint)
            for parameter, name in names.items():
                for key in MOMENTS:
                    if (value := stored.get(f"{name}/{key}")) is None:
                        continue
                    # Keep the memory layout of the parameter: the update is slower with another one.
                    like = torch.empty_like(parameter) if key != "step" else torch.empty((), device=parameter.device)
                    if like.shape != value.shape:
                        raise CheckpointError(
                            f"checkpoint {checkpoint}: the optimizer's {key} of {name} is {shape_text(value)} "
                            f"instead of {shape_text(like)}. Use the version of gan-tasks that config.json names"
                        )
                    optimizer.state[parameter][key] = like.copy_(value)
                    if key == "step" and not like >= 0:
                        raise CheckpointError(
                            f"checkpoint {checkpoint}: the optimizer has taken {like} steps of {name}"
                        )


def start_step(
    task: Task[Any, Any], stage: Stage, runtime: Runtime, *, seed: int, index: int, stage_images: int = 0
) -> None:
    """Begin a step: seed its random numbers, and set the task's `step` and `diagnostics`."""
    torch.manual_seed(mix_seed(seed, index, 1 + runtime.rank))
    generator = torch.Generator().manual_seed(mix_seed(seed, index, 0))
    task.step = Step(index, stage, generator, runtime.rank, runtime.world_size, task.adaptive, stage_images)
    task.diagnostics = {}


@torch.no_grad()
def copy_all(originals: Sequence[Tensor], copies: Sequence[Tensor]) -> None:
    """Copy tensors to others of the same shapes and types."""
    for dtype in {tensor.dtype for tensor in originals}:  # torch copies tensors of one type in one pass
        mine = [index for index, tensor in enumerate(originals) if tensor.dtype == dtype]
        torch._foreach_copy_([copies[index] for index in mine], [originals[index] for index in mine])


def weights_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def gradients_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the gradients. A weight that no loss of the step depends on has none, on all ranks."""
    return [parameter.grad for parameter in weights_of(optimizer) if parameter.grad is not None]


@torch.no_grad()
def largest_of(tensors: Sequence[Tensor]) -> float:
    """Return the largest absolute value in tensors, NaN if there is one."""
    numbers = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    by_device = {tensor.device: [each for each in numbers if each.device == tensor.device] for tensor in numbers}
    largest = [torch.stack(torch._foreach_norm(each, torch.inf)).max().item() for each in by_device.values()]
    return float("nan") if any(value != value for value in largest) else max(largest, default=0.0)


def optimizer_names(networks: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> dict[Tensor, str]:
    """Return the names, within the networks, of the weights that an optimiser updates."""
    names = {parameter: name for name, parameter in networks.named_parameters()}
    return {p: names[p] for group in optimizer.param_groups for p in group["params"]}


def adaptive_states(stored: Mapping[str, Tensor], checkpoint: Path | str) -> dict[str, Tensor]:
    """Return the objective's adaptive states in a part. Raises CheckpointError for a tensor that is none."""
    found = {name.removeprefix(ADAPTIVE): state for name, state in stored.items() if name.startswith(ADAPTIVE)}
    if wrong := [name for name, state in found.items() if not is_state(name, state)]:
        raise CheckpointError(
            f"checkpoint {checkpoint}: the adaptive state {wrong[0]} of the objective is impossible"
        )
    return found


def check_moments(stored: Mapping[str, Tensor], weights: Iterable[str], checkpoint: Path | str) -> None:
    """Raise CheckpointError if the state of an optimizer is that of other weights, or incomplete.

    A weight that has had no gradient has none.
    """
    complete = [{f"{name}/{key}" for key in MOMENTS} for name in weights]
    wrong = [f"{name} is unknown" for name in stored.keys() - set().union(*complete)]
    wrong += [
        f"{name} is missing" for keys in complete if not keys.isdisjoint(stored) for name in keys - stored.keys()
    ]
    if wrong:
        raise CheckpointError(
            f"checkpoint {checkpoint}: the state of an optimizer does not fit the network of its run ({min(wrong)}). "
            "Use the version of gan-tasks that config.json names"
        )


def mix_seed(*numbers: int) -> int:
    """Combine several small numbers to one seed (splitmix64)."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed >> 1
