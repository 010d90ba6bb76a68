"""The page of a pix2pix model, whose source is often a drawing, a map of labels or edges: it can be drawn there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.web import components as workbench
from gan_tasks.apps.web.components import Workbench
from gan_tasks.apps.web.job_queue import Service, Tab

if TYPE_CHECKING:
    from gradio.components.base import Component

CANVAS = (256, 256)
"""Width and height of a new drawing, px: the size that models of this kind are mostly trained at."""
PALETTE = (
    *("#000000", "#ffffff"),  # lines on paper
    *("#0000aa", "#0000ff", "#0055ff", "#00aaff", "#00ffff", "#55ffaa"),  # the classes of CMP facades, the map of
    *("#aaff55", "#ffff00", "#ffaa00", "#ff5500", "#ff0000", "#aa0000"),  # labels that pix2pix is best known for
)


def build(service: Service, tab: Tab) -> None:
    """Add the page of one tab to the Gradio blocks that are open."""
    import gradio as gr

    with gr.Row(elem_classes="bench"):
        with gr.Column():
            with gr.Tabs():
                with gr.Tab("Picture"):
                    picture = workbench.picture_input()
                    run_picture = workbench.run_button()
                    examples = workbench.example_buttons(tab)
                with gr.Tab("Draw"):
                    drawing = drawing_input()
                    run_drawing = workbench.run_button("Run the drawing")
            suffix = workbench.settings()
        with gr.Column():
            outputs = workbench.build_outputs()
    workbench.about(tab)

    bench = Workbench(service, tab, suffix, outputs, [run_picture, run_drawing, *examples])
    bench.run_source(run_picture, picture)
    bench.run_source(run_drawing, drawing, name="drawing.png", on_white=True)
    bench.run_examples(examples)


def drawing_input() -> Component:
    """An input that gives the drawing, flattened: its path, or its bytes. As `workbench.picture_input`, undecoded."""
    import gradio as gr

    drawing = gr.ImageEditor(
        label="Drawing",
        sources=["upload", "clipboard"],
        canvas_size=CANVAS,
        brush=gr.Brush(default_size=6, colors=list(PALETTE), default_color="#0000ff"),
        placeholder="Draw here,\nor upload a picture\nto draw on",
        layers=gr.LayerOptions(disabled=True),
        transforms=[],
        format="png",
        height=480,
    )

    def flattened(payload: Any) -> Path | bytes | None:
        if payload is None:
            return None
        if payload.id is None:
            return workbench.uploaded_path(payload.composite)
        kept = drawing.blob_storage.pop(payload.id, None)
        return kept.composite if kept else None

    drawing.preprocess = flattened  # type: ignore[method-assign, assignment]
    return drawing
