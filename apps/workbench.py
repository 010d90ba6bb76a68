"""What the pages of all kinds of model share: the source and how it is run, before and after, and what is said of it.

A page lays out the parts that it needs, and a `Workbench` joins its buttons to the models.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_tasks.apps.service import Result, ServedModel, Service, Tab, direction_label
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.image import Picture, write
from gan_tasks.export.model import enlarge
from gan_tasks.export.session import OnnxModel

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components.base import Component

FORMATS = {"PNG": ".png", "TIFF": ".tif", "WebP": ".webp"}
"""Those that carry transparency and the mark that a model made the picture."""


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


@dataclass(frozen=True)
class Workbench:
    """The models of a tab, what a run of them depends on beside the source, and what it fills."""

    service: Service
    tab: Tab
    suffix: gr.Radio
    outputs: Outputs
    direction: gr.Radio | None = None
    """Chooses one of the tab's ways; None where there is one."""

    def run_source(self, button: gr.Button, source: Component, *, name: str = "", on_white: bool = False) -> None:
        """Let the button run what the component holds: a path, or bytes of a file called `name`."""

        async def run(source: Path | bytes | None, suffix: str, key: str = self.tab.ways[0].key) -> list[Any]:
            called = name or (source.name if isinstance(source, Path) else "")
            return await answer(
                self.service, self.service.models[key], source, suffix, name=called, on_white=on_white
            )

        self._on_click(button, run, [source])

    def run_examples(self, buttons: list[gr.Button]) -> None:
        """Let each button run the chosen way's example of its place."""
        paths = {way.key: write_examples(way) for way in self.tab.ways}
        for place, button in enumerate(buttons):

            async def run(suffix: str, key: str = self.tab.ways[0].key, *, place: int = place) -> list[Any]:
                path = paths[key][place]
                return await answer(self.service, self.service.models[key], path, suffix, name=path.name)

            self._on_click(button, run, [])

    def _on_click(
        self, button: gr.Button, function: Callable[..., Awaitable[list[Any]]], inputs: list[Component]
    ) -> None:
        settings = [self.suffix] if self.direction is None else [self.suffix, self.direction]
        button.click(
            function,
            [*inputs, *settings],
            self.outputs.components(),
            scroll_to_output=True,  # on a narrow screen they are below
            show_progress_on=[self.outputs.empty, self.outputs.slider],
            api_visibility="private",
        )


# The parts, in the order of the page.


def direction_choice(tab: Tab) -> gr.Radio | None:
    """A choice between the ways of a tab, by their keys; nothing where there is one."""
    import gradio as gr

    if len(tab.ways) == 1:
        return None
    choices = [(direction_label(way.model), way.key) for way in tab.ways]
    return gr.Radio(choices, value=tab.ways[0].key, label="Direction", elem_classes="direction")


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


def uploaded_path(payload: Any) -> Path | None:
    """Of Gradio's FileData, whose path it has found to be in its own folder of uploads."""
    return Path(payload.path) if payload is not None and payload.path else None


def run_button(text: str = "Run") -> gr.Button:
    import gradio as gr

    return gr.Button(text, variant="primary", elem_classes="run")


def example_buttons(tab: Tab) -> list[gr.Button]:
    """One for each example that all ways have."""
    import gradio as gr

    count = min(len(way.examples) for way in tab.ways)
    with gr.Row(visible=count > 0):  # an empty one would leave a gap
        return [gr.Button(f"Try test pattern {number}", size="sm") for number in range(1, count + 1)]


def settings() -> gr.Radio:
    """The fold of what can be set; gives the suffix of the download."""
    import gradio as gr

    with gr.Accordion("Settings", open=False):
        return gr.Radio(
            list(FORMATS.items()),
            value=".png",
            label="Format of the download",
            info="PNG and TIFF keep 16 bits; WebP is smaller, with some loss.",
        )


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


def about(tab: Tab) -> None:
    """The fold of what is known of the tab's models."""
    import gradio as gr

    with gr.Accordion("About this model", open=False):
        gr.HTML("".join(description_list(known_of(way), "how") for way in tab.ways), container=False)


# What a run gives.


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
            raise UserError("There is no picture yet: put one in first.")
        if suffix not in FORMATS.values():
            raise UserError(f"no format {suffix!r}: expected {', '.join(FORMATS)}")
        file = result_path(served, name, suffix)
        result = await asyncio.wrap_future(service.submit(served, source, file, on_white=on_white))
        before, after = await asyncio.to_thread(write_previews, result)
    except UserError as error:
        refusal = f'<p class="empty refusal" role="alert">{escape(str(error))}</p>'
        return [gr.update(value=refusal, visible=True), gr.update(visible=False), *[gr.skip()] * 4]
    command = ["gan-tasks", "apply", str(served.path), name, f"result{suffix}", *served.options]
    return [
        gr.update(visible=False),
        gr.update(visible=True),
        (before, after),
        description_list(facts(served, result), "facts"),
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
    """Before and after as PNG, which every browser shows, without loss and both in the result's full size."""
    before, after = (result.file.with_name(f"{part}.png") for part in ("before", "after"))
    write(before, enlarged(result.before, result.after.pixels.shape[1] // result.before.pixels.shape[1]))
    if result.file.suffix == ".png":
        return before, result.file
    write(after, result.after)
    return before, after


def enlarged(picture: Picture, scale: int) -> Picture:
    """The picture as it lies beside the result of a model that enlarges."""
    if scale == 1:
        return picture
    channels = np.split(picture.pixels, picture.pixels.shape[2], axis=2)
    return Picture(np.concatenate([enlarge(channel, scale) for channel in channels], axis=2), picture.icc_profile)


def write_examples(served: ServedModel) -> list[Path]:
    paths = [result_path(served, f"test-pattern-{number}", ".png") for number in range(1, len(served.examples) + 1)]
    for path, picture in zip(paths, served.examples, strict=True):
        write(path, picture)
    return paths


def facts(served: ServedModel, result: Result) -> dict[str, str]:
    height, width = result.after.pixels.shape[:2]
    direction = {"Direction": direction_label(served.model)} if served.model.direction else {}
    return direction | {
        "Result": f"{width} × {height} px",
        "Time": f"{result.seconds:.3f} s",
        "Provider": served.model.runs_on,
    }


def known_of(served: ServedModel) -> dict[str, str]:
    model = served.model
    entries = {"Direction": direction_label(model)} if model.direction else {}
    entries |= {"Task": model.name, "Model": model.title, "File": served.path.name, "Provider": model.runs_on}
    if isinstance(model, OnnxModel):
        entries |= {"Licence": model.card.licence}
    entries |= {"Training data": model.training_data}
    stated = {term: text or "not stated" for term, text in entries.items()}
    files = " and ".join(f"`{name}`" for name in model.inputs)
    what = f"the file {files}" if len(model.inputs) == 1 else f"the files {files}"
    return stated | {"HTTP": f"POST /api/{served.key}/run with {what} in a multipart form"}


def description_list(entries: dict[str, str], css_class: str) -> str:
    rows = "".join(f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in entries.items())
    return f'<dl class="{css_class}">{rows}</dl>'
