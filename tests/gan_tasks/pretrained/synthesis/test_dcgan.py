"""DCGAN's public checkpoints equal the published networks, which are written out here."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.pretrained.load import load_network, load_pretrained
from tests.helpers.interop import TOLERANCE, interop_case, interop_names


def randomised(network: nn.Sequential) -> nn.Sequential:
    """Give batch norms statistics and weights as after a training."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1, 0.2)
            nn.init.normal_(part.bias, 0, 0.2)
            nn.init.normal_(part.running_mean, 0, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
    return network.eval().requires_grad_(False)


def published_generator(latent: int, width: int, channels: int, doublings: int) -> nn.Sequential:
    """https://github.com/pytorch/examples/blob/main/dcgan/main.py, of which forks have more or fewer layers."""
    layers: list[nn.Module] = []
    inputs = latent
    for level in reversed(range(doublings)):
        outputs = width * 2**level
        stride, padding = (2, 1) if layers else (1, 0)
        layers += [
            nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
        inputs = outputs
    layers += [nn.ConvTranspose2d(inputs, channels, 4, 2, 1, bias=False), nn.Tanh()]
    return randomised(nn.Sequential(*layers))


def published_discriminator(width: int, channels: int, doublings: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for level in range(1, doublings):
        inputs, outputs = width * 2 ** (level - 1), width * 2**level
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(width * 2 ** (doublings - 1), 1, 4, 1, 0, bias=False), nn.Sigmoid()]
    return randomised(nn.Sequential(*layers))


def saved(network: nn.Module, folder: Path) -> Path:
    torch.save({f"main.{key}": value for key, value in network.state_dict().items()}, folder / "n.pth")
    return folder / "n.pth"


@pytest.mark.parametrize(("latent", "width", "channels", "doublings"), [(7, 3, 1, 4), (10, 2, 3, 2), (5, 2, 4, 5)])
def test_generators_of_all_sizes(tmp_path: Path, latent: int, width: int, channels: int, doublings: int) -> None:
    network = published_generator(latent, width, channels, doublings)
    found = load_pretrained(saved(network, tmp_path))
    noise = torch.randn(2, latent, 1, 1)
    assert torch.allclose(found.network(noise), network(noise), atol=1e-5)
    assert torch.equal(found.network(noise.flatten(1)), found.network(noise)), "latents may be N×Z and N×Z×1×1"
    assert found.usage is not None
    spec = found.usage.spec
    assert [(each.name, each.channels) for each in spec.inputs] == [("latent", latent)]
    assert (spec.use, spec.out_channels, spec.output_size) == ("generate", channels, (4 << doublings,) * 2)


@pytest.mark.parametrize(("width", "channels", "doublings"), [(3, 1, 4), (2, 3, 2)])
def test_discriminators_of_all_sizes(tmp_path: Path, width: int, channels: int, doublings: int) -> None:
    network = published_discriminator(width, channels, doublings)
    image = torch.randn(3, channels, 4 << doublings, 4 << doublings)
    assert torch.allclose(load_network(saved(network, tmp_path))(image), network(image).flatten(), atol=1e-5)


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    network = published_generator(5, 2, 3, 3)
    del network[4]
    with pytest.raises(UserError, match=r"looks like a DCGAN Generator, but main\.4\.weight is absent"):
        load_network(saved(network, tmp_path))


@pytest.mark.parametrize("name", interop_names("dcgan"))
def test_outputs_equal_the_stored_ones(name: str) -> None:
    case = interop_case(name)
    found: Tensor = load_network(case.path)(*case.inputs)
    assert found.shape == case.outputs["output"].shape
    assert (found - case.outputs["output"]).abs().max() <= TOLERANCE
