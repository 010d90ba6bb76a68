"""Drawings that models of translation are shown on, made by a program: labels of a facade, and edges of a shoe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images import Pixels

SIDE_PX = 256
BACKGROUND, WALL, WINDOW, DOOR = (0, 0, 221), (0, 48, 255), (0, 128, 255), (40, 220, 255)
CORNICE, SILL, BALCONY = (255, 80, 0), (110, 255, 175), (255, 0, 0)
"""Colours of the labels in the CMP Facade Database."""


def facade(rng: np.random.Generator) -> Pixels:
    """Draw the labels of a facade, 256×256×3."""
    image = np.empty((SIDE_PX, SIDE_PX, 3), np.uint8)
    image[:] = BACKGROUND
    left, right, top = int(rng.integers(8, 40)), int(rng.integers(216, 250)), int(rng.integers(14, 40))
    image[top:, left:right] = WALL
    storeys, columns = int(rng.integers(3, 6)), int(rng.integers(3, 7))
    height, width = (SIDE_PX - top) // storeys, (right - left) // columns
    image[top : top + 8, left:right] = CORNICE
    has_balconies = rng.random() < 0.5
    for storey in range(storeys):
        y = top + storey * height
        if storey:
            image[y : y + 5, left:right] = CORNICE
        for column in range(columns):
            x = left + column * width
            a, b = y + height // 4, y + height * 4 // 5
            inner = slice(x + width // 4, x + width * 3 // 4)
            if storey == storeys - 1 and column == columns // 2:
                image[a:SIDE_PX, inner] = DOOR
                continue
            image[a:b, inner] = WINDOW
            image[b : b + 3, inner] = SILL
            if has_balconies and 0 < storey < storeys - 1:
                image[b - height // 5 : b + 3, x + width // 6 : x + width * 5 // 6] = BALCONY
    return image


def shoe(rng: np.random.Generator) -> Pixels:
    """Draw the edges of a shoe from the side, black on white, 256×256×3. The toe is on the left."""
    import cv2

    image = np.full((SIDE_PX, SIDE_PX, 3), 255, np.uint8)
    ankle, heel, sole = rng.uniform(70, 110), rng.uniform(0, 10), rng.uniform(160, 172)
    outline = [
        *((22, sole), (26, sole - 22), (50, sole - 36), (88, sole - 48), (128, ankle + 18), (152, ankle)),
        *((190, ankle + 6), (214, ankle - 2), (226, ankle + 30), (230, sole - 20), (232, sole)),
    ]
    underside = [(232, sole + 14 + heel), (180, sole + 14 + heel), (150, sole + 14), (40, sole + 14), (22, sole)]
    lines = [
        [*outline, *underside],
        [(22, sole), (80, sole + 2), (150, sole - 2), (232, sole)],
        [(152, ankle), (170, ankle + 16), (190, ankle + 6)],
        [(88, sole - 48), (100, sole - 20), (92, sole)],
        *(
            [(100 + 14 * k, sole - 46 - 9 * k), (116 + 14 * k, sole - 38 - 9 * k)]
            for k in range(int(rng.integers(2, 5)))
        ),
    ]
    for points in lines:
        cv2.polylines(image, [np.rint(rounded(points)).astype(np.int32)], False, (0, 0, 0), 1, cv2.LINE_AA)
    return image


def rounded(points: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """Cut the corners of a line three times (Chaikin 1974); its ends stay."""
    line = np.asarray(points, np.float64)
    for _ in range(3):
        first, second = line[:-1], line[1:]
        cut = np.stack([0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second], axis=1).reshape(-1, 2)
        line = np.concatenate([line[:1], cut, line[-1:]])
    return line
