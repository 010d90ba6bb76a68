"""The interface of tasks, which the training loop, the export and the pages use.

A task is one file. It has a frozen config dataclass, whose fields are the options of the command line, and a class
with declarations and four short methods. Images are float tensors N×C×H×W in [-1, 1].

    generate   a batch                  → the outputs of the generators
    d_losses   the batch and the outputs → the losses of the discriminators (the outputs are detached)
    g_losses   the batch and the outputs → the losses of the generators
    infer      the inputs of a user      → the output image; this is what is exported and served

Losses are a dict of weighted scalars. The training minimises their sum and logs each of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError, did_you_mean
from gan_tasks.datasets.inpainting import MaskedConfig
from gan_tasks.metrics.baselines import Baseline, Example, translation_baselines
from gan_tasks.networks.sizes import Sizes, sizes_of
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.spec import ModelSpec

Losses = dict[str, Tensor]
Outputs = dict[str, Tensor]
NetworkRole = Literal["d", "g"]
"""d: the discriminators. g: the generators."""
Split = Literal["train", "val", "test"]
BestBy = Literal["l1", "psnr", "ssim", "kernel-distance"]
"""Metrics of held-out images that can select the best checkpoint."""
Batch = TypeVar("Batch", bound=tuple[Any, ...])
TaskConfig = TypeVar("TaskConfig")


class Data(Protocol):
    """The training data of a task: samples by (epoch, index), each a NamedTuple of float32 C×H×W arrays.

    It may also have `load`, which is quicker to hand over, see `datasets.sampler.load_sample`.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, ...]: ...
    def name(self, index: int) -> str:
        """Return the name of a sample, such as the file name without suffix."""


class Found(Protocol):
    """The files of a data folder."""

    @property
    def summary(self) -> str:
        """One line for the user: the number of files, and the option that reads them differently."""

    @property
    def problems(self) -> tuple[Any, ...]:
        """The files that are not used, each with `path` and `reason`."""


@dataclass(frozen=True)
class Stage:
    """A stage of the training: which networks are updated, in which order, how, and for how long.

    It begins with the generators of the previous stage, or with their average if there is one, unless it `continues`.
    """

    name: str
    images: int
    """Length of the stage as a number of training images, including repetitions."""
    optimisation: OptimisationConfig
    schedule: ScheduleConfig
    update_order: tuple[NetworkRole, ...] = ("d", "g")
    """The networks that are updated on each batch, in this order: pix2pix updates D first, CycleGAN G first."""
    g_interval_steps: int = 1
    """G is updated on every N-th batch (Wasserstein GANs: 5)."""
    d_warmup_images: int = 0
    """Number of images at the start on which only D is updated."""
    d_weight_clip: float = 0.0
    """Limit to whose ± range D's weights are clipped after each update; 0 turns it off (Wasserstein GANs: 0.01)."""
    best_by: BestBy | None = "l1"
    """The default metric that selects the best checkpoint; None uses the newest checkpoint."""
    continues: bool = False
    """Go on with the trained generators of the previous stage, and with their average (progressive growing)."""


FitBaselines = Callable[[Iterable[Example]], Mapping[str, Baseline]]
"""A function that fits baselines to examples of the train split, and returns them by name."""


@dataclass(frozen=True)
class EvaluationSpec:
    """The properties of a task that the evaluation of its models needs."""

    has_target: bool = True
    """Whether each input has a target. If not, outputs and targets are compared as sets of images."""
    fit_baselines: FitBaselines = translation_baselines
    """The baselines. Every model of a task with targets is compared with them."""
    masks: MaskedConfig | None = None
    """The data options that determine the masks; None for a task without masks."""


@dataclass(frozen=True)
class Step:
    """The current training step, and its random numbers."""

    index: int
    """Number of steps before this one."""
    stage: Stage
    generator: torch.Generator
    """A CPU generator seeded by (seed, index). It is the same on all ranks."""
    rank: int = 0
    world_size: int = 1
    adaptive: dict[str, Tensor] = field(default_factory=dict)
    """The adaptive state of the objective by name, see `losses/adaptive.py`. Later steps have it."""
    stage_images: int = 0
    """Number of training images before this step, in this stage."""

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over the ranks, which all must call it."""
        value = value.detach().clone()
        if self.world_size > 1:
            torch.distributed.all_reduce(value)
        return value / self.world_size

    def random(self, batch_size: int, *shape: int, device: torch.device, normal: bool = False) -> Tensor:
        """Draw batch_size × shape numbers, uniform in [0, 1) or standard normal, which depend only on (seed, step).

        The numbers are drawn for the batches of all ranks, and the part of this rank is returned. Two processes draw
        the same numbers as one process with twice the batch size.
        """
        draw = torch.randn if normal else torch.rand
        drawn = draw(batch_size * self.world_size, *shape, generator=self.generator)
        return drawn[self.rank * batch_size : (self.rank + 1) * batch_size].to(device, non_blocking=True)


class Networks(nn.ModuleDict):
    """Networks by name."""

    def __getitem__(self, key: str) -> nn.Module:
        """Return a network. Raises UserError for a name without one."""
        if key not in self:
            there = f"there are {', '.join(self)}" if len(self) else "call `task.build()` first"
            raise UserError(f"the task has no network {key!r} here: {there}")
        return super().__getitem__(key)


def known_channels(*channels: int) -> tuple[int, ...]:
    """Return the numbers of channels. Raises UserError for 0, which is to be replaced by what the data have."""
    if 0 in channels:
        raise UserError(
            "the channels of the images are not known yet: give them (such as `source_channels` in the "
            'config of the data), or take them from a folder: `data, _ = task.open_data(root, "train", '
            "augment=True, seed=0)`, then `task = task.resolved(data)`"
        )
    return channels


def count_parameters(networks: nn.Module) -> int:
    return sum(parameter.numel() for parameter in networks.parameters())


class Task(ABC, Generic[TaskConfig, Batch]):
    """The base class of tasks; see the module's docstring.

    Create a task from a config, `Pix2Pix(config)`, or from fields of its config, `Pix2Pix(l1=50.0)`.
    """

    name: ClassVar[str]
    """The name on the command line."""
    summary: ClassVar[str] = ""
    """What the model does, for lists and model cards, such as "translate images, learned from pairs"."""
    Config: ClassVar[type[Any]]
    """The frozen dataclass of the task's options."""
    presets: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Other configs by name."""
    default_preset: ClassVar[str] = "paper"
    """The name of the preset that equals the default config."""
    directions: ClassVar[tuple[str, ...]] = ()
    """The directions that one training learns, if there are several; `in_direction` selects one."""

    config: TaskConfig
    generators: nn.ModuleDict
    discriminators: nn.ModuleDict
    heads: nn.ModuleDict
    """Networks that only the losses of the generators need, such as the MLPs of a contrastive loss. They are trained
    with the generators and saved, and `infer` does not use them."""
    auxiliary: nn.ModuleDict
    """Networks that are neither trained nor saved, such as that of the perceptual loss."""
    diagnostics: dict[str, Tensor]
    """The values of `log` in this step. They are logged with the losses."""
    adaptive: dict[str, Tensor]
    """The adaptive state of the objective, see `Step`. It is the same on all ranks, and checkpoints have it."""

    def __init__(self, config: TaskConfig | None = None, **options: Any) -> None:
        if config is not None and options:
            raise TypeError(f"{type(self).__name__} got a config and fields of the config: expected only one of them")
        known = [field.name for field in fields(type(self).Config)]
        if unknown := [name for name in options if name not in known]:
            hint = did_you_mean(unknown[0], known, f": expected {', '.join(known)}")
            raise TypeError(f"{type(self).Config.__name__} has no field {unknown[0]!r}{hint}")
        self.config = config if config is not None else type(self).Config(**options)
        self.generators = Networks()
        self.discriminators = Networks()
        self.heads = Networks()
        self.auxiliary = Networks()
        self.diagnostics = {}
        self.adaptive = {}

    def __repr__(self) -> str:
        counts = {
            name: count_parameters(each) for name, each in vars(self).items() if isinstance(each, nn.ModuleDict)
        }
        sizes = [f"{name} of {count:,} parameters" for name, count in counts.items() if count]
        return f"<{self.name}: {type(self).__name__} with {', '.join(sizes) or 'no networks yet: call build()'}>"

    # Declarations.

    @abstractmethod
    def open_data(self, root: Path, split: Split, *, augment: bool, seed: int) -> tuple[Data, Found]:
        """Open a split of a data folder. `augment=False` gives whole images, as for an evaluation.

        Raises MissingSplitError if the folder has no such split. Raises UserError if there is no usable file or, with
        a strict config, if any file has a problem.
        """

    def resolved(self, data: Any) -> Self:
        """Return the task with the options that depend on the data of `open_data`, such as channel counts.

        By default these are `data.config`, the data options as the samples were read.
        """
        return self.with_data(data.config)

    @abstractmethod
    def build(self, *, for_training: bool = True) -> None:
        """Build `generators`, and for training `discriminators`, `heads` and `auxiliary`, from the resolved config.

        Networks that `infer` does not use may be left out if it is not for training.
        """

    @abstractmethod
    def spec(self) -> ModelSpec:
        """Return the specification of the model. The task must be resolved and built."""

    def evaluation(self) -> EvaluationSpec:
        """Return the properties of the task that the evaluation needs."""
        return EvaluationSpec()

    @abstractmethod
    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        """Return the stages of a full training."""

    # Training and inference.

    @cached_property
    def step(self) -> Step:
        """The current step. The training loop sets it; without the loop it is the first of the last stage, seed 0."""
        return Step(0, self.stages(1)[-1], torch.Generator().manual_seed(0), adaptive=self.adaptive)

    def prepared(self, x: Batch) -> Batch:
        """Process a loaded batch on the device, before `generate`. Random numbers come from `step`."""
        return x

    @abstractmethod
    def generate(self, x: Batch) -> Outputs:
        """Run the generators on a batch, and return their outputs by name."""

    @abstractmethod
    def d_losses(self, x: Batch, y: Outputs) -> Losses:
        """Return the weighted losses of the discriminators; the outputs `y` are detached."""

    @abstractmethod
    def g_losses(self, x: Batch, y: Outputs) -> Losses:
        """Return the weighted losses of the generators."""

    @abstractmethod
    def infer(self, *images: Tensor) -> Tensor:
        """Return the output image N×C×H×W for the inputs of `spec`, in their order."""

    @abstractmethod
    def inputs_and_target(self, x: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the inputs of `infer` for a batch, and its targets.

        Without `has_target`, the targets are any images of the target side.
        """

    def shown_images(self, x: Batch, output: Tensor) -> dict[str, Tensor]:
        """Return the images of a row of the sample grid by column title: N×C×H×W in [-1, 1]."""
        inputs, target = self.inputs_and_target(x)
        named = zip(self.spec().inputs, inputs, strict=True)
        shown = {each.name: tensor for each, tensor in named if each.kind == "image"}
        return shown | {"output": output, "target": target}

    # Variants of the task. Call these before `build`.

    @property
    def direction(self) -> str:
        """The direction of the task, such as a-to-b; empty for a task without directions."""
        return ""

    def in_direction(self, direction: str) -> Self:
        """Return the task in another direction. Raises UserError if it does not have that direction."""
        raise UserError(f"{self.name} has one direction only: leave out --direction")

    def with_data(self, data: Any) -> Self:
        """Return the task with other data options."""
        return type(self)(replace(self.config, data=data))  # type: ignore[type-var]

    @classmethod
    def for_model(cls, spec: ModelSpec) -> Self:
        """Return a task that reads data for a model whose training options are unknown."""
        return cls()

    # State beyond the networks, such as that of an image pool.

    def state(self) -> dict[str, Tensor]:
        """Return the state that a checkpoint saves in addition to the networks.

        A step may replace these tensors, but does not write into them: an unfinished step is undone with them.
        """
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load the state that `state` returned."""
        if state:
            raise ValueError(f"{self.name} has no state beyond its networks, got {sorted(state)}: expected nothing")

    # Common to all tasks.

    def sizes(self) -> Sizes:
        """Return the image sizes that the built generators accept; for `spec`."""
        return sizes_of(self.generators)

    def networks(self) -> tuple[nn.ModuleDict, ...]:
        """Return all networks of the task."""
        return self.generators, self.discriminators, self.heads, self.auxiliary

    def log(self, **values: Tensor | float) -> None:
        """Log a diagnostic of this step, such as the discriminator's accuracy."""
        for key, value in values.items():
            self.diagnostics[key] = torch.as_tensor(value).detach()

    @contextmanager
    def evaluating(self, generators: nn.ModuleDict) -> Iterator[Self]:
        """Within the context, `infer` uses these generators, in eval mode and without gradients."""
        own, self.generators = self.generators, generators
        modes = [(module, module.training) for module in generators.modules()]
        generators.eval()
        try:
            with torch.no_grad():
                yield self
        finally:
            for module, training in modes:
                module.training = training
            self.generators = own
