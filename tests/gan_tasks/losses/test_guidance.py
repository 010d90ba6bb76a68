"""Classifier guidance where the answer is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_tasks.losses.guidance import guided


def as_images(latents: Tensor) -> Tensor:
    return latents[:, :, None, None]


def two_classes(images: Tensor) -> Tensor:
    """Logits 0 and 2·x₀: class 1 is where the first value is positive."""
    score = 2 * images[:, 0, 0, 0]
    return torch.stack([torch.zeros_like(score), score], dim=1)


def test_ascent_ends_where_the_gradient_of_the_log_probability_is_that_of_the_prior() -> None:
    """The maximum of log σ(2z) − ½z² is where z = 2σ(−2z); of the other class at its negative."""
    latents = torch.tensor([[0.3, 1.0], [-0.5, -2.0]], dtype=torch.float64)
    before = latents.clone()
    found = guided(as_images, two_classes, latents, torch.tensor([1, 0]), steps=200, step_size=0.1)
    z = found[:, 0]
    torch.testing.assert_close(z, torch.stack([2 * torch.sigmoid(-2 * z[0]), -2 * torch.sigmoid(2 * z[1])]))
    assert z[0] > 0.5
    assert found[:, 1].abs().max() < 1e-6  # the prior alone moves the second value
    assert torch.equal(latents, before) and not found.requires_grad


def test_one_step_without_a_prior_is_written_out() -> None:
    latents = torch.tensor([[0.3, 1.0]], dtype=torch.float64)
    found = guided(as_images, two_classes, latents, torch.tensor([1]), steps=1, step_size=0.5, prior=0.0)
    slope = 2 / (1 + torch.exp(torch.tensor(0.6, dtype=torch.float64)))
    torch.testing.assert_close(found, latents + torch.stack([0.5 * slope, 0 * slope]))


def test_networks_get_no_gradients_and_styles_can_be_refined_where_gradients_are_off() -> None:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Flatten(), nn.Linear(6, 12), nn.Tanh(), nn.Unflatten(1, (3, 2, 2)))
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    styles, classes = torch.randn(8, 2, 3), torch.arange(8) % 4

    def probability(latents: Tensor) -> Tensor:
        return classifier(generator(latents)).softmax(dim=1)[torch.arange(8), classes]

    with torch.no_grad():
        found = guided(generator, classifier, styles, classes, step_size=0.5, prior=0.0)
        assert found.shape == styles.shape
        assert (probability(found) > probability(styles)).all()
    assert all(weight.grad is None for weight in (*generator.parameters(), *classifier.parameters()))
