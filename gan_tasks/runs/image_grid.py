"""Grids of images: with column titles, such as the samples of a run, and sheets of images of one kind."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gan_tasks.datasets.images.atomic import replaced

LARGEST_CELL_PX = 256
SMALLEST_CELL_PX = 128  # below this a title no longer fits over its column
GAP_PX = 6
TITLE_HEIGHT_PX = 28
FONT_SIZE_PX = 15
BACKGROUND = (255, 255, 255)
TEXT_COLOUR = (32, 35, 42)
BEHIND_TRANSPARENCY = 216  # light gray, so that transparent pixels differ from white ones


def grid(rows: Sequence[Sequence[NDArray[np.uint8]]], column_titles: Sequence[str]) -> NDArray[np.uint8]:
    """Arrange images in rows with column titles, on a white background.

    Args:
        rows: images uint8 H×W×C of any sizes, in each row as many as there are titles. One channel is shown as gray,
            two as gray with alpha, three as RGB and four as RGBA. Of more channels the first three are shown.
        column_titles: one title per column. A title that is wider than its column is shortened with "…".

    Returns:
        uint8 H×W×3. Every cell has the size of the largest image, scaled to a longer side of 128 to 256 px. Images
        are scaled to fit their cells: by nearest neighbour if they are enlarged, by averaging if they are reduced.

    Raises:
        ValueError: there are no images, the length of a row differs from the number of titles, or an image has
            another shape or type.
    """
    if not rows or not column_titles:
        raise ValueError(f"a grid needs images and titles, got {len(rows)} rows, {len(column_titles)} titles")
    for index, row in enumerate(rows):
        if len(row) != len(column_titles):
            raise ValueError(f"row {index} has {len(row)} images, expected {len(column_titles)}, one per title")
    images = [[_to_rgb(pixels) for pixels in row] for row in rows]
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
    """Write `grid(rows, column_titles)` to `path` as PNG, atomically. Creates the folder if it does not exist."""
    path.parent.mkdir(exist_ok=True)
    with replaced(path) as temporary:
        Image.fromarray(grid(rows, column_titles)).save(temporary, format="PNG")


def sheet(images: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Arrange images of one kind row by row, without titles; places left over in the last row are white.

    Images and result are as for `grid`. Raises ValueError as `grid` does.
    """
    columns = min(columns, len(images)) or 1
    blank = [np.full_like(image, 255) for image in images[:1]]
    filled = [*images, *blank * (-len(images) % columns)]
    rows = [filled[start : start + columns] for start in range(0, len(filled), columns)]
    return grid(rows, [""] * columns)[TITLE_HEIGHT_PX - GAP_PX :]


def _to_rgb(pixels: NDArray[np.uint8]) -> Image.Image:
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(f"an image must be uint8 H×W×C, got {pixels.dtype} {pixels.shape}")
    channels = pixels.shape[2]
    if channels in (2, 4):
        colour, alpha = pixels[..., :-1].astype(np.float32), pixels[..., -1:] / np.float32(255)
        blended = colour * alpha + BEHIND_TRANSPARENCY * (1 - alpha)
        pixels = blended.round().astype(np.uint8)
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3]))


def _cell_size(images: Sequence[Image.Image]) -> tuple[int, int]:
    """Return (width, height) of every cell, in pixels."""
    width, height = max(image.width for image in images), max(image.height for image in images)
    longer = max(width, height)
    scale = min(max(longer, SMALLEST_CELL_PX), LARGEST_CELL_PX) / longer
    return max(1, round(width * scale)), max(1, round(height * scale))


def _fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale `image` to the largest size that fits into width × height with the same aspect ratio."""
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
