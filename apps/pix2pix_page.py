"""The page of a model that makes an image of an image: a source on the left, before and after on the right."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.service import Result, ServedModel, Service
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.image import write
from gan_tasks.export.session import OnnxModel

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components.base import Component

FORMATS = {"PNG": ".png", "TIFF": ".tif", "WebP": ".webp"}
"""Those that carry transparency and the mark that a model made the picture."""
CANVAS = (256, 256)
"""Width and height of a new drawing, px: the size that models of this kind are mostly trained at."""
PALETTE = (
    *("#000000", "#ffffff"),  # lines on paper
    *("#0000aa", "#0000ff", "#0055ff", "#00aaff", "#00ffff", "#55ffaa"),  # the classes of CMP facades, the map of
    *("#aaff55", "#ffff00", "#ffaa00", "#ff5500", "#ff0000", "#aa0000"),  # labels that pix2pix is best known for
)


@dataclass(frozen=True)
class Outputs:
    """What a run fills."""

    empty: gr.HTML
    result: gr.Column
    slider: gr.ImageSlider
    facts: gr.HTML
    download: gr.DownloadButton
    command: gr.Textbox

    def components(self) -> list[Any]:
        return [self.empty, self.result, self.slider, self.facts, self.download, self.command]


def build(service: Service, served: ServedModel) -> None:
    """Add the page of one model to the Gradio blocks that are open."""
    import gradio as gr

    with gr.Row(elem_classes="bench"):
        with gr.Column():
            with gr.Tabs():
                with gr.Tab("Picture"):
                    picture = picture_input()
                    run_picture = gr.Button("Run", variant="primary", elem_classes="run")
                    with gr.Row():
                        example_buttons = [
                            gr.Button(f"Try test pattern {number}", size="sm")
                            for number in range(1, len(served.examples) + 1)
                        ]
                with gr.Tab("Draw"):
                    drawing = drawing_input()
                    run_drawing = gr.Button("Run the drawing", variant="primary", elem_classes="run")
            with gr.Accordion("Settings", open=False):
                suffix = gr.Radio(
                    list(FORMATS.items()),
                    value=".png",
                    label="Format of the download",
                    info="PNG and TIFF keep 16 bits; WebP is smaller, with some loss.",
                )
        with gr.Column():
            outputs = build_outputs()
    with gr.Accordion("About this model", open=False):
        gr.HTML(about(served), container=False)

    def on_click(button: gr.Button, function: Callable[..., Awaitable[list[Any]]], inputs: list[Component]) -> None:
        button.click(
            function,
            inputs,
            outputs.components(),
            scroll_to_output=True,  # on a narrow screen they are below
            show_progress_on=[outputs.empty, outputs.slider],
            api_visibility="private",
        )

    async def run(source: Path | None, suffix: str) -> list[Any]:
        return await answer(service, served, source, suffix, name=source.name if source else "")

    async def run_drawn(source: Path | bytes | None, suffix: str) -> list[Any]:
        return await answer(service, served, source, suffix, name="drawing.png", on_white=True)

    on_click(run_picture, run, [picture, suffix])
    on_click(run_drawing, run_drawn, [drawing, suffix])
    for button, path in zip(example_buttons, write_examples(served), strict=True):
        on_click(button, partial(run, path), [suffix])


def build_outputs() -> Outputs:
    import gradio as gr

    empty = gr.HTML('<p class="empty">Before and after appear here.</p>', container=False)
    with gr.Column(visible=False) as result:
        return Outputs(
            empty,
            result,
            slider=gr.ImageSlider(
                label="Before and after", format="png", max_height=640, elem_classes="result-slider"
            ),
            facts=gr.HTML(container=False, padding=False),
            download=gr.DownloadButton("Download", elem_classes="download"),
            command=gr.Textbox(
                label="The same on the command line", interactive=False, buttons=["copy"], elem_classes="command"
            ),
        )


# Gradio decodes an upload before it asks how large the picture is. These inputs hand over what came, undecoded;
# `datasets.image.read` vets it. They are not classes of their own because Gradio writes a stub beside the source
# file of every component class. No event may update them: Gradio would put new ones of its own kind in their place.


def picture_input() -> Component:
    """An input that gives the path of what was uploaded or pasted."""
    import gradio as gr

    picture = gr.Image(
        label="Source", sources=["upload", "clipboard"], type="filepath", image_mode=None, height=384, buttons=[]
    )
    picture.preprocess = uploaded_path  # type: ignore[method-assign, assignment]
    return picture


def drawing_input() -> Component:
    """An input that gives the drawing, flattened: its path, or its bytes."""
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
            return uploaded_path(payload.composite)
        kept = drawing.blob_storage.pop(payload.id, None)
        return kept.composite if kept else None

    drawing.preprocess = flattened  # type: ignore[method-assign, assignment]
    return drawing


def uploaded_path(payload: Any) -> Path | None:
    """Of Gradio's FileData, whose path it has found to be in its own folder of uploads."""
    return Path(payload.path) if payload is not None and payload.path else None


async def answer(
    service: Service,
    served: ServedModel,
    source: Path | bytes | None,
    suffix: str,
    *,
    name: str,
    on_white: bool = False,
) -> list[Any]:
    """Run the model and fill the outputs, or say in their place what is wrong. `name` is the source's file."""
    import gradio as gr

    try:
        if source is None:
            raise UserError("There is no picture yet: choose a file, paste one, or draw.")
        if suffix not in FORMATS.values():
            raise UserError(f"no format {suffix!r}: expected {', '.join(FORMATS)}")
        file = result_path(served, name, suffix)
        result = await asyncio.wrap_future(service.submit(served, source, file, on_white=on_white))
        before, after = await asyncio.to_thread(write_previews, result)
    except UserError as error:
        refusal = f'<p class="empty refusal" role="alert">{escape(str(error))}</p>'
        return [gr.update(value=refusal, visible=True), gr.update(visible=False), *[gr.skip()] * 4]
    command = ["gan-tasks", "apply", str(served.path), name, f"result{suffix}"]
    return [
        gr.update(visible=False),
        gr.update(visible=True),
        (before, after),
        facts(served, result),
        gr.update(value=file, label=f"Download {suffix.removeprefix('.').upper()}"),
        shlex.join(command),
    ]


def result_path(served: ServedModel, name: str, suffix: str) -> Path:
    """Where Gradio serves files from and deletes them by their age; named after the source and the model."""
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder()) / secrets.token_hex(16)
    folder.mkdir(parents=True)
    return folder / f"{Path(name).stem[:50]}-{served.key}{suffix}"


def write_previews(result: Result) -> tuple[Path, Path]:
    """Before and after as PNG, which every browser shows, in full size and without loss."""
    before, after = (result.file.with_name(f"{part}.png") for part in ("before", "after"))
    write(before, result.before)
    if result.file.suffix == ".png":
        return before, result.file
    write(after, result.after)
    return before, after


def write_examples(served: ServedModel) -> list[Path]:
    paths = [result_path(served, f"test-pattern-{number}", ".png") for number in range(1, len(served.examples) + 1)]
    for path, picture in zip(paths, served.examples, strict=True):
        write(path, picture)
    return paths


def facts(served: ServedModel, result: Result) -> str:
    height, width = result.after.pixels.shape[:2]
    entries = {
        "Time": f"{result.seconds:.3f} s",
        "Provider": served.provider,
        "Result": f"{width} × {height} px",
    }
    return description_list(entries, "facts")


def about(served: ServedModel) -> str:
    model = served.model
    entries = {"Task": model.name, "Model": model.title, "File": served.path.name, "Provider": served.provider}
    if isinstance(model, OnnxModel):
        entries |= {"Licence": model.card.licence, "Training data": model.card.training_data}
    entries["HTTP"] = f"POST /api/{served.key}/run with the file `image` in a multipart form"
    return description_list(entries, "how")


def description_list(entries: dict[str, str], css_class: str) -> str:
    rows = "".join(f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in entries.items())
    return f'<dl class="{css_class}">{rows}</dl>'
