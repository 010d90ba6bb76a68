"""The page of the models that upscale: which of them, and how large the result is to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gan_tasks.apps.web import components, fields
from gan_tasks.apps.web.job_queue import Service
from gan_tasks.apps.web.outputs import build_outputs
from gan_tasks.apps.web.run_form import RunForm
from gan_tasks.apps.web.served_models import Tab

if TYPE_CHECKING:
    import gradio as gr

SCALES = (2, 3, 4)
"""To choose from beside the model's own."""


def build(service: Service, tab: Tab) -> None:
    """Add the page of one tab to the Gradio blocks that are open."""
    import gradio as gr

    with gr.Row(elem_classes="columns"):
        with gr.Column():
            model = model_choice(tab)
            inputs = [fields.input_field(given) for given in tab.spec.inputs]
            scale = scale_choice(tab)
            run = components.run_button("Enlarge")
            examples = components.example_buttons(tab)
            suffix = components.settings()
        with gr.Column():
            outputs = build_outputs()
    components.about(tab)

    buttons = [run, *examples, *fields.random_buttons(inputs)]
    form = RunForm(service, tab, suffix, outputs, buttons, model, scale)
    form.run_fields(run, inputs)
    form.run_random_seeds(inputs)
    form.run_examples(examples)


def model_choice(tab: Tab) -> gr.Dropdown | None:
    """A choice between the models of a tab, by their keys; nothing where there is one."""
    import gradio as gr

    if len(tab.models) == 1:
        return None
    titles = [served.title for served in tab.models]
    names = titles if len(set(titles)) == len(titles) else [served.key for served in tab.models]
    choices = [(f"{name} ({served.spec.scale}×)", served.key) for name, served in zip(names, tab.models, strict=True)]
    return gr.Dropdown(choices, value=tab.models[0].key, label="Model", filterable=False)


def scale_choice(tab: Tab) -> gr.Radio:
    """How large the result is to be, 0 as the model makes it."""
    import gradio as gr

    own = {served.spec.scale for served in tab.models}
    name = f"{min(own)}×, the model's own" if len(own) == 1 else "The model's own"
    others = [(f"{scale}×", scale) for scale in SCALES if {scale} != own]
    return gr.Radio(
        [(name, 0), *others],
        value=0,
        label="Size of the result",
        info="In another size than its own, the model's result is resized.",
    )
