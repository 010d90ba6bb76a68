"""A grid of images, each of which is a button that chooses its seed."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gan_tasks.datasets.images import Pixels

if TYPE_CHECKING:
    import gradio as gr

MAX_SIDE_PX = 192
"""Larger images are shown smaller in the grid."""
ON_LOAD = """element.addEventListener("click", (event) => {
    const chosen = event.target.closest("[data-seed]");
    if (!chosen) return;
    for (const each of element.querySelectorAll("[data-seed]")) each.ariaPressed = String(each === chosen);
    window.chosenSeed = Number(chosen.dataset.seed);
    trigger("click");
});"""
CHOSEN_SEED = "() => window.chosenSeed"
"""What the `js` of the grid's event returns: the seed of the image that was clicked."""


def grid_output() -> gr.HTML:
    import gradio as gr

    return gr.HTML(js_on_load=ON_LOAD, container=False, visible=False)


def grid_html(seeds: Sequence[int], images: Sequence[Pixels]) -> str:
    """The images as buttons."""
    buttons = "".join(
        f'<button type="button" data-seed="{seed}" aria-pressed="false" aria-label="Seed {seed}">'
        f'<img src="{data_url(image)}" alt=""><span>{seed}</span></button>'
        for seed, image in zip(seeds, images, strict=True)
    )
    return f'<div class="seeds" role="group" aria-label="Seeds {seeds[0]} to {seeds[-1]}">{buttons}</div>'


def data_url(pixels: Pixels) -> str:
    """An image of 8 bits in an address, reduced to MAX_SIDE_PX."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
