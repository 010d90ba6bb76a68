"""What the pages of all kinds of model share: the source and how it is run, before and after, and what is said of it.

A page lays out the parts that it needs, and a `Workbench` joins its buttons to the models.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.web.job_queue import JobProgress, Result, ServedModel, Service, StoppedError, Tab, direction_label
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.models.base import SUPER_RESOLUTION
from gan_tasks.export.models.resizing import resized
from gan_tasks.export.onnx.model import OnnxModel

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components.base import Component

FORMATS = {"PNG": ".png", "TIFF": ".tif", "WebP": ".webp"}
"""Those that carry transparency and the mark that a model made the picture."""


EMPTY = '<p class="empty">Before and after appear here.</p>'

SHOW_OUTPUTS = """(...inputs) => {
    const outputs = [...document.querySelectorAll(".outputs")].find((each) => each.offsetParent);
    if (outputs && outputs.getBoundingClientRect().top > innerHeight / 2) outputs.scrollIntoView();
    return inputs;
}"""
"""On a narrow screen the outputs are below; Gradio 6.31 takes no notice of its own `scroll_to_output`."""

REFRESH_S = 0.4
"""Between two looks at how far a job is."""

Values = dict[Any, Any]
"""What components hold, or are to."""


@dataclass(frozen=True)
class Outputs:
    """What a run fills."""

    message: gr.HTML
    stop: gr.Button
    progress: gr.State
    """The `JobProgress` of the job that runs."""
    result: gr.Column
    slider: gr.ImageSlider
    facts: gr.HTML
    download: gr.DownloadButton
    command: gr.Textbox

    def components(self) -> list[Any]:
        return list(vars(self).values())

    def say(self, message: str, *, running: bool = False) -> Values:
        """Show HTML in place of a result, while a job runs with the button that stops it."""
        import gradio as gr

        return {
            self.message: gr.update(value=message, visible=True),
            self.stop: gr.update(visible=running),
            self.result: gr.update(visible=False),
        }


@dataclass(frozen=True)
class JobRequest:
    """What a run is asked for; see `Service.submit`. `name` is the source's file, `suffix` that of the download."""

    served: ServedModel
    source: Path | bytes | None
    name: str
    suffix: str
    scale: int = 0
    on_white: bool = False


@dataclass(frozen=True)
class Workbench:
    """The models of a tab, what a run of them depends on beside the source, and what it fills."""

    service: Service
    tab: Tab
    suffix: gr.Radio
    outputs: Outputs
    buttons: list[gr.Button]
    """All that start a run."""
    way: gr.Radio | gr.Dropdown | None = None
    """Chooses one of the tab's ways by its key; None where there is one."""
    scale: gr.Radio | None = None
    """Chooses the scale of the result; None where it is the model's own."""

    def run_source(self, button: gr.Button, source: Component, *, name: str = "", on_white: bool = False) -> None:
        """Let the button run what the component holds: a path, or bytes of a file called `name`."""

        def request(values: Values) -> JobRequest:
            held: Path | bytes | None = values[source]
            called = name or (held.name if isinstance(held, Path) else "")
            return self._order(values, held, called, on_white=on_white)

        self._on_click(button, request, source)

    def run_examples(self, buttons: list[gr.Button]) -> None:
        """Let each button run the chosen way's example of its place."""
        paths = {way.key: write_examples(way) for way in self.tab.ways}
        for place, button in enumerate(buttons):

            def request(values: Values, *, place: int = place) -> JobRequest:
                path = paths[self._way(values).key][place]
                return self._order(values, path, path.name)

            self._on_click(button, request)

    def _way(self, values: Values) -> ServedModel:
        return self.tab.ways[0] if self.way is None else self.service.models[values[self.way]]

    def _order(self, values: Values, source: Path | bytes | None, name: str, *, on_white: bool = False) -> JobRequest:
        scale = 0 if self.scale is None else values[self.scale]
        return JobRequest(self._way(values), source, name, values[self.suffix], scale, on_white)

    def _on_click(self, button: gr.Button, request: Callable[[Values], JobRequest], *sources: Component) -> None:
        import gradio as gr

        outputs = self.outputs
        settings = [each for each in (self.suffix, self.way, self.scale) if each is not None]

        async def run(values: Values) -> AsyncIterator[Values]:
            yield dict.fromkeys(self.buttons, gr.update(interactive=False))
            try:
                async with aclosing(run_job(self.service, outputs, request(values))) as shown:
                    async for each in shown:
                        yield each
            except Exception:  # the page says that there was one, the log which
                yield outputs.say(EMPTY)
                raise

        def free() -> list[Any]:
            return [gr.update(interactive=True)] * len(self.buttons)

        ran = button.click(
            run,
            {*sources, *settings},
            [*outputs.components(), *self.buttons],
            js=SHOW_OUTPUTS,
            show_progress="hidden",  # the message has it
            api_visibility="private",
        )
        # Only now: a click before the event's end would be lost.
        ran.then(free, None, self.buttons, show_progress="hidden", api_visibility="private")


# The parts, in the order of the page.


def direction_choice(tab: Tab) -> gr.Radio | None:
    """A choice between the directions of a tab, by their keys; nothing where there is one."""
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

    with gr.Column(elem_classes="outputs"):
        message = gr.HTML(EMPTY, container=False)
        stop = gr.Button("Stop", visible=False, elem_classes="stop")
        progress = gr.State()
        stop.click(stop_job, progress, show_progress="hidden", api_visibility="private")
        with gr.Column(visible=False) as result:
            slider = gr.ImageSlider(
                label="Before and after", format="png", max_height=640, elem_classes="result-slider"
            )
            gr.HTML('<p class="zoom-hint">Scroll on the picture to look closer.</p>', container=False)
            return Outputs(
                message,
                stop,
                progress,
                result,
                slider,
                facts=gr.HTML(container=False, padding=False),
                download=gr.DownloadButton("Download", elem_classes="download"),
                command=gr.Textbox(
                    label="The same on the command line", interactive=False, buttons=["copy"], elem_classes="command"
                ),
            )


def stop_job(progress: JobProgress | None) -> None:
    if progress is not None:
        progress.stop()


def about(tab: Tab) -> None:
    """The fold of what is known of the tab's models."""
    import gradio as gr

    with gr.Accordion("About this model", open=False):
        gr.HTML("".join(description_list(known_of(way), "how") for way in tab.ways), container=False)


# What a run gives.


async def run_job(service: Service, outputs: Outputs, request: JobRequest) -> AsyncGenerator[Values, None]:
    """Run the model; show how far it is, then the result, or what is wrong. Closed early, it stops the job."""
    import gradio as gr

    try:
        if request.source is None:
            raise UserError("There is no picture yet: put one in first.")
        if request.suffix not in FORMATS.values():
            raise UserError(f"no format {request.suffix!r}: expected {', '.join(FORMATS)}")
        file, progress = result_path(request), JobProgress()
        job = service.submit(
            request.served, request.source, file, on_white=request.on_white, scale=request.scale, progress=progress
        )
        ended = asyncio.wrap_future(job)
        try:
            yield outputs.say(progress_html(progress), running=True) | {outputs.progress: progress}
            while not (await asyncio.wait([ended], timeout=REFRESH_S))[0]:
                if progress.stopped:
                    job.cancel()  # if it still waits for others
                yield outputs.say(progress_html(progress), running=True)
        finally:  # the page may have been left
            progress.stop()
            ended.cancel()
        if job.cancelled():
            raise StoppedError("the job was stopped before its turn")
        result = await ended
        before, after = await asyncio.to_thread(write_previews, result)
    except StoppedError:
        yield outputs.say('<p class="empty" role="status">Stopped: there is no result.</p>')
        return
    except UserError as error:
        yield outputs.say(f'<p class="empty refusal" role="alert">{escape(str(error))}</p>')
        return
    served = request.served
    scale = ["--scale", str(request.scale)] if request.scale not in (0, served.model.scale) else []
    command = [
        "gan-tasks",
        "apply",
        str(served.path),
        request.name,
        f"result{request.suffix}",
        *served.options,
        *scale,
    ]
    yield {
        outputs.message: gr.update(visible=False),
        outputs.stop: gr.update(visible=False),
        outputs.result: gr.update(visible=True),
        outputs.slider: (before, after),
        outputs.facts: description_list(facts(served, result), "facts"),
        outputs.download: gr.update(value=file, label=f"Download {request.suffix.removeprefix('.').upper()}"),
        outputs.command: shlex.join(command),
    }


def progress_html(progress: JobProgress) -> str:
    """What is shown of a job before its end, as HTML."""
    bar, left = "<progress></progress>", ""
    if progress.stopped:
        what = "Stopping…" if progress.tiles == 0 else "Stopping after this tile…"
    elif progress.began_s is None:
        what = "Waiting for other pictures…"
    elif progress.tiles == 0:
        what = "Running…"
    elif progress.tiles_done == progress.tiles:
        what = "Writing the result…"
    else:
        what = f"Tile {progress.tiles_done + 1} of {progress.tiles}"
        bar = f'<progress max="{progress.tiles}" value="{progress.tiles_done}"></progress>'
        left = "" if (left_s := progress.left_s()) is None else f"about {duration(left_s)} left"
    return (
        f'<div class="empty"><div class="working"><label><span>{what}</span>{bar}</label>'
        f'<p class="left">{left or "&nbsp;"}</p></div></div>'
    )


def duration(seconds: float) -> str:
    """For people, who need it to two digits: 40 s, 3 min, 2 h 10 min."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def result_path(request: JobRequest) -> Path:
    """Where Gradio serves files from and deletes them by their age; named after the source and the model."""
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder()) / secrets.token_hex(16)
    folder.mkdir(parents=True)
    return folder / f"{Path(request.name).stem[:50]}-{request.served.key}{request.suffix}"


def write_previews(result: Result) -> tuple[Path, Path]:
    """Before and after as PNG, which every browser shows, without loss and both in the result's full size."""
    before, after = (result.file.with_name(f"{part}.png") for part in ("before", "after"))
    height, width = result.after.pixels.shape[:2]
    write(before, enlarged(result.before, height, width))
    if result.file.suffix == ".png":
        return before, result.file
    write(after, result.after)
    return before, after


def enlarged(picture: Picture, height: int, width: int) -> Picture:
    """The picture in the size of a result that it lies beside, by bicubic interpolation."""
    return Picture(resized(picture.pixels, (height, width), "bicubic"), picture.icc_profile)


def write_examples(served: ServedModel) -> list[Path]:
    names = [f"test-pattern-{number}" for number in range(1, len(served.examples) + 1)]
    paths = [result_path(JobRequest(served, None, name, ".png")) for name in names]
    for path, picture in zip(paths, served.examples, strict=True):
        write(path, picture)
    return paths


def facts(served: ServedModel, result: Result) -> dict[str, str]:
    height, width = result.after.pixels.shape[:2]
    way = {"Model": served.model.title} if served.model.name == SUPER_RESOLUTION else {}
    way |= {"Direction": direction_label(served.model)} if served.model.direction else {}
    return way | {
        "Result": f"{width} × {height} px",
        "Time": f"{result.seconds:.3f} s",
        "Provider": served.model.runs_on,
    }


def known_of(served: ServedModel) -> dict[str, str]:
    model = served.model
    entries = {"Direction": direction_label(model)} if model.direction else {}
    entries |= {"Task": model.name, "Model": model.title, "File": served.path.name, "Provider": model.runs_on}
    if isinstance(model, OnnxModel):
        entries |= {"Licence": model.metadata.licence}
    entries |= {"Training data": model.training_data}
    stated = {term: text or "not stated" for term, text in entries.items()}
    files = " and ".join(f"`{name}`" for name in model.inputs)
    what = f"the file {files}" if len(model.inputs) == 1 else f"the files {files}"
    return stated | {"HTTP": f"POST /api/{served.key}/run with {what} in a multipart form"}


def description_list(entries: dict[str, str], css_class: str) -> str:
    rows = "".join(f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in entries.items())
    return f'<dl class="{css_class}">{rows}</dl>'
