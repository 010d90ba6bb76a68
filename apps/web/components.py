"""Small parts that the pages share."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from gan_tasks.apps.web.served_models import ServedModel, Tab, direction_label
from gan_tasks.spec import InputSpec, ModelSpec

if TYPE_CHECKING:
    import gradio as gr

FORMATS = {"PNG": ".png", "TIFF": ".tif", "WebP": ".webp"}
"""Formats that keep transparency and the mark that a model made the image."""


def direction_choice(tab: Tab) -> gr.Radio | None:
    """A choice between the directions of a tab, by their keys; nothing where there is one."""
    import gradio as gr

    if len(tab.models) == 1:
        return None
    choices = [(direction_label(served.model), served.key) for served in tab.models]
    return gr.Radio(choices, value=tab.models[0].key, label="Direction", elem_classes="direction")


def run_button(text: str = "Run") -> gr.Button:
    import gradio as gr

    return gr.Button(text, variant="primary", elem_classes="run")


def example_buttons(tab: Tab) -> list[gr.Button]:
    """One for each example that all models of the tab have."""
    import gradio as gr

    count = min(len(served.examples) for served in tab.models)
    with gr.Row(visible=count > 0):  # an empty one would leave a gap
        return [gr.Button(f"Try test pattern {number}", size="sm") for number in range(1, count + 1)]


def settings() -> gr.Radio:
    """Add the settings; returns the one that holds the suffix of the download."""
    import gradio as gr

    with gr.Accordion("Settings", open=False):
        return gr.Radio(
            list(FORMATS.items()),
            value=".png",
            label="Format of the download",
            info="PNG and TIFF keep 16 bits; WebP is smaller, with some loss.",
        )


def about(tab: Tab) -> None:
    """Add what is known of the tab's models."""
    import gradio as gr

    with gr.Accordion("About this model", open=False):
        gr.HTML("".join(description_list(known_of(served), "how") for served in tab.models), container=False)


def known_of(served: ServedModel) -> dict[str, str]:
    model = served.model
    entries = {"Direction": direction_label(model)} if served.spec.direction else {}
    entries |= {"Task": served.spec.task, "Model": model.title, "File": served.path.name, "Provider": model.runs_on}
    entries |= {"Licence": model.licence, "Training data": model.training_data}
    stated = {term: text or "not stated" for term, text in entries.items()}
    return stated | {"HTTP": f"POST /api/{served.key}/run with {form_parts(served.spec)} in a multipart form"}


def form_parts(spec: ModelSpec) -> str:
    """The parts of a form that runs a model, such as: the file `image` and the field `label`."""

    def part(given: InputSpec) -> str:
        return f"the {'file' if given.is_spatial else 'field'} `{given.name}`" + (
            " (optional)" if given.optional else ""
        )

    option = {"upscale": ["the field `scale` (optional)"], "stylize": ["the field `preserve_colour` (optional)"]}
    *parts, last = [*map(part, spec.inputs), *option.get(spec.use, [])]
    return f"{', '.join(parts)} and {last}" if parts else last


def description_list(entries: dict[str, str], css_class: str) -> str:
    rows = "".join(f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in entries.items())
    return f'<dl class="{css_class}">{rows}</dl>'
