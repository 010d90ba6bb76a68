"""Pictures side by side under their titles: the sample grids of a run and its before/after picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

LARGEST_CELL_PX = 256
SMALLEST_CELL_PX = 128  # below this a title no longer fits over its column
GAP_PX = 6
TITLE_HEIGHT_PX = 28
FONT_SIZE_PX = 15
BACKGROUND = (255, 255, 255)
TEXT_COLOUR = (32, 35, 42)
BEHIND_TRANSPARENCY = 216  # light gray, so that transparent is not taken for white


def grid(rows: Sequence[Sequence[NDArray[np.uint8]]], column_titles: Sequence[str]) -> NDArray[np.uint8]:
    """Lay out rows of pictures under column titles, on white.

    Args:
        rows: pictures uint8 H×W×C of any sizes, as many in each row as there are titles. One channel is shown
            as gray, two as gray with alpha, three as RGB, four as RGBA, more by their first three.
        column_titles: one a column; a title wider than its column is shortened with "…".

    Returns:
        uint8 H×W×3. Every cell has the size of the largest picture, its longer side brought to 128–256 px.
        Pictures are fitted into their cells: small ones keep their pixels visible, large ones are averaged.

    Raises:
        ValueError: no pictures, a row of another length than the titles, or a picture of another kind.
    """
    if not rows or not column_titles:
        raise ValueError(f"a grid needs pictures and titles, got {len(rows)} rows, {len(column_titles)} titles")
    for index, row in enumerate(rows):
        if len(row) != len(column_titles):
            raise ValueError(f"row {index} has {len(row)} pictures, expected {len(column_titles)}, one a title")
    images = [[_to_rgb(picture) for picture in row] for row in rows]
    cell_width, cell_height = _cell_size([image for row in images for image in row])
    across, down = cell_width + GAP_PX, cell_height + GAP_PX
    size = (GAP_PX + across * len(column_titles), TITLE_HEIGHT_PX + down * len(rows))
    canvas = Image.new("RGB", size, BACKGROUND)
    _draw_titles(canvas, column_titles, cell_width)
    for y, row_of_images in enumerate(images):
        for x, image in enumerate(row_of_images):
            fitted = _fit(image, cell_width, cell_height)
            left = GAP_PX + x * across + (cell_width - fitted.width) // 2
            top = TITLE_HEIGHT_PX + y * down + (cell_height - fitted.height) // 2
            canvas.paste(fitted, (left, top))
    return np.array(canvas)


def save_grid(path: Path, rows: Sequence[Sequence[NDArray[np.uint8]]], column_titles: Sequence[str]) -> None:
    """Write `grid(rows, column_titles)` to `path` as PNG, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid(rows, column_titles)).save(path, format="PNG")


def _to_rgb(picture: NDArray[np.uint8]) -> Image.Image:
    if picture.ndim != 3 or picture.dtype != np.uint8 or picture.size == 0:
        raise ValueError(f"a picture must be uint8 H×W×C, got {picture.dtype} {picture.shape}")
    channels = picture.shape[2]
    if channels in (2, 4):
        colour, alpha = picture[..., :-1].astype(np.float32), picture[..., -1:] / np.float32(255)
        blended = colour * alpha + BEHIND_TRANSPARENCY * (1 - alpha)
        picture = blended.round().astype(np.uint8)
    if picture.shape[2] == 1:
        picture = picture.repeat(3, axis=2)
    return Image.fromarray(np.ascontiguousarray(picture[..., :3]))


def _cell_size(images: Sequence[Image.Image]) -> tuple[int, int]:
    """(width, height) of every cell, in pixels."""
    width, height = max(image.width for image in images), max(image.height for image in images)
    longer = max(width, height)
    scale = min(max(longer, SMALLEST_CELL_PX), LARGEST_CELL_PX) / longer
    return max(1, round(width * scale)), max(1, round(height * scale))


def _fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """The largest version of `image` that fits into width × height with its proportions kept."""
    scale = min(width / image.width, height / image.height)
    if scale == 1:
        return image
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _draw_titles(canvas: Image.Image, titles: Sequence[str], cell_width: int) -> None:
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(FONT_SIZE_PX)
    for x, title in enumerate(titles):
        shown = title
        while len(shown) > 1 and draw.textlength(shown, font) > cell_width:
            shown = shown[:-2].rstrip() + "…"
        centre = GAP_PX + x * (cell_width + GAP_PX) + cell_width // 2
        draw.text((centre, TITLE_HEIGHT_PX // 2), shown, TEXT_COLOUR, font, anchor="mm")
