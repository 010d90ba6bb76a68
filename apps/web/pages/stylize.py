"""The page of a model of image + style → image."""

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
            with gr.Row(elem_classes="uploads"):
                images = [fields.input_field(given) for given in tab.spec.inputs if given.is_spatial]
            others = [fields.input_field(given) for given in tab.spec.inputs if not given.is_spatial]
            preserve_colour = gr.Checkbox(label="Keep the colours of the image")
            run = components.run_button("Stylize")
            examples = components.example_buttons(tab)
            suffix = components.settings()
        with gr.Column():
            outputs = build_outputs()
    components.about(tab)

    inputs = [*images, *others]
    buttons = [run, *examples, *fields.random_buttons(inputs)]
    form = RunForm(service, tab, suffix, outputs, buttons, direction, preserve_colour=preserve_colour)
    form.run_fields(run, inputs)
    form.run_random_seeds(inputs)
    form.run_examples(examples)
