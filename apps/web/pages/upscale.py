"""The page of the models that enlarge: which of them, and how large the result is to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gan_tasks.apps.web import components as workbench
from gan_tasks.apps.web.components import Workbench
from gan_tasks.apps.web.job_queue import Service, Tab

if TYPE_CHECKING:
    import gradio as gr

SCALES = (2, 3, 4)
"""To choose from beside the model's own."""


def build(service: Service, tab: Tab) -> None:
    """Add the page of one tab to the Gradio blocks that are open."""
    import gradio as gr

    with gr.Row(elem_classes="bench"):
        with gr.Column():
            model = model_choice(tab)
            picture = workbench.picture_input()
            scale = scale_choice(tab)
            run = workbench.run_button("Enlarge")
            examples = workbench.example_buttons(tab)
            suffix = workbench.settings()
        with gr.Column():
            outputs = workbench.build_outputs()
    workbench.about(tab)

    bench = Workbench(service, tab, suffix, outputs, [run, *examples], model, scale)
    bench.run_source(run, picture)
    bench.run_examples(examples)


def model_choice(tab: Tab) -> gr.Dropdown | None:
    """A choice between the models of a tab, by their keys; nothing where there is one."""
    import gradio as gr

    if len(tab.ways) == 1:
        return None
    titles = [way.model.title for way in tab.ways]
    names = titles if len(set(titles)) == len(titles) else [way.key for way in tab.ways]
    choices = [(f"{name} ({way.model.scale}×)", way.key) for name, way in zip(names, tab.ways, strict=True)]
    return gr.Dropdown(choices, value=tab.ways[0].key, label="Model", filterable=False)


def scale_choice(tab: Tab) -> gr.Radio:
    """How large the result is to be, 0 as the model makes it."""
    import gradio as gr

    own = {way.model.scale for way in tab.ways}
    name = f"{own.pop()}×, the model's own" if len(own) == 1 else "The model's own"
    others = [(f"{scale}×", scale) for scale in SCALES if {scale} != {way.model.scale for way in tab.ways}]
    return gr.Radio(
        [(name, 0), *others],
        value=0,
        label="Size of the result",
        info="In others than its own, the model's result is resized.",
    )
