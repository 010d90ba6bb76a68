"""Functions and types that the converters of all families of public checkpoints share.

A converter is a dict from our module names to the published ones. Where the names of the tensors differ too, it holds
whole keys. Its inverse turns a public checkpoint into ours. Only names change, never the tensors.
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

MAX_LAYERS = 256
"""Most blocks or layers of one kind that a network may have. The largest public one has 32."""
MAX_CHANNELS = 1 << 16
"""Most inputs or outputs of a convolution. Those of public networks have up to a few thousand."""
MAX_PARAMETERS = 500_000_000
"""Most numbers that a network may have. The largest public one has 183 million."""
INSTANCE_NORM_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Usage:
    """How to use a published generator: all that the code that runs or exports it needs to know."""

    spec: ModelSpec
    """What `forward` takes and gives. `spec.task` is the task whose data fit the generator."""
    width: int
    """Channels after the first layer."""
    value_range: tuple[float, float] = (-1.0, 1.0)
    """Values of black and white in the input image and in the output image."""


@dataclass(frozen=True)
class Architecture:
    """A published network: how to recognise its checkpoints, and how to build the network from one."""

    family: str
    """Names of the projects that publish it."""
    name: str
    """Name of the network in these projects."""
    recognise: Callable[[State], bool]
    """Returns whether the keys are those of this network. `build` refuses a damaged checkpoint."""
    build: Callable[[State], nn.Module]
    """Builds the network. Raises UserError if the tensors do not fit."""
    example: Callable[[], State]
    """Returns the tensors of a small network with random weights, by their published names. The names of unknown
    files are compared with these, and the documents and tests use it."""
    usage: Callable[[Any], Usage] | None = None
    """Returns the usage of a network from `build`; None for a network that makes no image by itself."""
    files: str = ""
    """In what its files may differ, for the documents."""
    training: str = ""
    """Arguments of `gan-tasks train` that train this network; empty if no task does."""
    alone: str = "makes no image: give the generator's file, such as latest_net_G.pth"
    """Of a network without usage: what it is, and what to give instead."""

    @property
    def title(self) -> str:
        """Name of the projects and of the network, for messages."""
        return self.name if self.name == self.family else f"{self.family} {self.name}"


def drop_instance_norm_statistics(state: State) -> dict[str, Tensor]:
    """Remove the unused running statistics of instance norms, which old files contain.

    A module with statistics but without a weight is an instance norm: batch norms have a weight.
    """

    def is_kept(key: str) -> bool:
        module, _, tensor = key.rpartition(".")
        return tensor not in INSTANCE_NORM_STATISTICS or f"{module}.weight" in state

    return {key: tensor for key, tensor in state.items() if is_kept(key)}


def rename_modules(state: State, names: ModuleNames) -> dict[str, Tensor]:
    """Rename the keys of a checkpoint with `names`, which may contain whole keys and module names.

    A key that is not in `names` has the form MODULE.TENSOR, and its MODULE is renamed. All else stays as it is.
    """

    def renamed(key: str) -> str:
        if key in names:
            return names[key]
        module, _, tensor = key.rpartition(".")
        return f"{names.get(module, module)}.{tensor}"

    return {renamed(key): tensor for key, tensor in state.items()}


def find_norm(state: State) -> Norm:
    """Return the norm of a checkpoint: batch norm has running statistics, and instance norm has no tensors."""
    return "batch" if any(key.endswith(".running_mean") for key in state) else "instance"


def conv_channels(state: State, module: str) -> tuple[int, int]:
    """Return the first two sizes of a convolution's weight: (outputs, inputs), or (inputs, outputs) if transposed.

    Raises UserError if the module is no convolution, or has more than MAX_CHANNELS.
    """
    weight = state.get(f"{module}.weight")
    if weight is None or weight.ndim != 4 or not weight.numel():
        raise UserError(f"{module}.weight is {describe(weight)}, expected the weight of a convolution")
    if max(weight.shape[:2]) > MAX_CHANNELS:
        raise UserError(f"{module}.weight is {describe(weight)}, expected at most {MAX_CHANNELS:,} channels")
    return weight.shape[0], weight.shape[1]


def checked_count(count: int, what: str, most: int = MAX_LAYERS) -> int:
    """Return a number of blocks or layers. Raises UserError if it is negative, or larger than that of any network.

    A difference of the numbers in names is negative where layers are missing.
    """
    if count > most:
        raise UserError(f"it has {count:,} {what}, expected at most {most}")
    if count < 0:
        raise UserError(f"it has too few layers: those with names leave {count} {what}")
    return count


def assemble(make: Callable[[], Network], names: ModuleNames, state: State) -> Network:
    """Make the network and load copies of the published tensors into it, converted to the network's data types.

    make: makes the network.
    names: our names → published names.
    state: the published tensors.

    Raises UserError for the first tensor that is missing, superfluous, of the wrong shape, or not finite, and if
    there are more numbers than in any network.
    """
    # On "meta" the network needs no memory. The sizes that a file claims are checked before any memory is allocated.
    try:
        with torch.device("meta"):
            network = make()
    except RuntimeError as error:  # The number of bytes is too large for PyTorch.
        raise UserError("its tensors have sizes that are too large for a network") from error
    expected = rename_modules(network.state_dict(), names)
    if (count := sum(tensor.numel() for tensor in expected.values())) > MAX_PARAMETERS:
        raise UserError(f"it is a network of {count:,} numbers, expected at most {MAX_PARAMETERS:,}")
    for key in {**expected, **state}:
        wanted, found = expected.get(key), state.get(key)
        if found is None and key.endswith(".num_batches_tracked"):
            continue  # Files from before PyTorch 0.4.1 have no counter; it then starts from 0.
        if wanted is None or found is None or wanted.shape != found.shape:
            raise UserError(f"{key} is {describe(found)} where {describe(wanted)} was expected")
        if found.is_floating_point() and not found.float().isfinite().all():
            raise UserError(
                f"{key} has values that are NaN or infinite: its training diverged, or the file is damaged. "
                "Download it again, or give an earlier checkpoint"
            )
    own = {
        key: tensor.to(expected[key].dtype, copy=True, memory_format=torch.contiguous_format)
        for key, tensor in state.items()
    }
    published_to_ours = {published: ours for ours, published in names.items()}
    network.load_state_dict(rename_modules(own, published_to_ours), assign=True)
    return network


def describe(tensor: Tensor | None) -> str:
    """Return the shape of a tensor for a message, or "absent"."""
    if tensor is None:
        return "absent"
    return "×".join(map(str, tensor.shape)) or "a single number"
