"""What the converters of all public families share.

A converter is a dict of module names, ours → published, and of whole keys where the tensors' own names differ. Read
backwards it turns a published checkpoint into ours; both ways the tensors stay as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.blocks import Norm
from gan_tasks.spec import ModelSpec

State = Mapping[str, Tensor]
ModuleNames = Mapping[str, str]
Network = TypeVar("Network", bound=nn.Module)

INSTANCE_NORM_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Usage:
    """How a published generator is used: the code that runs or exports it reads no more."""

    spec: ModelSpec
    """What its `forward` takes and gives. `spec.task` is the task whose data fit it."""
    width: int
    """Channels of its first layer."""
    value_range: tuple[float, float] = (-1.0, 1.0)
    """The values of black and white in the images that it takes and gives."""


@dataclass(frozen=True)
class Architecture:
    """A published network: how its checkpoint is told from others, and how it is built from one."""

    family: str
    """The projects that publish it."""
    name: str
    """What it is called there."""
    recognise: Callable[[State], bool]
    """From names alone; it may be wrong about a damaged file, which `build` then refuses."""
    build: Callable[[State], nn.Module]
    """Raises UserError where the tensors do not fit."""
    usage: Callable[[Any], Usage] | None = None
    """Of the network that `build` gave; None for a discriminator, which makes no image."""

    @property
    def title(self) -> str:
        return f"{self.family} {self.name}"


def drop_instance_norm_statistics(state: State) -> dict[str, Tensor]:
    """Without what old files keep for instance norms, which is never used: batch norms alone have a weight."""

    def is_kept(key: str) -> bool:
        module, _, tensor = key.rpartition(".")
        return tensor not in INSTANCE_NORM_STATISTICS or f"{module}.weight" in state

    return {key: tensor for key, tensor in state.items() if is_kept(key)}


def rename_modules(state: State, names: ModuleNames) -> dict[str, Tensor]:
    """Rename every key that is in `names`, and MODULE in all others MODULE.TENSOR; what is not in `names` stays."""

    def renamed(key: str) -> str:
        if key in names:
            return names[key]
        module, _, tensor = key.rpartition(".")
        return f"{names.get(module, module)}.{tensor}"

    return {renamed(key): tensor for key, tensor in state.items()}


def find_norm(state: State) -> Norm:
    """Batch norm has running statistics, instance norm no tensor at all."""
    return "batch" if any(key.endswith(".running_mean") for key in state) else "instance"


def conv_channels(state: State, module: str) -> tuple[int, int]:
    """The first two sizes of a convolution's weight: (outputs, inputs), of a transposed one (inputs, outputs)."""
    weight = state.get(f"{module}.weight")
    if weight is None or weight.ndim != 4 or not weight.numel():
        raise UserError(f"{module}.weight is {describe(weight)} where a convolution's was expected")
    return weight.shape[0], weight.shape[1]


def assemble(make: Callable[[], Network], names: ModuleNames, state: State) -> Network:
    """The network that `make` makes, with copies of the published tensors, in the network's own types.

    Raises UserError, naming the first misfit, where the tensors are not exactly those of the network.
    """
    # Without memory until the shapes are known to be right: a file may lie about its sizes.
    try:
        with torch.device("meta"):
            network = make()
    except RuntimeError as error:  # PyTorch cannot even count the bytes.
        raise UserError("its sizes are not those of a network") from error
    expected = rename_modules(network.state_dict(), names)
    for key in {**expected, **state}:
        wanted, found = expected.get(key), state.get(key)
        if found is None and key.endswith(".num_batches_tracked"):
            continue  # Files from before PyTorch 0.4.1 have none; it then counts from 0.
        if wanted is None or found is None or wanted.shape != found.shape:
            raise UserError(f"{key} is {describe(found)} where {describe(wanted)} was expected")
    own = {
        key: tensor.to(expected[key].dtype, copy=True, memory_format=torch.contiguous_format)
        for key, tensor in state.items()
    }
    published_to_ours = {published: ours for ours, published in names.items()}
    network.load_state_dict(rename_modules(own, published_to_ours), assign=True)
    return network


def describe(tensor: Tensor | None) -> str:
    if tensor is None:
        return "absent"
    return "×".join(map(str, tensor.shape)) or "a single number"
