"""DCGAN of all sizes, with and without labels."""

import pytest
import torch
from torch import nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.dcgan import dcgan_discriminator, dcgan_generator, dcgan_widths


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (16, 64), (96, 128)])
@pytest.mark.parametrize("classes", [0, 3])
def test_images_and_logits_of_all_sizes(size: tuple[int, int], classes: int) -> None:
    torch.manual_seed(0)
    generator = dcgan_generator(5, size=size, width=2, out_channels=2, classes=classes)
    discriminator = dcgan_discriminator(size=size, width=2, in_channels=2, classes=classes)
    label = torch.eye(3)[:2] if classes else None
    image = generator(torch.randn(2, 5), label)
    assert image.shape == (2, 2, *size)
    assert image.abs().max() <= 1
    ((*features, logits),) = discriminator(image, label)
    assert logits.shape == (2, 1, 1, 1)
    assert len(features) == len(generator.stages) + 1


def test_widths_double_up_to_eight_times() -> None:
    assert dcgan_widths(4, 64) == (512, 256, 128, 64)
    assert dcgan_widths(6, 64) == (512, 512, 512, 256, 128, 64)


def test_initial_weights_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    generator = dcgan_generator(64, width=16)
    convs = [part.weight for part in generator.modules() if isinstance(part, nn.ConvTranspose2d)]
    assert torch.cat([weight.flatten() for weight in convs]).std().item() == pytest.approx(0.02, rel=0.02)
    norms = torch.cat([part.weight for part in generator.modules() if isinstance(part, nn.BatchNorm2d)])
    assert norms.mean().item() == pytest.approx(1, abs=0.01) and 0.01 < norms.std().item() < 0.03


def test_labels_change_images_and_logits() -> None:
    torch.manual_seed(0)
    generator = dcgan_generator(5, size=(8, 8), width=2, classes=2).eval()
    discriminator = dcgan_discriminator(size=(8, 8), width=2, classes=2, norm="none")
    latent = torch.randn(1, 5)
    one, other = (generator(latent, label[None]) for label in torch.eye(2))
    assert not torch.allclose(one, other)
    first, second = (discriminator(one, label[None])[0] for label in torch.eye(2))
    assert torch.equal(first[0], second[0])
    assert discriminator.embedding is not None
    embedding = discriminator.embedding.weight[:, 0] - discriminator.embedding.weight[:, 1]
    expected = (embedding * first[-2].sum((2, 3))).sum()
    assert torch.allclose((first[-1] - second[-1]).squeeze(), expected)


@pytest.mark.parametrize(("norm", "mixes"), [("batch", True), ("layer", False), ("none", False)])
def test_only_batch_norm_mixes_the_images_of_a_batch(norm: str, mixes: bool) -> None:
    torch.manual_seed(0)
    discriminator = dcgan_discriminator(size=(16, 16), width=4, norm=norm)  # type: ignore[arg-type]
    images = torch.randn(2, 3, 16, 16)
    together, alone = discriminator(images)[0][-1][0], discriminator(images[:1])[0][-1][0]
    assert torch.allclose(together, alone, atol=1e-6) != mixes


@pytest.mark.parametrize(("size", "says"), [((4, 4), "too small for DCGAN"), ((30, 64), "give multiples of 16")])
def test_other_sizes_are_refused(size: tuple[int, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        dcgan_generator(size=size)
    with pytest.raises(UserError, match=says):
        dcgan_discriminator(size=size)
