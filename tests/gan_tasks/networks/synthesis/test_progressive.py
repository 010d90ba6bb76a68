"""Growing networks: what fades in is continuous, and gradients are those of the small images."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.synthesis.progressive import (
    msg_discriminator,
    packed,
    progressive_discriminator,
    progressive_generator,
    progressive_widths,
    pyramid,
    real_images,
    unpacked,
)

SIZE = (16, 16)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_widths_are_those_of_the_paper() -> None:
    assert progressive_widths(8, 512) == (512, 512, 512, 512, 256, 128, 64, 32, 16)


@pytest.mark.parametrize("size", [(4, 4), (16, 16), (8, 32), (24, 32)])
@pytest.mark.parametrize("classes", [0, 3])
def test_images_and_logits_of_all_sizes(size: tuple[int, int], classes: int) -> None:
    generator = progressive_generator(5, size=size, width=4, out_channels=2, classes=classes)
    label = torch.eye(3)[:2] if classes else None
    images = generator.images(generator.styles(noise(2, 5), label))
    assert images[-1].shape == (2, 2, *size)
    assert [2 * image.shape[-1] for image in images[:-1]] == [image.shape[-1] for image in images[1:]]
    pggan = progressive_discriminator(size=size, width=4, in_channels=2, classes=classes)
    assert pggan(images[-1], label)[0][-1].shape == (2, 1, 1, 1)
    msg = msg_discriminator(size=size, width=4, in_channels=2, classes=classes)
    assert msg(packed(images), label)[0][-1].shape == (2, 1, 1, 1)


@pytest.mark.parametrize("kind", [progressive_discriminator, msg_discriminator])
def test_labels_change_the_logits(kind: Any) -> None:
    torch.manual_seed(0)
    discriminator = kind(size=(4, 4), width=4, classes=2)
    one, other = (discriminator(noise(1, 3, 4, 4), label[None])[0] for label in torch.eye(2))
    embedding = discriminator.head.embedding.weight
    expected = ((embedding[:, 0] - embedding[:, 1]) * one[-2].flatten()).sum() / 4**0.5
    assert torch.allclose((one[-1] - other[-1]).squeeze(), expected, atol=1e-5)


def test_a_new_stage_of_the_generator_fades_in() -> None:
    generator = progressive_generator(5, size=SIZE, width=4)
    latent = noise(2, 5)
    generator.levels = 1
    before = generator(latent)
    assert before.shape == (2, 3, *SIZE), "the images are always of the full size"
    small = before[..., ::2, ::2]
    assert torch.equal(before, small.repeat_interleave(2, 2).repeat_interleave(2, 3))
    generator.levels, generator.fade = 2, 0.0
    assert torch.allclose(generator(latent), before)
    generator.fade = 1.0
    after = generator(latent)
    generator.fade = 0.25
    assert torch.allclose(generator(latent), 0.75 * before + 0.25 * after, atol=1e-6)


def test_a_new_stage_of_the_discriminator_fades_in() -> None:
    discriminator = progressive_discriminator(size=SIZE, width=4)
    image = noise(4, 3, *SIZE)
    discriminator.levels = 1
    before = discriminator(real_images(image, missing=1))[0][-1]
    discriminator.levels, discriminator.fade = 2, 0.0
    assert torch.allclose(discriminator(image)[0][-1], before, atol=1e-6)
    discriminator.fade = 0.5
    assert not torch.allclose(discriminator(image)[0][-1], before, atol=1e-4)


def test_real_images_are_averaged_and_faded_as_generated_ones() -> None:
    image = noise(1, 3, 8, 8)
    assert torch.equal(real_images(image, missing=0), image)
    halved, quartered = (functional.avg_pool2d(image, size) for size in (2, 4))
    half, quarter = halved.repeat_interleave(2, 2).repeat_interleave(2, 3), nn.Upsample(scale_factor=4)(quartered)
    assert torch.allclose(real_images(image, missing=1), half)
    assert torch.allclose(real_images(image, missing=1, fade=0.25), 0.75 * quarter + 0.25 * half, atol=1e-6)


def test_a_gradient_is_that_of_the_small_image() -> None:
    """A gradient penalty means the same at all levels."""
    discriminator = progressive_discriminator(size=SIZE, width=4)
    small = noise(2, 3, 8, 8).requires_grad_()
    discriminator.levels = 1
    full = small.detach().repeat_interleave(2, 2).repeat_interleave(2, 3).requires_grad_()
    discriminator(full)[0][-1].sum().backward()
    smaller = progressive_discriminator(size=(8, 8), width=4)
    smaller.load_state_dict(discriminator.state_dict(), strict=False)
    smaller(small)[0][-1].sum().backward()
    assert full.grad is not None and small.grad is not None
    assert torch.allclose(full.grad.norm(), small.grad.norm())


def test_packed_images_come_apart() -> None:
    images = pyramid(noise(2, 3, *SIZE), 3)
    assert [image.shape[-1] for image in images] == [4, 8, 16]
    together = packed(images)
    assert together.shape == (2, 9, *SIZE)
    for image, again in zip(images, unpacked(together, 3), strict=True):
        assert torch.equal(image, again)


def test_gradients_of_packed_images_add_up() -> None:
    """The squared norm is the sum of those of all sizes, so that a gradient penalty is that of MSG-GAN."""
    torch.manual_seed(0)
    discriminator = msg_discriminator(size=SIZE, width=4)
    images = [image.requires_grad_() for image in pyramid(noise(2, 3, *SIZE), 3)]
    discriminator(packed(images))[0][-1].sum().backward()
    together = packed(images).detach().requires_grad_()
    discriminator(together)[0][-1].sum().backward()
    assert together.grad is not None
    norms = [image.grad.square().sum() for image in images if image.grad is not None]
    assert len(norms) == 3 and min(norms) > 0, "the logits depend on the images of all sizes"
    assert torch.allclose(together.grad.square().sum(), torch.stack(norms).sum())


@pytest.mark.parametrize("kind", [progressive_discriminator, msg_discriminator])
def test_the_other_images_of_the_minibatch_count(kind: Any) -> None:
    torch.manual_seed(0)
    discriminator = kind(size=(4, 4), width=4)
    image = noise(1, 3, 4, 4)
    alike, varied = image.expand(4, -1, -1, -1), torch.cat([image, noise(3, 3, 4, 4)])
    assert not torch.allclose(discriminator(alike)[0][-1][0], discriminator(varied)[0][-1][0], atol=1e-4)
