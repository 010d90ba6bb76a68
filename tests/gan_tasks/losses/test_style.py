"""The losses of stylization against plain formulas, and the encoder against the VGG that its weights are from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from random_vgg import shared_vgg16
from safetensors.torch import load_file, save_file
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.losses.perceptual import Perceptual
from gan_tasks.losses.style import content_loss, load_encoder, noise_images, style_loss
from gan_tasks.networks.stylization import LEVELS, Encoder, statistics


def test_losses_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    ours, theirs = ({level: torch.randn(2, 3, 4 + i, 5) for level in LEVELS} for i in (0, 2))
    expected = 0.0
    for level in LEVELS:
        a, b = ours[level], theirs[level]
        expected += float(functional.mse_loss(a.mean((2, 3)), b.mean((2, 3))))
        deviations = ((x.var((2, 3), correction=1) + 1e-5).sqrt() for x in (a, b))
        expected += float(functional.mse_loss(*deviations))
    made = style_loss(ours, [statistics(theirs[level]) for level in LEVELS])
    assert float(made) == pytest.approx(expected, rel=1e-5)
    assert float(style_loss(ours, [statistics(ours[level]) for level in LEVELS])) == 0
    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    assert float(content_loss(a, b)) == pytest.approx(float((a - b).square().mean()), rel=1e-5)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("vgg16", shared_vgg16())


def test_the_encoder_has_the_features_of_the_vgg_up_to_their_scale(encoder: Encoder) -> None:
    """Away from the border, where the VGG pads with zeros. The scale of each level is one number."""
    vgg = Perceptual("vgg16", load_file(shared_vgg16()), dict.fromkeys(LEVELS, 1.0))
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        ours, theirs = encoder(image), vgg.features(image)
    for level in LEVELS:
        border = 6
        a, b = (each[level][..., border:-border, border:-border] for each in (ours, theirs))
        scale = float((a * b).sum() / b.square().sum())
        torch.testing.assert_close(a, scale * b, rtol=1e-3, atol=1e-3 * float(a.max()))


def test_the_features_of_each_level_have_a_mean_of_1(encoder: Encoder) -> None:
    with torch.no_grad():
        for features in encoder(noise_images()).values():
            assert float(features.mean()) == pytest.approx(1, rel=1e-3)


def test_the_published_encoder_is_taken_as_it_is(tmp_path: Path) -> None:
    from gan_tasks.pretrained.stylization.adain import ENCODER_LAYERS, names_of

    torch.manual_seed(0)
    published = Encoder()
    state = {
        f"{number}.{tensor}": published.state_dict()[f"{name}.{tensor}"]
        for name, number in names_of(published, ENCODER_LAYERS).items()
        for tensor in ("weight", "bias")
    }
    torch.save(state, tmp_path / "vgg_normalised.pth")
    image = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        made = load_encoder("vgg19", tmp_path / "vgg_normalised.pth")(image * 2 - 1)
        for level, expected in published(image).items():
            torch.testing.assert_close(made[level], expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(UserError, match=r"expected .* and --encoder vgg19"):
        load_encoder("vgg16", tmp_path / "vgg_normalised.pth")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vgg16"):
        load_encoder("vgg19", shared_vgg16())
    save_file({"a": torch.zeros(1)}, tmp_path / "no.safetensors")
    with pytest.raises(UserError, match="not the weights of a VGG"):
        load_encoder("vgg16", tmp_path / "no.safetensors")


def test_nothing_of_it_is_drawn_at_random(encoder: Encoder) -> None:
    again = load_encoder("vgg16", shared_vgg16())
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), again.parameters(), strict=True))
