"""The network of colourisation: its encoder is EfficientNet-Lite0, and it sees images of all sizes alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional

from gan_tasks.metrics.feature_networks.lite0 import EfficientNetLite0
from gan_tasks.networks.colourisation.colouriser import Colouriser
from gan_tasks.networks.sizes import least_measured_side, sizes_of


def random_lite0() -> EfficientNetLite0:
    """Lite0 with random weights and statistics, so that no package is needed."""
    torch.manual_seed(0)
    network = EfficientNetLite0()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for value in (layer.weight.data, layer.running_var):
                assert value is not None
                value.uniform_(0.5, 2)
            for value in (layer.bias.data, layer.running_mean):
                assert value is not None
                value.normal_()
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return network


def test_the_encoder_has_the_features_of_lite0_and_is_not_trained() -> None:
    lite0, colouriser = random_lite0(), Colouriser(width=4)
    colouriser.freeze_encoder(lite0)
    gray = torch.rand(1, 1, 64, 96) * 2 - 1
    expected = lite0.features(gray)
    x = colouriser.frame.stem(gray)
    torch.testing.assert_close(x, expected["stage1"], rtol=1e-3, atol=1e-3)
    for down, stage in zip(colouriser.frame.downs, ("stage2", "stage3", "stage5"), strict=False):
        x = down(x)
        scale = expected[stage].abs().mean()
        torch.testing.assert_close(x / scale, expected[stage] / scale, rtol=1e-2, atol=1e-2)
    trained = {name for name, weight in colouriser.named_parameters() if weight.requires_grad}
    assert trained and all(name.startswith(("frame.body", "frame.ups", "frame.head")) for name in trained)


@pytest.fixture
def small() -> Iterator[Colouriser]:
    """A small network whose colours are strong from the start."""
    torch.manual_seed(0)
    colouriser = Colouriser(width=4, encoder_scale=0.125).eval()
    colouriser.frame.head[-1].weight.data.mul_(300)  # type: ignore[index, union-attr, operator]
    with torch.no_grad():
        yield colouriser


def test_an_enlarged_image_gets_the_same_colours(small: Colouriser) -> None:
    gray = functional.interpolate(torch.rand(1, 1, 8, 12) * 2 - 1, (64, 96), mode="bicubic").clamp(-1, 1)
    output = small(gray)
    assert (output - gray).abs().mean() > 0.1, "it has colours at all"
    larger = small(functional.interpolate(gray, (192, 288), mode="bilinear"))
    again = functional.interpolate(larger, (64, 96), mode="area")
    assert (again - output).abs().mean() < 0.15 * (output - gray).abs().mean()


def test_its_limits_are_those_of_a_network_that_sees_whole_images(small: Colouriser) -> None:
    assert sizes_of(small).global_statistics
    assert sizes_of(small).size_multiple == sizes_of(small).minimum_size == 1
    assert small(torch.rand(1, 1, 1, 1)).shape == (1, 3, 1, 1)


def test_memory_is_measured_at_a_size_at_which_the_own_size_does_not_count(small: Colouriser) -> None:
    assert least_measured_side(small) >= 2048 and least_measured_side(nn.Conv2d(1, 1, 1)) == 1
