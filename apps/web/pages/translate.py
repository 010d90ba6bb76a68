"""The page of a model that makes a picture of a picture, in each direction that it knows."""

from __future__ import annotations

from gan_tasks.apps.web import components as workbench
from gan_tasks.apps.web.components import Workbench
from gan_tasks.apps.web.job_queue import Service, Tab


def build(service: Service, tab: Tab) -> None:
    """Add the page of one tab to the Gradio blocks that are open."""
    import gradio as gr

    with gr.Row(elem_classes="bench"):
        with gr.Column():
            direction = workbench.direction_choice(tab)
            picture = workbench.picture_input()
            run = workbench.run_button()
            examples = workbench.example_buttons(tab)
            suffix = workbench.settings()
        with gr.Column():
            outputs = workbench.build_outputs()
    workbench.about(tab)

    bench = Workbench(service, tab, suffix, outputs, [run, *examples], direction)
    bench.run_source(run, picture)
    bench.run_examples(examples)
