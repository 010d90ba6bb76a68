"""R3GAN's networks before training, and images of other shapes than squares."""

from __future__ import annotations

import pytest
import torch

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.r3gan import Level, R3GANDiscriminator, r3gan_generator

LEVELS = (Level(8, 2, 2), Level(8, 2, 1), Level(4, 1, 1))


def test_rectangular_images() -> None:
    torch.manual_seed(0)
    generator = r3gan_generator(6, LEVELS, output_size=(8, 16), out_channels=1)
    image = generator(torch.randn(2, 6))
    assert image.shape == (2, 1, 8, 16)
    scales = R3GANDiscriminator(LEVELS[::-1], image_size=(8, 16), in_channels=1)(image)
    assert [tuple(layer.shape) for layer in scales[0]] == [(2, 4, 8, 16), (2, 8, 4, 8), (2, 8, 2, 4), (2, 1, 1, 1)]


def test_levels_have_to_fit_the_size() -> None:
    with pytest.raises(UserError, match=r"3 levels .* 16 pixels, and not for 32×16: give 4 levels"):
        r3gan_generator(6, LEVELS, output_size=(32, 16))
    with pytest.raises(UserError, match=r"3 levels .* 16 pixels, and not for 8×8: give 2 levels"):
        R3GANDiscriminator(LEVELS, image_size=(8, 8))


def test_residual_blocks_change_nothing_at_first_and_learn() -> None:
    torch.manual_seed(0)
    discriminator = R3GANDiscriminator(LEVELS[::-1], classes=3, embedding=5)
    block = discriminator.stages[1].blocks[0]
    x = torch.randn(2, 8, 8, 8)
    assert torch.equal(block(x), x)
    logits = discriminator(torch.randn(2, 3, 16, 16), torch.eye(3)[:2])[0][-1]
    logits.sum().backward()
    assert block.reduce.weight.grad.abs().sum() > 0


def test_initial_weights_have_the_published_deviation() -> None:
    torch.manual_seed(0)
    level = Level(64, 4, 2)
    generator = r3gan_generator(64, [level, level])
    block = generator.stages[1].blocks[1]
    gain = (2 / 1.04) ** 0.5 * 4**-0.25  # of the activation, and of the four blocks
    assert block.expand.weight.std().item() == pytest.approx(gain / 64**0.5, rel=0.05)
    assert block.mix.weight.std().item() == pytest.approx(gain / (32 * 9) ** 0.5, rel=0.05)
    assert generator.base.linear.weight.std().item() == pytest.approx(1 / 8, rel=0.05)
