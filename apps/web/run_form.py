"""How the buttons of a page run its models."""

from __future__ import annotations

import math
import secrets
import shlex
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.web.components import FORMATS, description_list
from gan_tasks.apps.web.fields import Field, Values, random_seed
from gan_tasks.apps.web.job_queue import JobRequest, Result, Service
from gan_tasks.apps.web.outputs import Job, Outputs, follow_job
from gan_tasks.apps.web.served_models import ServedModel, Sources, Tab, direction_label
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.inference.predictor import PredictOptions
from gan_tasks.export.inference.stylization.options import StylizeOptions
from gan_tasks.export.inference.upscale import UpscaleOptions
from gan_tasks.export.models.resizing import resized

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components.base import Component

SHOW_OUTPUTS = """(...inputs) => {
    const outputs = [...document.querySelectorAll(".outputs")].find((each) => each.offsetParent);
    if (outputs && outputs.getBoundingClientRect().top > innerHeight / 2) outputs.scrollIntoView();
    return inputs;
}"""
"""On a narrow screen the outputs are below; Gradio 6.31 takes no notice of its own `scroll_to_output`."""

MAX_PREVIEW_PIXELS = 4096 * 4096
"""Larger results are shown smaller: browsers take seconds to show them, and gigabytes."""


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
    preserve_colour: whether the result keeps the colours of the image; None where it is not chosen.
    """

    service: Service
    tab: Tab
    suffix: gr.Radio
    outputs: Outputs
    buttons: Sequence[gr.Button]
    choice: gr.Radio | gr.Dropdown | None = None
    scale: gr.Radio | None = None
    preserve_colour: gr.Checkbox | None = None

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
        keeps = self.preserve_colour is not None and values[self.preserve_colour]
        options = PredictOptions(upscale=UpscaleOptions(scale or None), stylize=StylizeOptions(keeps))
        return Run(JobRequest(self._model(values), sources, options, on_white), name, values[self.suffix])

    def _on(
        self, event: Callable[..., Any], read: Callable[[Values], Run], components: Sequence[Component] = ()
    ) -> None:
        import gradio as gr

        outputs = self.outputs
        settings = [each for each in (self.suffix, self.choice, self.scale, self.preserve_colour) if each is not None]

        async def run(values: Values) -> AsyncIterator[Values]:
            yield dict.fromkeys(self.buttons, gr.update(interactive=False))
            async with aclosing(run_job(self.service, outputs, lambda: read(values))) as shown:
                async for each in shown:
                    yield each

        def free() -> Values:  # by component: of a list Gradio takes the parts only where there are several buttons
            return dict.fromkeys(self.buttons, gr.update(interactive=True))

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


def run_job(service: Service, outputs: Outputs, read: Callable[[], Run]) -> AsyncGenerator[Values, None]:
    """Run the model and show the result, see `follow_job`."""

    def job() -> Job[Result]:
        run = read()
        check(run)
        return Job(
            lambda progress: service.submit(run.request, result_path(run), progress=progress),
            lambda result: show_result(outputs, run, result, write_previews(result)),
        )

    return follow_job(outputs, job)


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
    return shown_result(outputs, result, previews, facts(run.served, result), command_of(run))


def shown_result(
    outputs: Outputs, result: Result, previews: tuple[Path, ...], facts: dict[str, str], command: str
) -> Values:
    """What shows a result. command: what does the same on the command line; empty for nothing."""
    import gradio as gr

    suffix = result.file.suffix
    return {
        outputs.message: gr.update(visible=False),
        outputs.stop: gr.update(visible=False),
        outputs.result: gr.update(visible=True),
        outputs.image: previews if len(previews) > 1 else previews[0],
        outputs.facts: description_list(facts, "facts"),
        outputs.download: gr.update(value=result.file, label=f"Download {suffix.removeprefix('.').upper()}"),
        outputs.command: gr.update(value=command, visible=bool(command)),
    }


def command_of(run: Run) -> str:
    """What does the same on the command line; empty where the model takes more than an image."""
    served, scale = run.served, run.request.options.upscale.scale
    if not served.spec.runs_in_tiles:
        return ""
    scales = ["--scale", f"{scale:g}"] if scale not in (None, served.spec.scale) else []
    words = ["gan-tasks", "apply", served.path.name, run.name, f"result{run.suffix}", *served.options, *scales]
    return shlex.join(words)


def result_path(run: Run) -> Path:
    """A file in a new folder, named after the first input and the model."""
    return new_folder() / f"{Path(run.name).stem[:50]}-{run.served.key}{run.suffix}"


def new_folder() -> Path:
    """A folder from which Gradio serves files; `guard/kept_files.py` deletes them by age and size."""
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder()) / secrets.token_hex(16)
    folder.mkdir(parents=True)
    return folder


def write_previews(result: Result) -> tuple[Path, ...]:
    """Before and after, or the result alone, as PNG, which every browser shows; without loss and in the same size."""
    before, after = (result.file.with_name(f"{part}.png") for part in ("before", "after"))
    size = preview_size(result.after)
    if result.file.suffix == ".png" and size == result.after.pixels.shape[:2]:
        after = result.file
    else:
        write(after, in_size(result.after, size))
    if result.before is None:
        return (after,)
    write(before, in_size(result.before, size))
    return before, after


def preview_size(picture: Picture) -> tuple[int, int]:
    """(height, width) that the result is shown in: its own, or that of MAX_PREVIEW_PIXELS."""
    height, width = picture.pixels.shape[:2]
    factor = min(1.0, math.sqrt(MAX_PREVIEW_PIXELS / (height * width)))
    return max(1, int(height * factor)), max(1, int(width * factor))


def in_size(picture: Picture, size: tuple[int, int]) -> Picture:
    """The image in another size, by bicubic interpolation."""
    return replace(picture, pixels=resized(picture.pixels, size, "bicubic"))


def facts(served: ServedModel, result: Result) -> dict[str, str]:
    direction = {"Direction": direction_label(served.model)} if served.spec.direction else {}
    return {"Model": served.title} | direction | facts_of(result, served.model.runs_on)


def facts_of(result: Result, runs_on: str) -> dict[str, str]:
    height, width = result.after.pixels.shape[:2]
    is_shown_whole = preview_size(result.after) == (height, width)
    return {
        "Result": f"{width} × {height} px" + ("" if is_shown_whole else ", shown smaller here"),
        "Time": f"{result.seconds:.3f} s",
        "Provider": runs_on,
    } | ({"Remarks": "; ".join(result.notes)} if result.notes else {})
