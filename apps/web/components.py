"""What the pages share: how a model is run, its result, and what is said of it.

A page lays out the parts that it needs, and a `RunForm` joins its buttons to the models.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.web.fields import Field, Values, random_seed
from gan_tasks.apps.web.job_queue import JobProgress, JobRequest, Result, Service, StoppedError
from gan_tasks.apps.web.served_models import ServedModel, Sources, Tab, direction_label
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.inference.predictor import PredictOptions
from gan_tasks.export.inference.upscale import UpscaleOptions
from gan_tasks.export.models.resizing import resized
from gan_tasks.spec import InputSpec, ModelSpec

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components.base import Component

FORMATS = {"PNG": ".png", "TIFF": ".tif", "WebP": ".webp"}
"""Those that carry transparency and the mark that a model made the picture."""


EMPTY = '<p class="empty">Before and after appear here.</p>'
EMPTY_RESULT = '<p class="empty">The result appears here.</p>'

SHOW_OUTPUTS = """(...inputs) => {
    const outputs = [...document.querySelectorAll(".outputs")].find((each) => each.offsetParent);
    if (outputs && outputs.getBoundingClientRect().top > innerHeight / 2) outputs.scrollIntoView();
    return inputs;
}"""
"""On a narrow screen the outputs are below; Gradio 6.31 takes no notice of its own `scroll_to_output`."""

REFRESH_S = 0.4
"""Between two looks at how far a job is."""


@dataclass(frozen=True)
class Outputs:
    """What a run fills.

    image: before and after, or the result alone where there is no image before.
    progress: the `JobProgress` of the job that runs.
    """

    message: gr.HTML
    stop: gr.Button
    progress: gr.State
    result: gr.Column
    image: gr.ImageSlider | gr.Image
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
class Run:
    """A job that a page asks for.

    name: what a person calls the first input, such as its file's name.
    suffix: of the download.
    """

    request: JobRequest
    name: str
    suffix: str

    @property
    def served(self) -> ServedModel:
        return self.request.served


@dataclass(frozen=True)
class RunForm:
    """The models of a tab, what a run of them depends on beside its inputs, and what it fills.

    buttons: all that start a run.
    choice: holds the key of one of the tab's models; None where there is one.
    scale: holds the scale of the result, 0 for the model's own; None where it is not chosen.
    """

    service: Service
    tab: Tab
    suffix: gr.Radio
    outputs: Outputs
    buttons: Sequence[gr.Button]
    choice: gr.Radio | gr.Dropdown | None = None
    scale: gr.Radio | None = None

    def run_fields(self, button: gr.Button, fields: Sequence[Field], *, on_white: bool = False) -> None:
        """Let the button run what the fields hold."""
        self._run_fields(button.click, fields, on_white)

    def run_random_seeds(self, fields: Sequence[Field]) -> None:
        """Let the buttons that draw a seed run it at once."""
        for button, seed in (field.random for field in fields if field.random is not None):
            drawn = button.click(random_seed, None, seed, show_progress="hidden", api_visibility="private")
            self._run_fields(drawn.then, fields, on_white=False)

    def _run_fields(self, event: Callable[..., Any], fields: Sequence[Field], on_white: bool) -> None:
        def read(values: Values) -> Run:
            sources = {field.name: field.source(values) for field in fields}
            return self._run(values, sources, fields[0].title(values), on_white=on_white)

        self._on(event, read, [component for field in fields for component in field.components])

    def run_examples(self, buttons: Sequence[gr.Button]) -> None:
        """Let each button run the chosen model's example of its place."""
        for place, button in enumerate(buttons):

            def read(values: Values, *, place: int = place) -> Run:
                return self._run(values, self._model(values).examples[place], f"test-pattern-{place + 1}.png")

            self._on(button.click, read)

    def _model(self, values: Values) -> ServedModel:
        return self.tab.models[0] if self.choice is None else self.service.models[values[self.choice]]

    def _run(self, values: Values, sources: Sources, name: str, *, on_white: bool = False) -> Run:
        scale = 0 if self.scale is None else values[self.scale]
        options = PredictOptions(upscale=UpscaleOptions(scale or None))
        return Run(JobRequest(self._model(values), sources, options, on_white), name, values[self.suffix])

    def _on(
        self, event: Callable[..., Any], read: Callable[[Values], Run], components: Sequence[Component] = ()
    ) -> None:
        import gradio as gr

        outputs = self.outputs
        settings = [each for each in (self.suffix, self.choice, self.scale) if each is not None]

        async def run(values: Values) -> AsyncIterator[Values]:
            yield dict.fromkeys(self.buttons, gr.update(interactive=False))
            try:
                async with aclosing(run_job(self.service, outputs, lambda: read(values))) as shown:
                    async for each in shown:
                        yield each
            except Exception:  # the page says that there was one, the log which
                yield outputs.say(EMPTY)
                raise

        def free() -> list[Any]:
            return [gr.update(interactive=True)] * len(self.buttons)

        ran = event(
            run,
            {*components, *settings},
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

    if len(tab.models) == 1:
        return None
    choices = [(direction_label(served.model), served.key) for served in tab.models]
    return gr.Radio(choices, value=tab.models[0].key, label="Direction", elem_classes="direction")


def run_button(text: str = "Run") -> gr.Button:
    import gradio as gr

    return gr.Button(text, variant="primary", elem_classes="run")


def example_buttons(tab: Tab) -> list[gr.Button]:
    """One for each example that all models of the tab have."""
    import gradio as gr

    count = min(len(served.examples) for served in tab.models)
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


def build_outputs(*, compares: bool = True) -> Outputs:
    """What a run fills.

    compares: the image before lies beside the result; else the result stands alone.
    """
    import gradio as gr

    with gr.Column(elem_classes="outputs"):
        message = gr.HTML(EMPTY if compares else EMPTY_RESULT, container=False)
        stop = gr.Button("Stop", visible=False, elem_classes="stop")
        progress = gr.State()
        stop.click(stop_job, progress, show_progress="hidden", api_visibility="private")
        with gr.Column(visible=False) as result:
            image = slider() if compares else single()
            return Outputs(
                message,
                stop,
                progress,
                result,
                image,
                facts=gr.HTML(container=False, padding=False),
                download=gr.DownloadButton("Download", elem_classes="download"),
                command=gr.Textbox(
                    label="The same on the command line", interactive=False, buttons=["copy"], elem_classes="command"
                ),
            )


def slider() -> gr.ImageSlider:
    import gradio as gr

    image = gr.ImageSlider(label="Before and after", format="png", max_height=640, elem_classes="result-slider")
    gr.HTML('<p class="zoom-hint">Scroll on the image to look closer.</p>', container=False)
    return image


def single() -> gr.Image:
    import gradio as gr

    return gr.Image(
        label="Result",
        alt_text="What the model made",
        format="png",
        interactive=False,
        buttons=["fullscreen"],
        elem_classes="result-image",
    )


def stop_job(progress: JobProgress | None) -> None:
    if progress is not None:
        progress.stop()


def about(tab: Tab) -> None:
    """The fold of what is known of the tab's models."""
    import gradio as gr

    with gr.Accordion("About this model", open=False):
        gr.HTML("".join(description_list(known_of(served), "how") for served in tab.models), container=False)


# What a run gives.


async def run_job(service: Service, outputs: Outputs, read: Callable[[], Run]) -> AsyncGenerator[Values, None]:
    """Run the model; show how far it is, then the result, or what is wrong. Closed early, it stops the job."""
    try:
        run = read()
        check(run)
        file, progress = result_path(run), JobProgress()
        ended = asyncio.wrap_future(job := service.submit(run.request, file, progress=progress))
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
        previews = await asyncio.to_thread(write_previews, result)
    except StoppedError:
        yield outputs.say('<p class="empty" role="status">Stopped: there is no result.</p>')
    except UserError as error:
        yield outputs.say(f'<p class="empty refusal" role="alert">{escape(str(error))}</p>')
    else:
        yield show_result(outputs, run, result, previews)


def check(run: Run) -> None:
    """Raises UserError for a run that lacks an input."""
    missing = (
        each for each in run.served.spec.inputs if not each.optional and run.request.sources.get(each.name) is None
    )
    for given in missing:
        raise UserError(f"There is no {given.name} yet: put one in first.")
    if run.suffix not in FORMATS.values():
        raise UserError(f"no format {run.suffix!r}: expected {', '.join(FORMATS)}")


def show_result(outputs: Outputs, run: Run, result: Result, previews: tuple[Path, ...]) -> Values:
    import gradio as gr

    command = command_of(run)
    return {
        outputs.message: gr.update(visible=False),
        outputs.stop: gr.update(visible=False),
        outputs.result: gr.update(visible=True),
        outputs.image: previews if len(previews) > 1 else previews[0],
        outputs.facts: description_list(facts(run.served, result), "facts"),
        outputs.download: gr.update(value=result.file, label=f"Download {run.suffix.removeprefix('.').upper()}"),
        outputs.command: gr.update(value=command, visible=bool(command)),
    }


def command_of(run: Run) -> str:
    """What does the same on the command line; empty where the model takes more than an image."""
    served, scale = run.served, run.request.options.upscale.scale
    if not served.spec.runs_in_tiles:
        return ""
    scales = ["--scale", f"{scale:g}"] if scale not in (None, served.spec.scale) else []
    words = ["gan-tasks", "apply", str(served.path), run.name, f"result{run.suffix}", *served.options, *scales]
    return shlex.join(words)


def progress_html(progress: JobProgress) -> str:
    """What is shown of a job before its end, as HTML."""
    bar, left = "<progress></progress>", ""
    if progress.stopped:
        what = "Stopping…" if progress.tiles == 0 else "Stopping after this tile…"
    elif progress.began_s is None:
        what = "Waiting for other jobs…"
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


def result_path(run: Run) -> Path:
    """A file in a new folder, named after the first input and the model."""
    return new_folder() / f"{Path(run.name).stem[:50]}-{run.served.key}{run.suffix}"


def new_folder() -> Path:
    """A folder from which Gradio serves files; it deletes them by their age."""
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder()) / secrets.token_hex(16)
    folder.mkdir(parents=True)
    return folder


def write_previews(result: Result) -> tuple[Path, ...]:
    """Before and after, or the result alone, as PNG, which every browser shows; without loss and in the full size of
    the result."""
    before, after = (result.file.with_name(f"{part}.png") for part in ("before", "after"))
    if result.file.suffix == ".png":
        after = result.file
    else:
        write(after, result.after)
    if result.before is None:
        return (after,)
    height, width = result.after.pixels.shape[:2]
    write(before, enlarged(result.before, height, width))
    return before, after


def enlarged(picture: Picture, height: int, width: int) -> Picture:
    """The picture in the size of a result that it lies beside, by bicubic interpolation."""
    return Picture(resized(picture.pixels, (height, width), "bicubic"), picture.icc_profile)


def facts(served: ServedModel, result: Result) -> dict[str, str]:
    height, width = result.after.pixels.shape[:2]
    direction = {"Direction": direction_label(served.model)} if served.spec.direction else {}
    return (
        {"Model": served.title}
        | direction
        | {
            "Result": f"{width} × {height} px",
            "Time": f"{result.seconds:.3f} s",
            "Provider": served.model.runs_on,
        }
    )


def known_of(served: ServedModel) -> dict[str, str]:
    model = served.model
    entries = {"Direction": direction_label(model)} if served.spec.direction else {}
    entries |= {"Task": served.spec.task, "Model": model.title, "File": served.path.name, "Provider": model.runs_on}
    entries |= {"Licence": model.licence, "Training data": model.training_data}
    stated = {term: text or "not stated" for term, text in entries.items()}
    return stated | {"HTTP": f"POST /api/{served.key}/run with {form_parts(served.spec)} in a multipart form"}


def form_parts(spec: ModelSpec) -> str:
    """The parts of a form that runs a model, such as: the file `image` and the field `label`."""

    def part(given: InputSpec) -> str:
        return f"the {'file' if given.is_spatial else 'field'} `{given.name}`" + (
            " (optional)" if given.optional else ""
        )

    *parts, last = map(part, spec.inputs)
    return f"{', '.join(parts)} and {last}" if parts else last


def description_list(entries: dict[str, str], css_class: str) -> str:
    rows = "".join(f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in entries.items())
    return f'<dl class="{css_class}">{rows}</dl>'
