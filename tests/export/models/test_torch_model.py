"""Networks whose weights or outputs are no numbers are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.models.base import ModelRunError
from gan_tasks.export.models.interruption import interrupted_by
from gan_tasks.export.models.torch_model import TorchModel
from gan_tasks.spec import InputSpec, ModelSpec

IMAGE = np.ones((1, 3, 6, 8), np.float32)


class Scaled(nn.Module):
    """A network that multiplies an image by a weight, and cuts off rows."""

    def __init__(self, weight: float, cut: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.cut = cut

    def forward(self, image: Tensor) -> Tensor:
        return (image * self.weight * self.weight)[..., self.cut :, :]


class Convolved(nn.Module):
    """A network that convolves, and keeps the features as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        self.features: Tensor = self.conv(image)
        return self.features


class Tiny(TorchModel):
    def __init__(self, network: nn.Module) -> None:
        self.spec = ModelSpec("pix2pix", "translate", (InputSpec("image", "image", 3, "any"),), 3)
        self.title = "tiny"
        self.start(network, "cpu", "eval")

    def version(self) -> str:
        return "sha256:0"


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(weight: float) -> None:
    with pytest.raises(UserError, match=r"1 tensor of the network .* NaN or infinite, weight first: .*diverged"):
        Tiny(Scaled(weight))


def test_an_output_that_overflows_is_refused() -> None:
    with pytest.raises(ModelRunError, match="tiny gives values that are NaN or infinite"):
        Tiny(Scaled(1e30)).run(IMAGE)


def test_an_output_of_another_size_is_refused() -> None:
    with pytest.raises(ModelRunError, match="tiny gives 1×3×4×8 values where its spec promises 1×3×6×8"):
        Tiny(Scaled(1.0, cut=2)).run(IMAGE)


def test_a_sound_network_is_run() -> None:
    np.testing.assert_array_equal(Tiny(Scaled(0.5)).run(IMAGE), IMAGE / 4)


def test_features_lie_channels_last_on_a_cpu() -> None:
    network = Convolved()
    expected = network(torch.from_numpy(IMAGE)).detach().numpy()
    np.testing.assert_allclose(Tiny(network).run(IMAGE), expected, atol=1e-5)
    assert network.features.is_contiguous(memory_format=torch.channels_last)


def test_a_run_ends_at_the_next_layer_when_its_check_raises() -> None:
    layers: list[nn.Module] = [Scaled(1.0) for _ in range(4)]
    model, ran = Tiny(nn.Sequential(*layers)), list[object]()
    model.run(IMAGE)  # counts the memory of the network with a run of its own
    for layer in layers:
        layer.register_forward_hook(lambda *_: ran.append(None))

    def check() -> None:
        if len(ran) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError), interrupted_by(check):
        model.run(IMAGE)
    assert len(ran) == 2
    np.testing.assert_array_equal(model.run(IMAGE), IMAGE)
