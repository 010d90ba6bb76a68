"""The page of a model that inpaints: paint over what is to be filled, fill, undo, fill again."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gan_tasks.apps.web import components, fields
from gan_tasks.apps.web.fields import Values
from gan_tasks.apps.web.inpaint_steps import (
    MASK_COLOUR,
    MASK_OPACITY,
    SKETCH_COLOUR,
    InpaintInputs,
    InpaintRequest,
    Step,
    inpaint_picture,
    open_picture,
)
from gan_tasks.apps.web.job_queue import Service
from gan_tasks.apps.web.outputs import UPLOAD_IS_GONE
from gan_tasks.apps.web.run_form import new_folder
from gan_tasks.apps.web.served_models import ServedModel, Tab
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.inpaint_options import InpaintOptions, Strategy

if TYPE_CHECKING:
    import gradio as gr
    from gradio.blocks import Block
    from gradio.components.base import Component

STRATEGIES: dict[str, Strategy] = {
    "Each masked region with its surroundings": "crop",
    "The whole image, made smaller": "resize",
    "The whole image as it is": "original",
}
MAX_DILATE_PX, MAX_FEATHER_PX = 64, 64

Steps = tuple[Step, ...]
"""The upload and what each fill made of the one before."""


def build(service: Service, tab: Tab) -> None:
    """Add the page of one tab to the Gradio blocks that are open."""
    import gradio as gr

    served = tab.models[0]
    given = InpaintInputs.of(served.spec)
    follows_sketch = given.sketch is not None
    with gr.Row(elem_classes="columns"):
        with gr.Column():
            with gr.Column() as start:
                picture = fields.upload(fields.input_label(given.image))
            with gr.Column(visible=False) as work:
                editor = editor_input(follows_sketch=follows_sketch)
                hint = gr.HTML(instructions(follows_sketch=follows_sketch), container=False)
                with gr.Row():
                    fill = components.run_button("Fill")
                    undo = gr.Button("Undo the last fill", interactive=False)
                alert = gr.HTML(visible=False, container=False)
                another = gr.Button("Another image", size="sm")
                with gr.Accordion("Mask from a file", open=False):
                    mask = fields.upload("Mask: white is filled", height=160)
                    sketch = fields.upload("Sketch: white lines", height=160) if follows_sketch else None
                options = option_inputs()
        with gr.Column():
            outputs = build_outputs(follows_sketch=follows_sketch)
    components.about(tab)
    page = InpaintPage(
        service,
        served,
        gr.State(Visit()),
        picture,
        start,
        work,
        editor,
        hint,
        alert,
        mask,
        sketch,
        options,
        undo,
        outputs,
    )
    page.join(fill=fill, another=another)


# The parts, in the order of the page.


def editor_input(*, follows_sketch: bool) -> Component:
    """An input that gives the layers painted over the image, encoded. As `fields.upload`, undecoded."""
    import gradio as gr

    paint: list[str | tuple[str, float]] = [(MASK_COLOUR, MASK_OPACITY)]
    editor = gr.ImageEditor(
        label="Paint",
        sources=(),
        transforms=(),
        layers=gr.LayerOptions(disabled=True),
        brush=gr.Brush(
            colors=[*paint, SKETCH_COLOUR] if follows_sketch else paint, default_color=paint[0], color_mode="fixed"
        ),
        buttons=[],
        format="png",
        height=480,
        elem_classes="retouch",
    )

    def layers(payload: Any) -> tuple[bytes, ...]:
        given = payload.layers if payload is not None else ()
        return tuple(path.read_bytes() for layer in given if (path := fields.uploaded_path(layer)))

    editor.preprocess = layers  # type: ignore[method-assign, assignment]
    return editor


def instructions(*, follows_sketch: bool) -> str:
    dot = '<span class="paint" style="background: {}"></span>'
    text = f"Paint {dot.format(MASK_COLOUR)} covers what is to be filled. The eraser removes paint."
    if follows_sketch:
        text += f" The fill follows lines in {dot.format(SKETCH_COLOUR)}, the brush's other colour."
    return f'<p class="hint">{text}</p>'


@dataclass(frozen=True)
class OptionInputs:
    """One for each of InpaintOptions."""

    strategy: gr.Radio
    dilate_px: gr.Slider
    feather_px: gr.Slider
    match_colour: gr.Checkbox

    def components(self) -> list[Component]:
        return list(vars(self).values())

    def chosen(self, values: Values) -> InpaintOptions:
        """Raises UserError for what no such input holds."""
        chosen = {name: values[component] for name, component in vars(self).items()}
        lengths = [chosen["dilate_px"], chosen["feather_px"]]
        if chosen["strategy"] not in get_args(Strategy) or not all(isinstance(each, int | float) for each in lengths):
            raise UserError("These settings are not known: load the page again.")
        return InpaintOptions(
            strategy=chosen["strategy"],
            dilate_px=min(int(lengths[0]), MAX_DILATE_PX),
            feather_px=min(int(lengths[1]), MAX_FEATHER_PX),
            match_colour=bool(chosen["match_colour"]),
        )


def option_inputs() -> OptionInputs:
    import gradio as gr

    default = InpaintOptions()
    with gr.Accordion("Settings", open=False):
        return OptionInputs(
            strategy=gr.Radio(list(STRATEGIES.items()), value=default.strategy, label="What the model sees"),
            dilate_px=gr.Slider(
                0,
                MAX_DILATE_PX,
                default.dilate_px,
                step=1,
                label="Grow the mask, px",
                info="For paint or a mask that leaves a boundary of what it should cover.",
            ),
            feather_px=gr.Slider(
                0,
                MAX_FEATHER_PX,
                default.feather_px,
                step=1,
                label="Soft boundary, px",
                info="Inside the mask. Nothing outside of it is ever changed.",
            ),
            match_colour=gr.Checkbox(default.match_colour, label="Match the colours at the boundary"),
        )


@dataclass(frozen=True)
class FillOutputs:
    """What a fill shows."""

    message: gr.HTML
    result: gr.Column
    slider: gr.ImageSlider
    notes: gr.HTML
    facts: gr.HTML
    download: gr.DownloadButton
    mask: gr.DownloadButton
    sketch: gr.DownloadButton | None
    command: gr.Textbox


def build_outputs(*, follows_sketch: bool) -> FillOutputs:
    import gradio as gr

    message = gr.HTML(EMPTY, container=False)
    with gr.Column(visible=False) as result:
        slider = gr.ImageSlider(label="Upload and result", format="png", max_height=640, elem_classes="result-slider")
        notes = gr.HTML(container=False, padding=False)
        facts = gr.HTML(container=False, padding=False)
        download = gr.DownloadButton("Download PNG", elem_classes="download")
        with gr.Row():
            mask = gr.DownloadButton("Download the mask", size="sm")
            sketch = gr.DownloadButton("Download the sketch", size="sm") if follows_sketch else None
        command = gr.Textbox(
            label="The last fill on the command line", interactive=False, buttons=["copy"], elem_classes="command"
        )
    return FillOutputs(message, result, slider, notes, facts, download, mask, sketch, command)


EMPTY = '<p class="empty">Upload and result appear here.</p>'


# What happens.


@dataclass(frozen=True)
class Visit:
    """What a person did so far. paint: layers that are to lie on the last image."""

    steps: Steps = ()
    paint: tuple[Path, ...] = ()


@dataclass(frozen=True)
class InpaintPage:
    """The parts of a page that its buttons join to the model."""

    service: Service
    served: ServedModel
    visit: gr.State
    picture: Component
    start: gr.Column
    work: gr.Column
    editor: Component
    hint: gr.HTML
    alert: gr.HTML
    """What is wrong with a fill that was asked for; beside the button, for on a phone results are far below it."""
    mask: Component
    sketch: Component | None
    options: OptionInputs
    undo: gr.Button
    outputs: FillOutputs

    def join(self, *, fill: gr.Button, another: gr.Button) -> None:
        files = [component for component in (self.mask, self.sketch) if component is not None]
        requested: set[Block] = {self.visit, self.editor, *files, *self.options.components()}
        shown = [component for component in vars(self.outputs).values() if component is not None]
        parts = [self.visit, self.start, self.work, self.undo, self.alert, *shown]
        progress: list[Component] = [self.hint, self.outputs.message, self.outputs.slider]
        self.picture.upload(  # type: ignore[attr-defined]
            self.on_open, {self.picture}, parts, api_visibility="private", show_progress_on=[self.picture]
        )
        fill.click(self.on_fill, requested, parts, api_visibility="private", show_progress_on=progress)
        self.undo.click(self.on_undo, {self.visit}, parts, api_visibility="private", show_progress_on=[self.hint])
        another.click(self.on_another, None, [self.picture, *parts], api_visibility="private")
        # Events of their own, because these always give a value: an input that an event leaves as it is counts as
        # updated, and is no longer read by our own function (see `fields.upload`).
        self.visit.change(
            self.repaint, {self.visit}, [self.editor, *files], api_visibility="private", show_progress="hidden"
        )
        self.editor.clear(  # type: ignore[attr-defined]
            self.on_clear, {self.visit}, [self.editor], api_visibility="private", show_progress="hidden"
        )

    async def on_open(self, values: Values) -> Values:
        path: Path | None = values[self.picture]
        if path is None:
            return {}
        limit, decode = self.service.limits.max_pixels, self.service.decoder.read
        job = partial(open_picture, path, new_folder(), max_pixels=limit, decode=decode)
        try:
            step = await asyncio.wrap_future(self.service.enqueue(job))
        except FileNotFoundError:
            return self.refusal(UserError(UPLOAD_IS_GONE), Visit())
        except UserError as error:
            return self.refusal(error, Visit())
        return self.show(Visit((step,)))

    async def on_fill(self, values: Values) -> Values:
        visit: Visit = values[self.visit]
        try:
            step = await asyncio.wrap_future(self.service.enqueue(self.job(visit, values)))
        except FileNotFoundError:
            return self.refusal(UserError(UPLOAD_IS_GONE), visit)
        except UserError as error:
            return self.refusal(error, visit)
        return self.show(Visit((*visit.steps, step)))

    def job(self, visit: Visit, values: Values) -> Callable[[], Step]:
        """Raises UserError where there is nothing to do."""
        if not visit.steps:
            raise UserError("There is no image yet: put one in first.")
        request = InpaintRequest(
            paint=values[self.editor],
            mask=values[self.mask],
            sketch=None if self.sketch is None else values[self.sketch],
            options=self.options.chosen(values),
        )
        return partial(
            inpaint_picture,
            self.served.predictor,
            visit.steps[-1],
            request,
            new_folder(),
            name=f"{Path(visit.steps[0].name).stem[:50]}-{self.served.key}-{len(visit.steps)}.png",
            max_pixels=self.service.limits.max_pixels,
            decode=self.service.decoder.read,
        )

    def on_undo(self, values: Values) -> Values:
        """Back to the image before the last fill, with the paint on it that was filled."""
        *before, last = values[self.visit].steps
        return self.show(Visit(tuple(before), last.paint))

    def on_another(self) -> Values:
        return self.show(Visit()) | {self.picture: None}

    def repaint(self, values: Values) -> Values:
        """The last image, ready to be painted on; masks were for the fill before."""
        visit: Visit = values[self.visit]
        files: Values = {component: None for component in (self.mask, self.sketch) if component is not None}
        return files | {self.editor: painting(visit)}

    def on_clear(self, values: Values) -> Values:
        """Show the image again, which the editor clears with the paint."""
        return {self.editor: painting(replace(values[self.visit], paint=()))}

    def show(self, visit: Visit) -> Values:
        """The last image, beside the first if they differ."""
        import gradio as gr

        changed: Values = {
            self.visit: visit,
            self.start: gr.update(visible=not visit.steps),
            self.work: gr.update(visible=bool(visit.steps)),
            self.undo: gr.update(interactive=len(visit.steps) > 1),
            self.alert: gr.update(visible=False),
        }
        return changed | (self.result(visit.steps) if len(visit.steps) > 1 else self.nothing())

    def result(self, steps: Steps) -> Values:
        import gradio as gr

        outputs, step = self.outputs, steps[-1]
        sketch: Values = {}
        if outputs.sketch is not None:
            sketch = {outputs.sketch: gr.update(value=step.sketch, visible=step.sketch is not None)}
        return {
            outputs.message: gr.update(visible=False),
            outputs.result: gr.update(visible=True),
            outputs.slider: (steps[0].file, step.file),
            outputs.notes: "".join(f'<p class="note" role="status">{escape(note)}</p>' for note in step.notes),
            outputs.facts: components.description_list(self.facts(steps), "facts"),
            outputs.download: gr.update(value=step.file),
            outputs.mask: gr.update(value=step.mask),
            **sketch,
            outputs.command: shlex.join(self.command(steps)),
        }

    def nothing(self, message: str = EMPTY) -> Values:
        import gradio as gr

        return {
            self.outputs.message: gr.update(value=message, visible=True),
            self.outputs.result: gr.update(visible=False),
        }

    def refusal(self, error: UserError, visit: Visit) -> Values:
        import gradio as gr

        if not visit.steps:
            return self.nothing(f'<p class="empty refusal" role="alert">{escape(str(error))}</p>')
        sentence = f'<p class="note refusal" role="alert">{escape(str(error))}</p>'
        return {self.alert: gr.update(value=sentence, visible=True)}

    def facts(self, steps: Steps) -> dict[str, str]:
        height, width = steps[-1].size
        return {
            "Result": f"{width} × {height} px",
            "Fills": str(len(steps) - 1),
            "Time": f"{steps[-1].seconds:.3f} s",
            "Provider": self.served.model.runs_on,
        }

    def command(self, steps: Steps) -> list[str]:
        """What does the last fill on the command line, with the files that can be downloaded."""
        before, step = steps[-2:]
        chosen, default = step.options, InpaintOptions()
        words = ["gan-tasks", "apply", self.served.path.name, before.name, step.name, "--mask", "mask.png"]
        words += ["--sketch", "sketch.png"] if step.sketch else []
        for name in ("strategy", "dilate_px", "feather_px"):
            if (value := getattr(chosen, name)) != getattr(default, name):
                words += [f"--{name.replace('_', '-')}", str(value)]
        return words + ([] if chosen.match_colour else ["--no-match-colour"]) + list(self.served.options)


def painting(visit: Visit) -> dict[str, Any] | None:
    """What the editor is to hold."""
    if not visit.steps:
        return None
    preview = str(visit.steps[-1].preview)
    return {"background": preview, "layers": [str(layer) for layer in visit.paint], "composite": preview}
