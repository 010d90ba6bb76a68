"""Equivariance of generators: whether an image moves as a whole when what it is made from moves.

Karras et al. 2021, appendix E, https://arxiv.org/abs/2106.12423. An image is generated twice: once as it is and then
moved (the target), and once from an input that is moved alike. Of the difference, the PSNR in dB is computed over the
region where the target is known, for values in [-1, 1]. It is pooled over all images.

- EQ-T, eq_t: translation by up to an eighth of the image, by whole pixels.
- EQ-T frac, eq_t_frac: the same by fractions of pixels. The target is interpolated with Lanczos filters.
- EQ-R, eq_r: rotation about the centre by any angle. The target is rotated with a filter that keeps what both grids
  of pixels can represent, and the generated image is filtered in the same way.

StyleGAN3 has an input that can be moved: waves in the plane. The paper measures other generators after it has given
them such an input. Here they are measured as they are: the features of their base, such as StyleGAN2's learned
constants, are continued periodically and translated by their Fourier series. A translation of the image by k of its
n pixels is one of the base's features by k/n of their size. Such generators have no EQ-R.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.stylegan3 import FourierInput

Kind = Literal["eq_t", "eq_t_frac", "eq_r"]
KINDS: tuple[Kind, ...] = ("eq_t", "eq_t_frac", "eq_r")

LARGEST_SHIFT = 1 / 8
"""Largest translation along an axis, as a part of the image."""
LANCZOS = 3
"""Half of the width of Lanczos' window in pixels."""
ROTATION_RADIUS = 2 * LANCZOS
"""Radius of the filter of a rotation in pixels: it is a convolution of two windows."""
FINENESS = 4
"""Samples per pixel of the image that a rotation interpolates linearly."""


@torch.no_grad()
def equivariance(
    generator: SynthesisGenerator,
    kinds: Sequence[Kind] = ("eq_t", "eq_t_frac"),
    *,
    images: int = 1000,
    batch_size: int = 4,
    seed: int = 0,
) -> dict[Kind, float]:
    """Return the equivariances of a generator in dB, higher is better; inf for a perfect one.

    kinds: which of them, see above.
    images: number of images, of latents from `seed` and, for a generator with classes, random labels. All images of a
        batch move alike, and those of each batch in another way. The paper takes 50,000.

    The generator should be in eval mode. It is left as it was.

    Raises UserError for EQ-R of a generator whose input cannot be rotated, and for images that are too small.
    """
    if "eq_r" in kinds and not isinstance(generator.base, FourierInput):
        raise UserError("EQ-R needs a generator whose input can be rotated, such as StyleGAN3: leave eq_r out")
    least = 4 * ROTATION_RADIUS if "eq_r" in kinds else 2 * LANCZOS + 2
    if min(generator.output_size) < least:
        raise UserError(
            f"the images have {generator.output_size[0]}×{generator.output_size[1]} pixels: equivariance needs "
            f"{least} or more along each side"
        )
    random = torch.Generator().manual_seed(seed)
    device = next(generator.parameters()).device
    errors, pixels = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0.0)
    for start in range(0, images, batch_size):
        count = min(batch_size, images - start)
        latent = torch.randn(count, generator.latent, generator=random).to(device)
        label = None
        if generator.classes:
            classes = torch.randint(generator.classes, (count,), generator=random)
            label = functional.one_hot(classes, generator.classes).float().to(device)
        styles = generator.styles(latent, label)
        with moved(generator, torch.eye(3)):
            image = generator.synthesize(styles).float()
        for kind in kinds:
            error, known = difference(generator, styles, image, kind, random)
            errors[kind] += float((error.double() * known).sum())
            pixels[kind] += float(known.expand_as(error).sum())
    return {kind: psnr_db(errors[kind] / pixels[kind]) for kind in kinds}


def psnr_db(mean_square: float) -> float:
    """Return the PSNR in dB of values in [-1, 1]."""
    return 10 * math.log10(2**2 / mean_square) if mean_square else math.inf


def difference(
    generator: SynthesisGenerator, styles: Tensor, image: Tensor, kind: Kind, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Move the image and its input by a random amount. Return the squared difference N×C×H×W and where it counts."""
    height, width = generator.output_size
    if kind == "eq_r":
        angle = float((torch.rand((), generator=random) * 2 - 1) * math.pi)
        with moved(generator, rotation_matrix(-angle)):
            made = generator.synthesize(styles).float()
        target, known = rotated(image, angle)
        made, comparable = filtered_as_rotated(made, angle)
        return (made - target).square(), known * comparable
    limits = torch.tensor([width, height]) * LARGEST_SHIFT
    shift_px = (torch.rand(2, generator=random) * 2 - 1) * limits
    if kind == "eq_t":
        shift_px = shift_px.round()
    x, y = shift_px.tolist()
    inverse = torch.eye(3)
    inverse[:2, 2] = -shift_px / max(height, width)
    with moved(generator, inverse):
        made = generator.synthesize(styles).float()
    target, known = translated(image, x, y) if kind == "eq_t" else interpolated(image, x, y)
    return (made - target).square(), known


@contextmanager
def moved(generator: SynthesisGenerator, inverse: Tensor) -> Iterator[None]:
    """Let a generator make images that are moved, if its input can do so.

    inverse: the inverse of the motion, 3×3, in longer sides of the image from its centre, x to the right and y down.
    """
    base = generator.base
    if isinstance(base, FourierInput):
        before = base.transform.clone()
        base.transform.copy_(inverse)
        try:
            yield
        finally:
            base.transform.copy_(before)
        return
    height, width = generator.output_size
    parts = -inverse[:2, 2] * max(height, width) / torch.tensor([width, height])

    def translate(module: Any, inputs: Any, features: Tensor) -> Tensor:
        return periodically_translated(features, *parts.tolist())

    handle = base.register_forward_hook(translate)
    try:
        yield
    finally:
        handle.remove()


def periodically_translated(x: Tensor, right: float, down: float) -> Tensor:
    """Translate features N×C×H×W, continued periodically, by parts of their size; by whole steps it is a roll."""
    height, width = x.shape[-2:]
    frequencies_y = torch.fft.fftfreq(height, 1 / height, device=x.device)
    frequencies_x = torch.fft.rfftfreq(width, 1 / width, device=x.device)
    phases = -2 * math.pi * (frequencies_x * right + frequencies_y[:, None] * down)
    spectrum = torch.fft.rfft2(x.float()) * torch.polar(torch.ones_like(phases), phases)
    moved: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
    return moved.to(x.dtype)


def translated(image: Tensor, right_px: float, down_px: float) -> tuple[Tensor, Tensor]:
    """Translate images by whole pixels. Return them, and 1 where they are known, 1×1×H×W."""
    shifts = (round(down_px), round(right_px))
    return image.roll(shifts, (-2, -1)), known_pixels(image, [(shift, 0) for shift in shifts])


def interpolated(image: Tensor, right_px: float, down_px: float) -> tuple[Tensor, Tensor]:
    """Translate images by fractions of pixels with Lanczos filters. Return them, and 1 where they are known."""
    reached = []
    for axis, shift in ((-2, down_px), (-1, right_px)):
        whole = math.floor(shift)
        taps = torch.arange(-LANCZOS + 1, LANCZOS + 1)  # of the pixels around a place between 0 and 1
        distances = taps - (shift - whole)
        weights = torch.sinc(distances) * torch.sinc(distances / LANCZOS)
        weights = weights / weights.sum()
        pixels = (image.roll(whole + int(tap), axis) * weight for tap, weight in zip(taps, weights, strict=True))
        image = torch.stack(list(pixels)).sum(0)
        reached.append((whole, LANCZOS))
    return image, known_pixels(image, reached)


def known_pixels(image: Tensor, reached: Sequence[tuple[int, int]]) -> Tensor:
    """Return 1×1×H×W of 1 where a shifted image is known.

    reached: for both axes, by how many pixels it is shifted, and how many pixels more a filter reaches.
    """
    known = torch.zeros_like(image[:1, :1])
    (down, above), (right, beside) = reached
    height, width = image.shape[-2:]
    rows = slice(max(0, down + above), height + min(0, down - max(0, above - 1)))
    columns = slice(max(0, right + beside), width + min(0, right - max(0, beside - 1)))
    known[..., rows, columns] = 1
    return known


def rotation_matrix(angle: float) -> Tensor:
    """Return the matrix 3×3 of a rotation by an angle in radians; counter-clockwise, as y points down."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def rotated(image: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Rotate images about their centre, without aliasing. Return them, and 1 where they are known, 1×1×H×W."""
    height, width = image.shape[-2:]
    kernel = rotation_filter(angle, FINENESS).to(image)
    fine = filtered(image, kernel, FINENESS)
    ys, xs = (torch.arange(length) - (length - 1) / 2 for length in (height, width))
    places = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=2) @ rotation_matrix(-angle)[:2, :2].T
    reach = torch.tensor([width - 1, height - 1]) / 2 - ROTATION_RADIUS
    known = (places.abs() <= reach).all(2).to(image)[None, None]
    # In pixels of the fine image from its centre, which is that of the image but for the pixels after its last one.
    last = torch.tensor([fine.shape[-1] - 1, fine.shape[-2] - 1])
    indices = (places + torch.tensor([width - 1, height - 1]) / 2) * FINENESS
    grid = (2 * indices / last - 1).to(image)[None].expand(len(image), -1, -1, -1)
    return functional.grid_sample(fine, grid, mode="bilinear", align_corners=True), known


def filtered_as_rotated(image: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Filter images as if they had been rotated by an angle to where they are. Return them, and where it counts."""
    kernel = rotation_filter(-angle, 1).to(image)
    known = torch.zeros_like(image[:1, :1])
    inner = slice(ROTATION_RADIUS - 1, 1 - ROTATION_RADIUS)
    known[..., inner, inner] = 1
    return filtered(image, kernel, 1), known


def filtered(image: Tensor, kernel: Tensor, fineness: int) -> Tensor:
    """Filter images N×C×H×W with a kernel of `fineness` samples a pixel, to N×C×(fineness·H)×(fineness·W)."""
    channels, (height, width) = image.shape[1], image.shape[-2:]
    fine = image.new_zeros(*image.shape[:2], height * fineness, width * fineness)
    fine[..., ::fineness, ::fineness] = image
    each = kernel.expand(channels, 1, *kernel.shape)
    return functional.conv2d(fine, each, padding=kernel.shape[-1] // 2, groups=channels)


def rotation_filter(angle: float, fineness: int) -> Tensor:
    """Return the filter of a rotation by an angle: it lets through what the grids before and after can represent.

    It is the convolution of the sincs of both grids, times the convolution of Lanczos' windows along both. Its radius
    is just below ROTATION_RADIUS, with `fineness` samples a pixel. Its samples at each place within a pixel add up to
    1, so that a plain area keeps its value.
    """
    reach = 64 * fineness  # in samples: where the sincs are cut
    taps = torch.arange(-reach, reach, dtype=torch.float64) / fineness
    x, y = torch.meshgrid(taps, taps, indexing="xy")
    cosine, sine = math.cos(angle), math.sin(angle)
    turned_x, turned_y = x * cosine + y * sine, y * cosine - x * sine

    def window(x: Tensor) -> Tensor:
        return torch.where(x.abs() < LANCZOS, torch.sinc(x / LANCZOS), 0)

    sincs = convolved(torch.sinc(x) * torch.sinc(y), torch.sinc(turned_x) * torch.sinc(turned_y))
    windows = convolved(window(x) * window(y), window(turned_x) * window(turned_y))
    radius = ROTATION_RADIUS * fineness
    middle = slice(reach - radius, reach + radius)
    kernel = (sincs * windows)[middle, middle]
    kernel[0], kernel[:, 0] = 0, 0  # symmetric around its centre
    phases = kernel.unflatten(1, (-1, fineness)).unflatten(0, (-1, fineness))
    kernel = (phases / phases.sum((0, 2), keepdim=True)).flatten(0, 1).flatten(1, 2)
    whole: Tensor = kernel[1:, 1:]
    return whole.float()


def convolved(one: Tensor, other: Tensor) -> Tensor:
    """Return the circular convolution of two square signals, both centred in the middle."""
    product = torch.fft.rfft2(torch.fft.ifftshift(one)) * torch.fft.rfft2(torch.fft.ifftshift(other))
    centred: Tensor = torch.fft.fftshift(torch.fft.irfft2(product, s=one.shape))
    return centred
