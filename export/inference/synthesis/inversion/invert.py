"""Inversion: find the latent whose image comes nearest to a photograph, by optimisation. Needs torch.

Of networks with a mapping network, a style for each layer is optimised (W+, Abdal et al. 2019,
https://arxiv.org/abs/1904.03189); of others the latent, kept at the length that latents have. The loss is that of the
pixels at several sizes, and the distance of features in a pretrained network if one is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gan_tasks.datasets.images import Pixels, fit_channels, to_float, to_uint8
from gan_tasks.export.inference.synthesis.inputs import batch_size
from gan_tasks.export.inference.synthesis.inversion.feature_distance import FeatureDistance, load_features
from gan_tasks.export.inference.synthesis.inversion.invert_options import InvertConfig
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.inference.synthesis.points import Point
from gan_tasks.export.models.resizing import resized

OnStep = Callable[[int, int, float], None]
"""Called after each step with its number, the number of all, and the PSNR in dB so far."""

SMALLEST_SCALE_PX = 4
DRAWS = 256
"""Latents whose deviation is the unit of the steps."""
SMALL_PX, SMALL_DRAWS, LARGE_DRAWS = 256, 128, 32
"""Longest side of images of which more of the drawn latents are tried as a start, and how many of small and large."""
WARM_UP = 0.05
"""Share of the steps in which the learning rate rises."""
DIFFERENCE_GAIN = 4


@dataclass(frozen=True, eq=False)
class Inversion:
    """The result of an inversion.

    point: the latent or styles.
    target, pixels: what it should become, and its image, H×W×C uint8.
    psnr: how close they are, in dB.
    loss: what was minimised, in words.
    """

    point: Point
    target: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    psnr: float
    loss: str

    def rows(self) -> tuple[list[list[NDArray[np.uint8]]], list[str]]:
        """Return target, result and difference with their titles, as `runs.image_grid.grid` takes them."""
        difference = np.abs(self.target.astype(int) - self.pixels) * DIFFERENCE_GAIN
        row = [self.target, self.pixels, np.clip(difference, 0, 255).astype(np.uint8)]
        return [row], ["target", f"result, {self.psnr:.1f} dB", f"difference x{DIFFERENCE_GAIN}"]


def invert(
    space: LatentSpace,
    image: Pixels,
    config: InvertConfig | None = None,
    *,
    label: int | None = None,
    features: FeatureDistance | None = None,
    on_step: OnStep | None = None,
) -> Inversion:
    """Find the latent whose image comes nearest to an image.

    Args:
        space: of the model.
        image: H×W×C uint8 or uint16 of any size. It is cropped to the shape of the model's images, and resized.
        label: number of the class, for a conditional model.
        features: as `load_features` gives it, if several images are inverted.
        on_step: called after each step.

    Raises UserError if the weights of the features are missing, and for a class that the model does not have.
    """
    config = config or InvertConfig()
    features = features or load_features(config)
    pixels = target_of(space, image)
    device = next(space.generator.parameters()).device
    target = torch.from_numpy(to_float(pixels))[None].to(device)
    features.to(device)
    free = space.free_length
    drawn = space.styles_of_seeds(range(config.seed, config.seed + DRAWS), label)[:, 0]
    mean = space.mean_style(label)
    rest = torch.from_numpy(drawn[:1, free:]).to(device)  # the label behind the latent
    unit, middle = (torch.from_numpy(each[:free]).to(device) for each in (drawn.std(0) + 1e-6, mean))
    tried_first = SMALL_DRAWS if max(pixels.shape) <= SMALL_PX else LARGE_DRAWS
    most = max(1, batch_size(space.model) // 4)  # gradients need the features of all layers
    starts = nearest_starts(space, np.stack([mean, *drawn[:tried_first]]), pixels, min(config.starts, most))
    offsets = (torch.from_numpy(starts[:, None, :free]).to(device) - middle) / unit
    offsets = offsets.repeat(1, space.layer_count, 1).requires_grad_()

    def styles() -> Tensor:
        values = middle + unit * offsets
        return torch.cat([values, rest.expand(*values.shape[:2], -1)], dim=2)

    wanted = features.of(target)

    def losses_of(images: Tensor) -> Tensor:
        return config.pixel * multi_scale(images, target) + config.perceptual * features.distance(images, wanted)

    optimizer = torch.optim.Adam([offsets], lr=config.lr, betas=(0.9, 0.99))
    best_loss, best = math.inf, styles().detach()[0]
    for step in range(config.steps + 1):
        with torch.enable_grad():
            tried = styles()
            images = as_shown(space.render(tried), target)
            losses = losses_of(images) + config.regularisation * unusual(offsets, space.has_mapping)
            total = losses.sum()
        nearest = int(losses.argmin())
        if float(losses[nearest].detach()) < best_loss:
            best_loss, best = float(losses[nearest].detach()), tried.detach()[nearest].clone()
        if step == config.steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = config.lr * rate(step, config.steps)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        if on_step is not None:
            on_step(step + 1, config.steps, psnr_of(images.detach(), target))
    found = best.cpu().numpy()
    result = space.images(found[None])[0]
    error = np.square(result.astype(np.float64) - pixels).mean()
    psnr = 10 * math.log10(255**2 / max(error, 1e-4))
    return Inversion(space.point(found, label), pixels, result, psnr, features.name)


# The start and the schedule.


def nearest_starts(
    space: LatentSpace, styles: NDArray[np.float32], target: NDArray[np.uint8], count: int
) -> NDArray[np.float32]:
    """Return the `count` styles N×D whose images are nearest to the target, the nearest first."""
    errors = list[float]()
    for start in range(0, len(styles), 32):
        images = space.images(np.repeat(styles[start : start + 32, None], space.layer_count, axis=1))
        errors += np.square(images.astype(np.float32) - target).mean((1, 2, 3)).tolist()
    nearest: NDArray[np.float32] = styles[np.argsort(errors, kind="stable")[:count]]
    return nearest


def rate(step: int, steps: int) -> float:
    """Return the share of the learning rate in a step: it rises, and falls along a cosine."""
    rising = min(1.0, (step + 1) / max(1, WARM_UP * steps))
    return rising * 0.5 * (1 + math.cos(math.pi * step / steps))


# What is minimised.


def as_shown(images: Tensor, target: Tensor) -> Tensor:
    """Return images N×C×H×W in which values beyond [-1, 1] equal the target where it is -1 or 1 too.

    There both are shown alike. Elsewhere the values stay, so that their gradients lead back into the range.
    """
    is_same = ((target >= 1) & (images > 1)) | ((target <= -1) & (images < -1))
    return torch.where(is_same, target, images)


def multi_scale(images: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each image N×C×H×W at its size and at halves of it, N."""
    total, count = torch.zeros(len(images), device=images.device), 0
    while True:
        total, count = total + (images - target).square().mean((1, 2, 3)), count + 1
        if min(images.shape[-2:]) < 2 * SMALLEST_SCALE_PX:
            return total / count
        images, target = functional.avg_pool2d(images, 2), functional.avg_pool2d(target, 2)


def unusual(offsets: Tensor, has_mapping: bool) -> Tensor:
    """Return how far styles N×L×D are from the usual ones, in standard deviations; of a latent, its length, N."""
    if has_mapping:
        return offsets.square().mean((1, 2))
    return (offsets.square().mean((1, 2)) - 1).square()  # a normal vector is as long as the root of its dimensions


def target_of(space: LatentSpace, image: Pixels) -> NDArray[np.uint8]:
    """Return an image cropped from its centre to the shape of the model's images, resized, with their channels."""
    height, width = space.generator.output_size
    image = fit_channels(image, space.generator.out_channels)
    rows, columns = image.shape[:2]
    scale = min(rows / height, columns / width)
    used = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (rows - used[0]) // 2, (columns - used[1]) // 2
    part = np.ascontiguousarray(image[top : top + used[0], left : left + used[1]])
    fitting = resized(part, (height, width), "lanczos")
    return fitting if fitting.dtype == np.uint8 else to_uint8(to_float(fitting))


def psnr_of(images: Tensor, target: Tensor) -> float:
    """Return the PSNR in dB of the best image N×C×H×W in [-1, 1]."""
    error = float((images.clamp(-1, 1) - target).square().mean((1, 2, 3)).min())
    return 10 * math.log10(4 / max(error, 1e-8))
