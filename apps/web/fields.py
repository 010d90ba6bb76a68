"""The part of a page that holds a model's inputs: one field for each, by its kind."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.predictor import Source
from gan_tasks.spec import InputKind, InputSpec

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components.base import Component

CANVAS = (256, 256)
"""Width and height of a new drawing, px: the size that most models of translation are trained at."""
PALETTE = (
    *("#000000", "#ffffff"),  # lines on paper
    *("#0000aa", "#0000ff", "#0055ff", "#00aaff", "#00ffff", "#55ffaa"),  # the classes of CMP facades, the map of
    *("#aaff55", "#ffff00", "#ffaa00", "#ff5500", "#ff0000", "#aa0000"),  # labels that pix2pix is best known for
)
MOVED_VALUES = 8
"""Values of a latent that have a slider."""
LARGEST_SHIFT = 3.0
"""By which a slider moves its value, in standard deviations."""
LARGEST_SEED = 2**31 - 1
LARGEST_RANDOM_SEED = 999_999

Values = dict[Any, Any]
"""What components hold, or are to."""


@dataclass(frozen=True)
class Field:
    """What a person gives for one input of a model.

    name: of the input.
    components: what its value is read from.
    source: the value, encoded; None while there is none. Raises UserError for one that does not fit.
    title: what a person calls it, such as a file's name; names the result.
    random: for a latent, the button that draws a seed, and the seed's component.
    """

    name: str
    components: Sequence[Component]
    source: Callable[[Values], Source | None]
    title: Callable[[Values], str]
    random: tuple[gr.Button, gr.Number] | None = None


def input_field(given: InputSpec) -> Field:
    """Add the field for an input to the Gradio blocks that are open."""
    return FIELDS[given.kind](given)


def input_label(given: InputSpec) -> str:
    """What the page calls an input."""
    name = given.name.replace("_", " ").capitalize()
    return f"{name} (optional)" if given.optional else name


# Gradio decodes an upload before it asks how large the image is. These components hand over what came, undecoded;
# `datasets.images.read` checks it. They are not classes of their own because Gradio writes a stub beside the source
# file of every component class. No event may update them: Gradio would put new ones of its own kind in their place.


def upload(label: str, *, height: int = 384) -> Component:
    """A component that gives the path of what was uploaded or pasted."""
    import gradio as gr

    image = gr.Image(
        label=label, sources=["upload", "clipboard"], type="filepath", image_mode=None, height=height, buttons=[]
    )
    image.preprocess = uploaded_path  # type: ignore[method-assign, assignment]
    return image


def uploaded_path(payload: Any) -> Path | None:
    """Of Gradio's FileData, whose path it has found to be in its own folder of uploads."""
    return Path(payload.path) if payload is not None and payload.path else None


def file_field(given: InputSpec) -> Field:
    """An image or a mask, from a file."""
    component = upload(input_label(given), height=384 if given.kind == "image" else 160)

    def title(values: Values) -> str:
        path: Path | None = values[component]
        return "" if path is None else path.name

    return Field(given.name, (component,), lambda values: values[component], title)


def drawing_field(given: InputSpec) -> Field:
    """An image, from a drawing."""
    component = drawing()
    return Field(given.name, (component,), lambda values: values[component], lambda _: "drawing.png")


def drawing() -> Component:
    """A component that gives the path of the drawing, flattened. As `upload`, undecoded."""
    import gradio as gr

    editor = gr.ImageEditor(
        label="Drawing",
        sources=["upload", "clipboard"],
        canvas_size=CANVAS,
        brush=gr.Brush(default_size=6, colors=list(PALETTE), default_color="#0000ff"),
        placeholder="Draw here,\nor upload an image\nto draw on",
        layers=gr.LayerOptions(disabled=True),
        transforms=[],
        format="png",
        height=480,
    )

    def flattened(payload: Any) -> Path | None:
        return None if payload is None else uploaded_path(payload.composite)

    editor.preprocess = flattened  # type: ignore[method-assign, assignment]
    return editor


def label_field(given: InputSpec) -> Field:
    """A class, by its name, or its number if it has none."""
    component = class_choice(given)
    return Field(
        given.name,
        (component,),
        lambda values: str(values[component]).encode(),
        lambda values: f"class-{values[component]}",
    )


def class_choice(given: InputSpec, label: str = "") -> gr.Dropdown:
    """A choice of a class, which holds its number. label: by default the name of the input."""
    import gradio as gr

    names = given.names or [f"Class {number}" for number in range(given.channels)]
    choices = [(name, number) for number, name in enumerate(names)]
    return gr.Dropdown(choices, value=0, label=label or input_label(given), filterable=len(choices) > 20)


def seed_input(label: str = "Seed", value: int = 0) -> gr.Number:
    import gradio as gr

    return gr.Number(value, label=label, precision=0, minimum=0, maximum=LARGEST_SEED, min_width=120)


def latent_field(given: InputSpec) -> Field:
    """A latent by its seed, of which sliders move the first values."""
    import gradio as gr

    with gr.Row(equal_height=True, elem_classes="seed"):
        seed = seed_input()
        random = gr.Button("Random seed", min_width=120)
    count = min(MOVED_VALUES, given.channels)
    with gr.Accordion(f"Move the first {count} of {given.channels} values", open=False, elem_classes="latent"):
        gr.HTML('<p class="hint">At 0 all values are those of the seed.</p>', container=False)
        sliders = [
            gr.Slider(-LARGEST_SHIFT, LARGEST_SHIFT, 0, step=0.05, label=f"Value {number}")
            for number in range(1, count + 1)
        ]
        reset = gr.Button("Back to the seed", size="sm")
    reset.click(lambda: dict.fromkeys(sliders, 0), None, sliders, show_progress="hidden", api_visibility="private")

    def source(values: Values) -> bytes:
        chosen = checked_seed(values[seed])
        shifts = [float(values[slider]) for slider in sliders]
        if not any(shifts):
            return str(chosen).encode()
        latent = draw_latent(chosen, given.channels)
        latent[:count] += shifts
        return json.dumps(latent.tolist()).encode()

    def title(values: Values) -> str:
        moved = "-moved" if any(values[slider] for slider in sliders) else ""
        return f"seed-{values[seed]}{moved}"

    return Field(given.name, (seed, *sliders), source, title, random=(random, seed))


def weight_field(given: InputSpec) -> Field:
    """A weight of one value, by a slider; of several, the same for all."""
    import gradio as gr

    component = gr.Slider(0, 1, 1, step=0.05, label=given.name.replace("_", " ").capitalize())
    return Field(
        given.name,
        (component,),
        lambda values: json.dumps([values[component]] * given.channels).encode(),
        lambda values: f"{given.name}-{values[component]}",
    )


def checked_seed(value: Any) -> int:
    """Raises UserError where the field holds no seed."""
    if not isinstance(value, int) or not 0 <= value <= LARGEST_SEED:
        came = "There is no seed" if value is None else f"The seed is {value}"
        raise UserError(f"{came}: give a whole number from 0 to {LARGEST_SEED:,}.")
    return value


def random_buttons(fields: Sequence[Field]) -> list[gr.Button]:
    """The buttons that draw a seed."""
    return [field.random[0] for field in fields if field.random is not None]


def random_seed() -> int:
    """A seed that people can read and type."""
    return secrets.randbelow(LARGEST_RANDOM_SEED + 1)


FIELDS: dict[InputKind, Callable[[InputSpec], Field]] = {
    "image": file_field,
    "mask": file_field,
    "latent": latent_field,
    "label": label_field,
    "weight": weight_field,
}
