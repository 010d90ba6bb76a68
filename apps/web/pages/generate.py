"""The page of a model of noise → image: a seed, sliders that move the latent, and a class if the model takes one."""

from __future__ import annotations

from gan_tasks.apps.web import components, fields
from gan_tasks.apps.web.job_queue import Service
from gan_tasks.apps.web.outputs import build_outputs
from gan_tasks.apps.web.run_form import RunForm
from gan_tasks.apps.web.served_models import Tab


def build(service: Service, tab: Tab) -> None:
    """Add the page of one tab to the Gradio blocks that are open."""
    import gradio as gr

    with gr.Row(elem_classes="columns"):
        with gr.Column():
            direction = components.direction_choice(tab)
            inputs = [fields.input_field(given) for given in tab.spec.inputs]
            run = components.run_button("Generate")
            suffix = components.settings()
        with gr.Column():
            outputs = build_outputs(compares=False)
    components.about(tab)

    buttons = [run, *fields.random_buttons(inputs)]
    form = RunForm(service, tab, suffix, outputs, buttons, direction)
    form.run_fields(run, inputs)
    form.run_random_seeds(inputs)
