"""The contract that every task fulfils, and all that the loop, the export and the pages know of a task.

A task is one file: a frozen config dataclass, whose fields are the command line's options, and a class with four
short methods beside what it declares. Images are N×C×H×W tensors, float, in [-1, 1].

    generate   a batch             → what the generators make of it
    d_losses   the batch and that  → the discriminators' losses (the generated images come detached)
    g_losses   the batch and that  → the generators' losses
    infer      a user's inputs     → the user's image; this is what is exported and served

Losses are a dict of weighted scalars: their sum is minimised, the dict is logged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.inpainting import MaskedConfig
from gan_tasks.metrics.baselines import Baseline, Example, translation_baselines
from gan_tasks.networks.sizes import Sizes, sizes_of
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.spec import ModelSpec

Losses = dict[str, Tensor]
Outputs = dict[str, Tensor]
NetworkRole = Literal["d", "g"]
"""The discriminators or the generators."""
Split = Literal["train", "val", "test"]
BestBy = Literal["l1", "psnr", "ssim", "kernel-distance"]
"""Metrics of held-out images that may choose the best checkpoint."""
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
    """A stretch of training: which networks learn, in which order, how, and for how long.

    It begins with the generators of the stage before it: with their average, where one is kept.
    """

    name: str
    images: int
    """Length in images shown, repeats counted."""
    optimisation: OptimisationConfig
    schedule: ScheduleConfig
    update_order: tuple[NetworkRole, ...] = ("d", "g")
    """The networks that take a step on each batch, in this order: pix2pix updates D first, CycleGAN G first."""
    g_interval_steps: int = 1
    """G is updated on every N-th batch only (Wasserstein GANs: 5)."""
    d_warmup_images: int = 0
    """D alone learns on this many images at the start."""
    d_weight_clip: float = 0.0
    """D's weights are clipped to ± this after each of its updates; 0 leaves them (Wasserstein GANs: 0.01)."""
    best_by: BestBy | None = "l1"
    """The metric that chooses the best checkpoint unless the user names one; None: the newest checkpoint counts."""


FitBaselines = Callable[[Iterable[Example]], Mapping[str, Baseline]]
"""Makes baselines, by name, of examples of the train split; takes of them what has to be fitted."""


@dataclass(frozen=True)
class EvaluationSpec:
    """What evaluating a model of a task needs to know of the task."""

    has_target: bool = True
    """Each input has one right answer. If not, outputs and targets are compared as sets of images."""
    fit_baselines: FitBaselines = translation_baselines
    """Answers that need no network. Every model of a task with targets is shown beside them."""
    masks: MaskedConfig | None = None
    """The data options that say where masks come from; None for a task without masks."""
    learned_from_vgg: bool = False
    """The model was trained with a VGG network, so a metric by one flatters it."""


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
    """The name of the config without any options among the presets."""
    directions: ClassVar[tuple[str, ...]] = ()
    """The directions that one training learns, where it learns several; `in_direction` chooses."""

    config: TaskConfig
    generators: nn.ModuleDict
    discriminators: nn.ModuleDict
    auxiliary: nn.ModuleDict
    """Networks that are used but neither trained nor saved, such as that of the perceptual loss."""
    step: Step
    """Set by the loop before each step."""
    diagnostics: dict[str, Tensor]
    """What `log` was given in this step; logged beside the losses."""

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
    def spec(self) -> ModelSpec:
        """What the model takes and gives. Call it on a task that is resolved and built."""

    def evaluation(self) -> EvaluationSpec:
        """What evaluating a model of the task needs to know."""
        return EvaluationSpec()

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
    def inputs_and_target(self, x: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
        """The inputs of `infer` for a sample, and its target: without `has_target`, any image of the target side."""

    def shown_images(self, x: Batch, output: Tensor) -> dict[str, Tensor]:
        """What a person should see of a sample and of the output, by heading: N×C×H×W in [-1, 1]."""
        inputs, target = self.inputs_and_target(x)
        named = zip(self.spec().inputs, inputs, strict=True)
        shown = {each.name: tensor for each, tensor in named if each.kind == "image"}
        return shown | {"output": output, "target": target}

    # The same task in another use. Call these before `build`.

    @property
    def direction(self) -> str:
        """The direction that it goes, such as a-to-b; empty for a task that has none."""
        return ""

    def in_direction(self, direction: str) -> Self:
        """The same task in another direction. Raises UserError where it does not have that direction."""
        raise UserError(f"{self.name} has one direction only: leave out --direction")

    def with_data(self, data: Any) -> Self:
        """The same task with other data options."""
        return type(self)(replace(self.config, data=data))  # type: ignore[type-var]

    @classmethod
    def for_model(cls, spec: ModelSpec) -> Self:
        """The task with default options, reading data for a model whose training options are not known."""
        return cls()

    # State beyond the networks; a task with an image pool or an adaptive strength has some.

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if state:
            raise ValueError(f"{self.name} has no state beyond its networks, but got {sorted(state)}")

    # Written once for all.

    def sizes(self) -> Sizes:
        """Which image sizes the built generators take; for `spec`."""
        return sizes_of(self.generators)

    def networks(self) -> tuple[nn.ModuleDict, ...]:
        return self.generators, self.discriminators, self.auxiliary

    def log(self, **values: Tensor | float) -> None:
        """Log a diagnostic of this step, such as the discriminator's accuracy."""
        for key, value in values.items():
            self.diagnostics[key] = torch.as_tensor(value).detach()

    @contextmanager
    def evaluating(self, generators: nn.ModuleDict) -> Iterator[Self]:
        """Inside the context `infer` runs these generators, in eval mode and without gradients."""
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
