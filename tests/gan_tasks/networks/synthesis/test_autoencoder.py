"""Discriminators that are autoencoders: their energies, codes and sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.autoencoder import (
    AutoencoderDiscriminator,
    began_discriminator,
    ebgan_discriminator,
)

SIZES = [(32, 32), (16, 24), (64, 32)]


@pytest.mark.parametrize("energy", ["squared", "absolute"])
def test_the_logit_is_the_negative_mean_error_of_each_image(energy: str) -> None:
    network = AutoencoderDiscriminator(nn.Identity(), nn.Flatten(2), energy=energy)  # type: ignore[arg-type]
    network.decoder.forward = lambda code: torch.zeros_like(code)  # type: ignore[method-assign]
    images = torch.tensor([2.0, -3.0]).view(2, 1, 1, 1).expand(2, 3, 4, 6)
    ((code, reconstruction, logit),) = network(images)
    assert code is images and reconstruction.shape == images.shape
    assert logit.shape == (2, 1, 1, 1)
    assert logit.flatten().tolist() == ([-4.0, -9.0] if energy == "squared" else [-2.0, -3.0])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("classes", [0, 3])
def test_any_size_and_label_give_code_reconstruction_and_logit(size: tuple[int, int], classes: int) -> None:
    label = torch.eye(3)[:2] if classes else None
    image = torch.rand(2, 3, *size) * 2 - 1
    for network, code_shape in (
        (ebgan_discriminator(size, width=4, classes=classes), (2, 16, size[0] // 8, size[1] // 8)),
        (began_discriminator(size, width=4, code=5, classes=classes), (2, 5)),
    ):
        ((code, reconstruction, logit),) = network(image, label)
        assert code.shape == code_shape
        assert reconstruction.shape == image.shape
        assert logit.shape == (2, 1, 1, 1)
        logit.sum().backward()
        assert all(weight.grad is not None for weight in network.parameters())


def test_layers_are_those_of_the_papers() -> None:
    def convs(part: nn.Module) -> list[tuple[int, int, tuple[int, ...], tuple[int, ...]]]:
        layers = [each for each in part.modules() if isinstance(each, nn.Conv2d | nn.ConvTranspose2d)]
        return [(each.in_channels, each.out_channels, each.kernel_size, each.stride) for each in layers]

    ebgan = ebgan_discriminator((64, 64))
    assert convs(ebgan.encoder) == [(a, b, (4, 4), (2, 2)) for a, b in ((3, 64), (64, 128), (128, 256))]
    assert convs(ebgan.decoder) == [(a, b, (4, 4), (2, 2)) for a, b in ((256, 128), (128, 64), (64, 3))]
    began = began_discriminator((32, 32), width=16, code=7)
    strides = [stride for *_, stride in convs(began.encoder)]
    assert [width for _, width, *_ in convs(began.encoder)] == [16, 16, 16, 32, 32, 32, 48, 48, 48]
    assert [index for index, stride in enumerate(strides) if stride == (2, 2)] == [3, 6]
    assert {width for _, width, *_ in convs(began.decoder)[:-1]} == {16}
    assert len(convs(began.decoder)) == 2 * 3 + 1
    linear = [each for each in began.modules() if isinstance(each, nn.Linear)]
    assert [(each.in_features, each.out_features) for each in linear] == [(48 * 64, 7), (7, 16 * 64)]


def test_sizes_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(UserError, match="36×32 pixels cannot be halved as often: give multiples of 8"):
        ebgan_discriminator((36, 32))
