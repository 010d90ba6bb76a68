"""Damage of old photographs, drawn and painted onto good ones: scratches, folds, dust, stains and torn-off patches.

Each piece of damage is a map of its opacity, H×W from 0 to 1, and a colour. The amount depends on the area: numbers
of pieces are for AREA_PX pixels. Sizes are in pixels, whatever the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import hypot
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.masks.draw import fill_blob, wandering_line

Bytes = NDArray[np.uint8]
"""H×W×3."""
Opacity = NDArray[np.float32]
"""H×W from 0 to 1."""

AREA_PX = 128 * 128
"""Number of pixels that the numbers of pieces are for."""
LARGEST_AREA = 16.0
"""Largest area, in units of AREA_PX, that is counted: otherwise a large photograph would take minutes."""
VISIBLE_LEVELS = 4
"""A pixel is damaged if one of its channels has changed by more than this many levels of 255."""


class Piece(NamedTuple):
    """A piece of damage."""

    opacity: Opacity
    colour: NDArray[np.float32]
    """R, G and B in levels of 255."""


def degrade(
    pixels: Bytes, rng: np.random.Generator, kinds: Sequence[Kind] | None = None
) -> tuple[Bytes, NDArray[np.bool_]]:
    """Damage H×W×3 at random. Return it, and the mask H×W, True where the damage is visible.

    Damage of a gray photograph is gray, as in a gray scan.

    kinds: of damage; all KINDS by default.
    """
    height, width = pixels.shape[:2]
    is_gray = bool((pixels[..., :1] == pixels).all())
    image = pixels.astype(np.float32)
    for opacity, colour in pieces(rng, height, width, kinds or KINDS):
        shade = colour.mean() if is_gray else colour
        there = opacity > 0  # few pixels
        image[there] += opacity[there, None] * (shade - image[there])
    damaged = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    changed = np.abs(damaged.astype(np.int16) - pixels).max(axis=2)
    return damaged, changed > VISIBLE_LEVELS


def with_grain(pixels: Bytes, rng: np.random.Generator) -> Bytes:
    """Add film grain to half of the photographs: gray noise with a standard deviation of up to 12 of 255."""
    if rng.random() < 0.5:
        return pixels
    grain = rng.uniform(1, 12) * rng.standard_normal((*pixels.shape[:2], 1), np.float32)
    return np.clip(np.rint(pixels + grain), 0, 255).astype(np.uint8)


def pieces(rng: np.random.Generator, height: int, width: int, kinds: Sequence[Kind]) -> Iterator[Piece]:
    """Draw the pieces of a photograph: a random number of each kind, and at least one piece."""
    area = min(height * width / AREA_PX, LARGEST_AREA)
    count = 0
    for draw, mean in kinds:
        for _ in range(rng.poisson(mean * rng.uniform(0, 2) * (area if draw is not fold else area**0.5))):
            count += 1
            yield draw(rng, height, width)
    if not count:
        yield max(kinds, key=lambda kind: kind.mean).draw(rng, height, width)


def stain(rng: np.random.Generator, height: int, width: int) -> Piece:
    """A blot with soft edges, often faint: of water, glue or ink, or a place that has faded."""
    canvas = blob(rng, height, width, np.exp(rng.uniform(np.log(4), np.log(40))), roughness=0.6)
    soft = blurred(canvas, np.exp(rng.uniform(np.log(0.7), np.log(8))))
    if rng.random() < 0.4:  # a dried drop is darker at its edge
        soft = np.clip(soft - rng.uniform(0.4, 0.8) * blurred(canvas, rng.uniform(4, 10)), 0, 1)
    opacity = rng.uniform(0.15, 0.9) * uneven(rng, soft, rng.uniform(0, 0.6))
    return Piece(opacity, colour_of(rng, white=0.3, dark=0.25))


def patch(rng: np.random.Generator, height: int, width: int) -> Piece:
    """A place where the surface is torn off, down to the paper."""
    canvas = blob(rng, height, width, np.exp(rng.uniform(np.log(2), np.log(14))), roughness=1.2)
    opacity = rng.uniform(0.85, 1) * blurred(canvas, rng.uniform(0.4, 0.8))
    return Piece(opacity, colour_of(rng, white=0.8, dark=0.1))


def fold(rng: np.random.Generator, height: int, width: int) -> Piece:
    """A fold across the whole photograph, along which the surface has cracked off in flakes."""
    length = 2 * hypot(height, width)
    canvas = line(rng, height, width, length, thickness=int(rng.integers(2, 9)), is_straight=True)
    noise = blurred(rng.standard_normal((height, width), np.float32), rng.uniform(0.7, 1.8))
    flakes = noise > rng.normal(0, 0.8) * noise.std()
    thin = line_of(canvas)
    cracked = np.maximum(blurred(canvas, 0.6) * flakes, blurred(thin, 0.5) * rng.uniform(0.4, 1))
    shade = rng.uniform(0, 0.3) * blurred(canvas, rng.uniform(2, 6))
    return Piece(np.clip(rng.uniform(0.6, 1) * cracked + shade, 0, 1), colour_of(rng, white=0.85, dark=0.1))


def scratch(rng: np.random.Generator, height: int, width: int) -> Piece:
    """A thin line, straight or slightly curved, whose opacity varies along it."""
    length = hypot(height, width) * rng.uniform(0.15, 1.2)
    thickness = int(rng.choice((1, 2, 3, 5), p=(0.5, 0.3, 0.14, 0.06)))
    canvas = line(rng, height, width, length, thickness=thickness, is_straight=rng.random() < 0.4)
    soft = blurred(canvas, rng.uniform(0.3, 0.8))
    return Piece(rng.uniform(0.35, 1) * uneven(rng, soft, rng.uniform(0, 1)), colour_of(rng, white=0.7, dark=0.28))


def specks(rng: np.random.Generator, height: int, width: int) -> Piece:
    """Grains of dust of one colour, or a hair."""
    import cv2

    colour = colour_of(rng, white=0.65, dark=0.33)
    if rng.random() < 0.2:
        hair = line(rng, height, width, rng.uniform(6, 40), thickness=1, is_straight=False)
        return Piece(rng.uniform(0.5, 1) * hair, colour)
    canvas = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(1, 6)):
        centre = int(rng.integers(width)), int(rng.integers(height))
        axes = int(rng.integers(0, 4)), int(rng.integers(0, 3))
        cv2.ellipse(canvas, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, cv2.FILLED)
    return Piece(rng.uniform(0.5, 1) * blurred(canvas, rng.uniform(0.3, 0.9)), colour)


class Kind(NamedTuple):
    """A kind of damage."""

    draw: Callable[[np.random.Generator, int, int], Piece]
    """Draws a piece for a height and a width in px."""
    mean: float
    """Mean number of pieces for AREA_PX pixels."""


KINDS = (Kind(stain, 0.6), Kind(patch, 0.3), Kind(fold, 0.4), Kind(scratch, 2.5), Kind(specks, 2.5))
"""In the order in which they are painted."""


def blob(rng: np.random.Generator, height: int, width: int, radius: float, *, roughness: float) -> Opacity:
    canvas = np.zeros((height, width), np.uint8)
    fill_blob(canvas, rng, (rng.uniform(0, width), rng.uniform(0, height)), radius, roughness=roughness)
    return canvas.astype(np.float32)


def line(
    rng: np.random.Generator, height: int, width: int, length: float, *, thickness: int, is_straight: bool
) -> NDArray[np.float32]:
    """Draw a line through a random point, H×W from 0 to 1."""
    import cv2

    canvas = np.zeros((height, width), np.uint8)
    points = wandering_line(rng, height, width, length)
    if is_straight:
        points = points[[0, 10, 20, 30, 39]] if rng.random() < 0.3 else points[[0, 39]]
    cv2.polylines(canvas, [points], False, 255, thickness, cv2.LINE_AA)
    return canvas.astype(np.float32) / np.float32(255)


def line_of(canvas: Opacity) -> Opacity:
    """Return the middle of a drawn line."""
    import cv2

    depth = cv2.distanceTransform((canvas > 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
    return (depth >= max(float(depth.max()) - 0.9, 0.5)).astype(np.float32)


def blurred(image: Opacity, sigma: float) -> Opacity:
    import cv2

    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def uneven(rng: np.random.Generator, opacity: Opacity, amount: float) -> Opacity:
    """Weaken an opacity here and there: by nothing for an amount of 0, to nothing for an amount of 1."""
    import cv2

    height, width = opacity.shape
    rows, columns = (max(2, round(length / rng.uniform(4, 40))) for length in (height, width))
    field = cv2.resize(rng.random((rows, columns), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(opacity * np.clip(1 - amount * (1.6 * field - 0.3), 0, 1), np.float32)


def colour_of(rng: np.random.Generator, *, white: float, dark: float) -> NDArray[np.float32]:
    """Draw a colour: of paper with the probability `white`, of dirt with `dark`, else the brown of a stain."""
    draw = rng.random()
    if draw < white:
        return (rng.uniform(200, 262) - rng.uniform(0, 30) * np.array((0, 0.4, 1))).clip(0, 255).astype(np.float32)
    if draw < white + dark:
        return (rng.uniform(-5, 60) + rng.uniform(-8, 8, 3)).clip(0, 255).astype(np.float32)
    brown = np.array((170, 130, 80)) * rng.uniform(0.5, 1.4)
    return (brown + rng.uniform(-20, 20, 3)).clip(0, 255).astype(np.float32)
