"""The contract every task fulfils, and nothing else: the loop, the export and the page know only this.

A task is one file: a frozen config dataclass, whose fields are the command line's options, and a class
with four short methods. Tensors are N×C×H×W, float, in [-1, 1].

    generate   a batch            → what the generators make of it
    d_losses   the batch and that → the discriminators' losses (the generated images come detached)
    g_losses   the batch and that → the generators' losses
    infer      the images a user gives → the image the user gets; this is what is exported and served

Losses are a dict of weighted scalars: their sum is what is minimised, the dict is what is logged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.metrics.baselines import Baseline, Example, translation_baselines
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig

Losses = dict[str, Tensor]
Outputs = dict[str, Tensor]
NetworkRole = Literal["d", "g"]
Split = Literal["train", "val", "test"]
BestBy = Literal["l1", "psnr", "ssim", "kernel-distance"]
"""Measures of held-out images that may choose the best checkpoint."""
Batch = TypeVar("Batch", bound=tuple[Any, ...])
TaskConfig = TypeVar("TaskConfig")


class Data(Protocol):
    """What a task learns from: samples by (epoch, index), each a NamedTuple of float32 C×H×W arrays."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, ...]: ...
    def name(self, index: int) -> str:
        """What the person calls the sample, such as the file's name without suffix."""


class Found(Protocol):
    """What was found in a folder of data."""

    @property
    def summary(self) -> str:
        """One line for the person: what is there, and how to have it read otherwise."""

    @property
    def problems(self) -> tuple[Any, ...]:
        """The files that are not used, each with `path` and `reason`."""


@dataclass(frozen=True)
class Stage:
    """A stretch of training: who learns, in which order, how, and how long.

    It begins with the generators that the stage before it ends with: their average, where one is kept.
    """

    name: str
    images: int
    """Length in images shown, repeats counted."""
    optimisation: OptimisationConfig
    schedule: ScheduleConfig
    update_order: tuple[NetworkRole, ...] = ("d", "g")
    """Who takes a step on each batch, in this order: pix2pix moves D first, CycleGAN moves G first."""
    g_interval_steps: int = 1
    """G moves on every so manieth batch (Wasserstein GANs: 5)."""
    d_warmup_images: int = 0
    """D alone learns on so many images at the start."""
    best_by: BestBy | None = "l1"
    """What chooses the best checkpoint, where the person says nothing; None: the newest one counts."""


@dataclass(frozen=True)
class Step:
    """Where training stands, for tasks that need to know it, and where their random numbers come from."""

    index: int
    """Steps taken before this one."""
    stage: Stage
    generator: torch.Generator
    """On the CPU, seeded by (seed, index) and alike on all ranks."""
    rank: int = 0
    world_size: int = 1

    def random(self, batch_size: int, *shape: int, device: torch.device, normal: bool = False) -> Tensor:
        """Draws of batch_size × shape, uniform in [0, 1) or standard normal, that depend on (seed, step) alone.

        They are drawn for the batch of all ranks, and this rank's part is returned: two processes see what
        one with the doubled batch sees.
        """
        draw = torch.randn if normal else torch.rand
        drawn = draw(batch_size * self.world_size, *shape, generator=self.generator)
        return drawn[self.rank * batch_size : (self.rank + 1) * batch_size].to(device)


class Task(ABC, Generic[TaskConfig, Batch]):
    """See the module's docstring. `Pix2Pix(config)` or, for the config's own fields, `Pix2Pix(l1=50.0)`."""

    name: ClassVar[str]
    """As on the command line."""
    Config: ClassVar[type[Any]]
    """The frozen dataclass of the task's options."""
    presets: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Other configs to start from, by name."""
    default_preset: ClassVar[str] = "paper"
    """What the config without any options is called among them."""
    directions: ClassVar[tuple[str, ...]] = ()
    """Where one training learns to go both ways, what they are called; `in_direction` chooses."""
    paired: ClassVar[bool] = True
    """Whether there is a right answer to each input, and not only examples of its kind."""

    config: TaskConfig
    scale: int = 1
    """Output pixels to an input pixel, along a side."""
    inputs: tuple[str, ...] = ("image",)
    """Names of what `infer` takes, in order: the image, and masks of one channel."""
    generators: nn.ModuleDict
    discriminators: nn.ModuleDict
    auxiliary: nn.ModuleDict
    """Networks that are used but neither trained nor saved, such as the perceptual loss."""
    step: Step
    """Set by the loop before each step."""
    diagnostics: dict[str, Tensor]
    """Diagnostics of the step, logged beside the losses."""

    d_weight_clip: float = 0.0
    """D's weights are clipped to ± this after its steps; 0 leaves them."""

    def __init__(self, config: TaskConfig | None = None, **options: Any) -> None:
        if config is not None and options:
            raise TypeError(f"{type(self).__name__} takes a config or the config's fields, not both")
        self.config = config if config is not None else type(self).Config(**options)
        self.generators = nn.ModuleDict()
        self.discriminators = nn.ModuleDict()
        self.auxiliary = nn.ModuleDict()
        self.diagnostics = {}

    # What a task says of itself.

    @abstractmethod
    def open_data(self, root: Path, split: Split, *, augment: bool, seed: int) -> tuple[Data, Found]:
        """The samples of a folder's split; `augment=False` gives whole images, as for measuring.

        Raises MissingSplitError where the folder has no such split, and UserError when nothing usable is there or,
        where the config is strict, when any file has a problem.
        """

    @abstractmethod
    def resolved(self, data: Any) -> Self:
        """The same task with all that depends on the data of `open_data` filled in, such as channel counts."""

    @abstractmethod
    def build(self, *, for_training: bool) -> None:
        """Fill `generators`, and for training `discriminators` and `auxiliary`, from the resolved config.

        What `infer` has no need of may be left out when it is not for training.
        """

    @abstractmethod
    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        """The stretches that a full training consists of."""

    # What it does with a batch.

    def prepared(self, x: Batch) -> Batch:
        """The batch as it is trained on, made on the device from what was loaded; its draws come from `step`."""
        return x

    @abstractmethod
    def generate(self, x: Batch) -> Outputs: ...

    @abstractmethod
    def d_losses(self, x: Batch, y: Outputs) -> Losses: ...

    @abstractmethod
    def g_losses(self, x: Batch, y: Outputs) -> Losses: ...

    @abstractmethod
    def infer(self, *images: Tensor) -> Tensor: ...

    @abstractmethod
    def channels(self) -> tuple[int, int]:
        """Channels of the image that `infer` takes and of the one it gives, by the resolved config."""

    @abstractmethod
    def inputs_and_target(self, x: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
        """What `infer` is given for a sample, and the image it should come to, or if not `paired` one of its kind."""

    def in_direction(self, direction: str) -> Self:
        """The same task, not yet built, used in one of its `directions`. Raises UserError where it has no such."""
        raise UserError(f"{self.name} goes one way only: there is no direction {direction!r} to choose")

    def pictures(self, x: Batch, output: Tensor) -> dict[str, Tensor]:
        """What a person should see of a sample and of what `infer` made of it, by heading."""
        inputs, target = self.inputs_and_target(x)
        return dict(zip(self.inputs, inputs, strict=True)) | {"output": output, "target": target}

    def baselines(self, examples: Iterable[Example]) -> Mapping[str, Baseline]:
        """Answers that need no network, by name: what a model of a paired task is always shown beside.

        `examples` are of the train split, if there is one; take of them what has to be fitted.
        """
        return translation_baselines(examples)

    # State beyond the networks; a task with an image pool or an adaptive strength has some.

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if state:
            raise ValueError(f"{self.name} has no state beyond its networks, but got {sorted(state)}")

    # Written once for all.

    def networks(self) -> tuple[nn.ModuleDict, ...]:
        return self.generators, self.discriminators, self.auxiliary

    def log(self, **values: Tensor | float) -> None:
        """Log a diagnostic of this step, such as the discriminator's accuracy."""
        for key, value in values.items():
            self.diagnostics[key] = torch.as_tensor(value).detach()

    @contextmanager
    def evaluating(self, generators: nn.ModuleDict) -> Iterator[Self]:
        """Within the context, `infer` runs these generators, in eval mode and without gradients."""
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
