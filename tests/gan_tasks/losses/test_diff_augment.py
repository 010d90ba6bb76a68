"""Differentiable augmentation: closed forms, gradients, and its use in the adversarial objective."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import adversarial_stage, built, tiny_batch, tiny_task
from torch import Tensor

from gan_tasks.losses.adversarial import d_objective, g_objective
from gan_tasks.losses.diff_augment import DRAWS, Augmentation, augment
from gan_tasks.losses.functional import AdversarialConfig
from gan_tasks.tasks.base import Step

ALL: tuple[Augmentation, ...] = ("colour", "translation", "cutout", "flip", "geometry")

sides = st.integers(1, 40)
draw = st.floats(0, 1, exclude_max=True, width=32)


def images(batch: int, channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.rand(batch, channels, height, width, generator=generator, dtype=torch.float64) * 2 - 1


def draws_of(*, colour: tuple[float, ...] = (0.5, 0.5, 0.5), shift: tuple[float, ...] = (0.5, 0.5)) -> Tensor:
    return torch.tensor([[*colour, *shift, 0.5, 0.5]])


@given(height=sides, width=sides, channels=st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_draws_of_one_half_change_neither_colour_nor_position(height: int, width: int, channels: int) -> None:
    image = images(2, channels, height, width)
    middle = torch.full((2, DRAWS), 0.5)
    torch.testing.assert_close(augment(image, ("colour", "translation", "flip", "geometry"), middle), image)
    assert augment(image, (), middle) is image


@given(height=sides, width=sides, y=draw, x=draw)
@settings(deadline=None, max_examples=60)
def test_translation_moves_all_pixels_alike_and_fills_with_grey(height: int, width: int, y: float, x: float) -> None:
    image = images(1, 2, height, width)
    translated = augment(image, ("translation",), draws_of(shift=(y, x)))
    largest = [int(side / 8 + 0.5) for side in (height, width)]
    dy, dx = (int(d * (2 * r + 1)) - r for d, r in zip((y, x), largest, strict=True))
    assert abs(dy) <= largest[0] and abs(dx) <= largest[1]
    for row in range(height):
        for column in range(width):
            inside = 0 <= row + dy < height and 0 <= column + dx < width
            expected = image[0, :, row + dy, column + dx] if inside else torch.zeros(2, dtype=torch.float64)
            assert torch.equal(translated[0, :, row, column], expected)


def test_all_shifts_are_equally_likely() -> None:
    """The shifts of 16 pixels are −2 to 2; a column of ones shows where the image was moved to."""
    batch = 5000
    image = torch.zeros(batch, 1, 1, 16)
    image[..., 8] = 1
    draws = torch.rand(batch, DRAWS, generator=torch.Generator().manual_seed(0))
    columns = augment(image, ("translation",), draws).argmax(dim=-1).flatten()
    counts = torch.bincount(columns, minlength=16)
    assert counts.nonzero().flatten().tolist() == [6, 7, 8, 9, 10]
    assert (counts[6:11] - batch / 5).abs().max() < 4 * (batch * 0.2 * 0.8) ** 0.5


@given(size=st.integers(2, 33), y=draw, x=draw)
@settings(deadline=None, max_examples=40)
def test_cutout_is_a_grey_square_of_half_the_side_centred_in_the_image(size: int, y: float, x: float) -> None:
    covered = augment(torch.ones(1, 1, size, size), ("cutout",), torch.tensor([[0.5] * 5 + [y, x]]))[0, 0] == 0
    rows, columns = covered.any(dim=1), covered.any(dim=0)
    assert torch.equal(covered, rows[:, None] & columns)  # a single rectangle
    side = int(size / 2 + 0.5)
    for lines in (rows, columns):
        found = lines.nonzero().flatten().tolist()
        assert found == list(range(found[0], found[-1] + 1))
        assert side // 2 <= len(found) <= side
        assert len(found) == side or 0 in found or size - 1 in found  # smaller only at the border


def draws_with(place: int, *values: float) -> Tensor:
    draws = torch.full((1, DRAWS), 0.5)
    draws[0, place : place + len(values)] = torch.tensor(values)
    return draws


def test_an_image_is_mirrored_by_the_upper_half_of_the_draws() -> None:
    image = images(1, 2, 4, 5)
    assert torch.equal(augment(image, ("flip",), draws_with(7, 0.51)), image.flip(-1))
    assert torch.equal(augment(image, ("flip",), draws_with(7, 0.49)), image)


@pytest.mark.parametrize(("draw", "quarters"), [(0.75, 1), (0.25, 3), (0.0, 2)])
def test_an_image_is_rotated_about_its_centre(draw: float, quarters: int) -> None:
    image = images(1, 2, 7, 7)
    rotated = augment(image, ("geometry",), draws_with(8, draw))
    candidates = [torch.rot90(image, k, (2, 3)) for k in (quarters, -quarters)]
    assert any(torch.allclose(rotated, each, atol=1e-5) for each in candidates)
    clockwise = augment(image, ("geometry",), draws_with(8, 0.75))
    assert not torch.allclose(clockwise, augment(image, ("geometry",), draws_with(8, 0.25)), atol=1e-2)


def test_an_image_is_scaled_and_surrounded_by_its_reflection() -> None:
    """Bilinear interpolation along a line, written out with numpy; a deviation is 0.2 octaves."""
    line = np.random.default_rng(0).uniform(-1, 1, 9)
    around = np.concatenate([line[:0:-1], line, line[-2::-1]])  # without repeating the border
    image = torch.from_numpy(line).expand(1, 1, 3, 9)
    for deviations in (-3.0, -1.0, 1.5):
        scale = 2 ** (0.2 * deviations)
        share = 0.5 * (1 + math.erf(deviations / 2**0.5))
        found = augment(image, ("geometry",), draws_with(8, 0.5, share))[0, 0, 1]
        expected = np.interp((np.arange(9) - 4) / scale + 4, np.arange(-8, 17), around)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    wide = augment(image, ("geometry",), draws_with(8, 0.5, 0.5, 0.8413447))[0, 0, 1]
    np.testing.assert_allclose(wide, np.interp((np.arange(9) - 4) / 2**0.2 + 4, np.arange(-8, 17), around), atol=1e-4)


def test_only_chosen_images_are_augmented() -> None:
    image, chosen = images(2, 3, 6, 6), torch.tensor([[True, False], [False, True]])
    draws = torch.rand(2, DRAWS, generator=torch.Generator().manual_seed(3))
    found = augment(image, ("colour", "geometry"), draws, chosen)
    torch.testing.assert_close(found[0], augment(image, ("colour",), draws)[0])
    torch.testing.assert_close(found[1], augment(image, ("geometry",), draws)[1])


def test_colour_changes_as_in_the_paper() -> None:
    """Brightness, then saturation relative to the pixel's mean, then contrast relative to the image's mean."""
    image = images(1, 3, 6, 5)
    brighter = augment(image, ("colour",), draws_of(colour=(0.75, 0.5, 0.5)))
    torch.testing.assert_close(brighter, image + 0.25)
    grey = augment(image, ("colour",), draws_of(colour=(0.5, 0, 0.5)))
    torch.testing.assert_close(grey, image.mean(dim=1, keepdim=True).expand_as(image))
    flat = augment(image, ("colour",), draws_of(colour=(0.5, 0.5, 0)))
    torch.testing.assert_close(flat, image.mean() + (image - image.mean()) / 2)


def test_each_image_has_its_own_draws_and_equal_draws_have_equal_effects() -> None:
    image = images(1, 3, 16, 16)
    draws = torch.rand(2, DRAWS, generator=torch.Generator().manual_seed(3))
    both = augment(image.expand(2, -1, -1, -1), ALL, draws)
    for index in range(2):
        torch.testing.assert_close(both[index : index + 1], augment(image, ALL, draws[index : index + 1]))
    assert not torch.equal(both[0], both[1])
    grey = images(1, 1, 16, 16)  # a condition with another number of channels is moved alike
    for kind in ("translation", "cutout"):
        zeros, zeros_of_grey = (augment(one, (kind,), draws[:1])[0, 0] == 0 for one in (image, grey))
        assert torch.equal(zeros, zeros_of_grey)


def test_first_and_second_derivatives_are_right() -> None:
    image = images(2, 2, 5, 4).requires_grad_()
    draws = torch.rand(2, DRAWS, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda x: augment(x, ALL, draws), image)
    assert torch.autograd.gradgradcheck(lambda x: augment(x, ALL, draws).pow(2), image)


class Recorder:
    """A discriminator that records its inputs."""

    def __init__(self) -> None:
        self.inputs: list[tuple[Tensor, ...]] = []

    def __call__(self, *images: Tensor) -> list[list[Tensor]]:
        self.inputs.append(images)
        return [[torch.cat(images, dim=1).mean(dim=1, keepdim=True)]]


def test_condition_and_image_are_augmented_alike_and_real_and_fake_differently(pairs: Path) -> None:
    task = built(tiny_task("pix2pix"))
    config = AdversarialConfig(adversarial="relativistic", r1=1, r2=1, d_augment=ALL)
    real, fake = (images(3, 3, 16, width).float()[..., :16] for width in (16, 17))
    source = real  # equal inputs show whether both are augmented alike

    def run() -> tuple[list[tuple[Tensor, ...]], dict[str, Tensor], Tensor]:
        task.step = Step(7, adversarial_stage(task), torch.Generator().manual_seed(5))
        discriminator = Recorder()
        losses, _ = d_objective(task.step, config, discriminator, real, fake, condition=source)
        g_loss = g_objective(task.step, config, discriminator, real, fake.clone().requires_grad_(), condition=source)
        return discriminator.inputs, losses, g_loss

    inputs, losses, g_loss = run()
    assert len(inputs) == 6  # fake, real, R1's real, R2's fake; then G's real and fake
    (fake_source, _), (real_source, _), (r1_source, _), (r2_source, _), (g_source, _), (g_again, _) = inputs
    assert not torch.equal(fake_source, real_source)
    assert torch.equal(r1_source, real_source) and torch.equal(r2_source, fake_source)
    assert all(torch.equal(*inputs[of_real]) for of_real in (1, 2, 4))
    assert torch.equal(g_source, g_again) and not torch.equal(g_source, fake_source)
    again, same_losses, same_g_loss = run()
    for first, second in zip(inputs, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert losses.keys() == same_losses.keys() and torch.equal(g_loss, same_g_loss)


def test_without_augmentation_no_random_numbers_are_drawn(pairs: Path) -> None:
    task = built(tiny_task("pix2pix"))
    task.step = Step(0, adversarial_stage(task), torch.Generator().manual_seed(5))
    x = tiny_batch(task, pairs)
    before = task.step.generator.get_state()
    task.d_losses(x, {"fake": x.target.clone()})
    assert torch.equal(task.step.generator.get_state(), before)


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_gradients_reach_the_generator_through_the_augmentation(name: str, pairs: Path) -> None:
    task = built(tiny_task(name, "--d-augment", *ALL))
    task.step = Step(0, adversarial_stage(task), torch.Generator().manual_seed(5))
    x = tiny_batch(task, pairs)
    losses = task.g_losses(x, task.generate(x))
    adversarial = sum(loss for key, loss in losses.items() if key.endswith("adversarial"))
    assert isinstance(adversarial, Tensor)
    adversarial.backward()
    assert all(p.grad is not None and (p.ndim == 1 or p.grad.any()) for p in task.generators.parameters())
