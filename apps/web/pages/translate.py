"""The page of a model of image → image: from a file or a drawing, in each direction that it knows."""

from __future__ import annotations

from gan_tasks.apps.web import components, fields
from gan_tasks.apps.web.job_queue import Service
from gan_tasks.apps.web.outputs import build_outputs
from gan_tasks.apps.web.run_form import RunForm
from gan_tasks.apps.web.served_models import Tab


def build(service: Service, tab: Tab) -> None:
    """Add the page of one tab to the Gradio blocks that are open."""
    import gradio as gr

    image = tab.spec.image
    assert image is not None  # a model of this use takes one
    with gr.Row(elem_classes="columns"):
        with gr.Column():
            direction = components.direction_choice(tab)
            more = [fields.input_field(given) for given in tab.spec.inputs if given is not image]
            with gr.Tabs():
                with gr.Tab("Image"):
                    from_file = [fields.input_field(image), *more]
                    run_file = components.run_button()
                    examples = components.example_buttons(tab)
                with gr.Tab("Draw"):
                    from_drawing = [fields.drawing_field(image), *more]
                    run_drawing = components.run_button("Run the drawing")
            suffix = components.settings()
        with gr.Column():
            outputs = build_outputs()
    components.about(tab)

    buttons = [run_file, run_drawing, *examples, *fields.random_buttons(more)]
    form = RunForm(service, tab, suffix, outputs, buttons, direction)
    form.run_fields(run_file, from_file)
    form.run_fields(run_drawing, from_drawing, on_white=True)
    form.run_random_seeds(from_file)
    form.run_examples(examples)
