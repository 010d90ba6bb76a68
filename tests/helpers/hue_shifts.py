"""Two image domains whose objects differ in hue: from A to B, the hue of discs shifts by +120°, of crosses by −120°.

A translation that shifts all hues alike is wrong for one of the shapes.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images import Picture, write

SIZE, CELL = 32, 16
SHIFTS_DEGREES = {"disc": 120.0, "cross": -120.0}
BASE_DEGREES, SPREAD_DEGREES = 0.0, 15.0


@dataclass(frozen=True)
class Object:
    shape: str
    hue_degrees: float
    """The hue in A."""
    inside: NDArray[np.bool_]


def scene(seed: int, *, shifted: bool) -> tuple[NDArray[np.uint8], list[Object]]:
    """Return an image H×W×3 with objects in two to four of the cells of a grid, and the objects."""
    rng = np.random.default_rng(seed)
    pixels = np.full((SIZE, SIZE, 3), rng.uniform(110, 140))
    cells = [(top, left) for top in range(0, SIZE, CELL) for left in range(0, SIZE, CELL)]
    objects = []
    for cell in rng.permutation(len(cells))[: rng.integers(2, 5)]:
        shape = str(rng.choice(list(SHIFTS_DEGREES)))
        hue = BASE_DEGREES + rng.uniform(-SPREAD_DEGREES, SPREAD_DEGREES)
        inside = drawn(shape, *cells[cell], rng)
        shown = hue + SHIFTS_DEGREES[shape] * shifted
        pixels[inside] = 255 * np.array(colorsys.hsv_to_rgb(shown / 360 % 1, 0.8, 0.85))
        objects.append(Object(shape, hue, inside))
    noisy = pixels + rng.normal(0, 3, pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), objects


def drawn(shape: str, top: int, left: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the mask of a disc or an upright cross at a random place in its cell."""
    radius = rng.uniform(5, 6.5)
    y, x = np.mgrid[:SIZE, :SIZE]
    margin = CELL / 2 - radius
    down = y - (top + CELL / 2 - 0.5 + rng.uniform(-margin, margin))
    right = x - (left + CELL / 2 - 0.5 + rng.uniform(-margin, margin))
    if shape == "disc":
        return np.asarray(down**2 + right**2 <= radius**2)
    arms = np.minimum(abs(down), abs(right)) <= 1.5
    return np.asarray(arms & (np.maximum(abs(down), abs(right)) <= radius))


def write_domains(root: Path, *, count: int) -> Path:
    """Write the folders train/A and train/B, which have no scene in common."""
    for side, shifted, first in (("A", False, 0), ("B", True, count)):
        (root / "train" / side).mkdir(parents=True)
        for index in range(count):
            pixels, _ = scene(first + index, shifted=shifted)
            write(root / "train" / side / f"{index:04d}.png", Picture(pixels))
    return root


def hue_errors(pixels: NDArray[np.uint8], objects: list[Object]) -> list[float]:
    """Return the hue error of each object, in degrees, 0 to 180."""
    errors = []
    for item in objects:
        hue = 360 * colorsys.rgb_to_hsv(*(pixels[item.inside].mean(axis=0) / 255))[0]
        expected = item.hue_degrees + SHIFTS_DEGREES[item.shape]
        errors.append(abs((hue - expected + 180) % 360 - 180))
    return errors
