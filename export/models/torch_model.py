"""The base class of models that torch runs: run folders and public checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.export.models.base import FloatImages, check_output, output_shape
from gan_tasks.export.models.interruption import Check, current_check
from gan_tasks.export.models.memory import peak_bytes
from gan_tasks.export.models.tiled import TiledModel, in_floats
from gan_tasks.export.models.tiling import Planes
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.sizes import BlockwiseModule, least_measured_side
from gan_tasks.spec import ModelSpec
from gan_tasks.training.runtime import pick_device

Mode = Literal["eval", "train"]

WORKSPACE_FACTOR = 1.05
"""Memory in use over the features alive at once. On the CPU it is 1.0 for RRDBNet, SRVGG-16 and ResNet-9."""


@dataclass(frozen=True)
class Origin:
    """Origin of a model's weights; a field is empty if it is unknown."""

    source: str
    """Name of the file, or of the run and its checkpoint."""
    source_sha256: str = ""
    """SHA-256 of the file."""
    family: str = ""
    """Projects that published the network."""
    architecture: str = ""
    """Name of the architecture in these projects."""
    width: int = 0
    """Channels of the first layer."""


class TorchModel(TiledModel):
    """A `Model` that torch runs. `network` takes tensors in the order of the spec's inputs."""

    network: nn.Module
    device: torch.device

    def start(self, network: nn.Module, device: str, mode: Mode) -> None:
        """Move the network to its device. Mode `train` keeps dropout and uses the statistics of each batch.

        On a CPU the network is changed to channels-last: all architectures run as fast or faster in it than in NCHW,
        and RRDBNet with two thirds of the memory (see `benchmarks/networks.py`).

        Raises UserError if a weight is NaN or infinite.
        """
        check_weights(network)
        self.device = pick_device(device)
        self.runs_on = f"PyTorch, {self.device}"
        self.network = network.to(self.device).train(mode == "train").requires_grad_(False)
        if self.device.type == "cpu":
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        run_strip_wise(self.network, True)

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def is_in_train_mode(self) -> bool:
        return self.network.training

    def origin(self) -> Origin:
        """Return the origin of the weights."""
        return Origin(self.source)

    @cached_property
    def bytes_per_pixel(self) -> int:
        least = (
            self.spec.minimum_size
            if self.spec.fixed_size
            else max(256, self.spec.minimum_size, least_measured_side(self.network))
        )
        side = -(-least // self.spec.size_multiple) * self.spec.size_multiple
        height, width = self.spec.output_size or (side, side)
        inputs = [torch.empty(shape, device="meta") for shape in input_shapes(self.spec, 1, height, width)]
        return math.ceil(WORKSPACE_FACTOR * peak_bytes(self.network, inputs) / (height * width))

    @contextmanager
    def tiles_of(self, image: Planes) -> Iterator[None]:
        """Let the network use means over the whole image in its tiles, if it can compute them in blocks."""

        def run(rows: Tensor, columns: Tensor) -> None:
            part = in_floats(image[..., rows.numpy()[:, None], columns.numpy()])
            with torch.inference_mode(), checked_between_layers(current_check()):
                self.network(torch.from_numpy(part).to(self.device))

        max_pixels = self.max_memory_bytes // self.bytes_per_pixel
        with ExitStack() as stack:
            for part in self.network.modules():
                if isinstance(part, BlockwiseModule):
                    stack.enter_context(part.means_of(*image.shape[-2:], max_pixels=max_pixels, run=run))
            yield

    def run_network(self, *inputs: FloatImages) -> FloatImages:
        with torch.inference_mode(), checked_between_layers(current_check()):
            tensors = [torch.from_numpy(each).to(self.device) for each in inputs]
            result: FloatImages = self.network(*tensors).float().cpu().numpy()
        expected = output_shape(self.spec, inputs)
        check_output(result, expected, self.title, "use another checkpoint, or train it again with a lower --lr")
        return result


@contextmanager
def checked_between_layers(check: Check) -> Iterator[None]:
    """Call `check` before each layer of the networks that this process runs inside the block."""
    handle = register_module_forward_pre_hook(lambda layer, inputs: check())
    try:
        yield
    finally:
        handle.remove()


def check_weights(network: nn.Module) -> None:
    """Raise UserError if a weight of a network is NaN or infinite, as after a training that diverged."""
    state = network.state_dict()
    bad = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise UserError(
            f"{counted(len(bad), 'tensor')} of the network with values that are NaN or infinite, {bad[0]} first: the "
            "training diverged, or the file is damaged. Use an earlier checkpoint, or download the file again"
        )


def input_shapes(spec: ModelSpec, batch: int, height: int, width: int) -> list[tuple[int, ...]]:
    """Return the shapes of the inputs if every image has this size."""
    return [
        (batch, each.channels, height, width) if each.is_spatial else (batch, each.channels) for each in spec.inputs
    ]


def run_strip_wise(network: nn.Module, strip_wise: bool) -> None:
    """Switch strip-wise computation of all generators in a network on or off; see `Generator.strip_wise`."""
    for part in network.modules():
        if isinstance(part, Generator):
            part.strip_wise = strip_wise
