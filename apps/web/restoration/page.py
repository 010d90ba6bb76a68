"""The page that restores old photographs: the steps to take, the result, and what each step made."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.web import components, fields
from gan_tasks.apps.web.fields import Values
from gan_tasks.apps.web.job_queue import Result, Service
from gan_tasks.apps.web.outputs import Job, Outputs, build_outputs, follow_job
from gan_tasks.apps.web.restoration.photographs import KEY, Photographs, RestoreRequest
from gan_tasks.apps.web.run_form import SHOW_OUTPUTS, facts_of, new_folder, shown_result, write_previews
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.photographs.steps import Step, default_model

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components.base import Component

TITLE = "Old photographs"
LABELS: dict[Step, str] = {
    "descratch": "Mend scratches",
    "restore": "Remove noise and blur",
    "colourise": "Colourise",
    "upscale": "Enlarge",
}
COLOURISE_LABELS = [("Gray ones", "gray"), ("Gray and toned ones", "toned"), ("Any", "any")]


@dataclass(frozen=True)
class Form:
    """The components of the page that a job is read from."""

    image: Component
    steps: gr.CheckboxGroup
    scale: gr.Radio
    colourise_if: gr.Radio
    suffix: gr.Radio

    def request(self, values: Values, photographs: Photographs) -> RestoreRequest:
        """The request that the components hold. Raises UserError for no photograph."""
        source: Path | None = values[self.image]
        if source is None:
            raise UserError("There is no photograph yet: put one in first.")
        scale = values[self.scale] or photographs.scale
        return RestoreRequest(source, values[self.steps], scale, values[self.colourise_if], keep_steps=True)


@dataclass(frozen=True)
class StepViews:
    """What shows the result after each step. previews: before and after, of each step."""

    step: gr.Radio
    previews: gr.State


def build(service: Service, photographs: Photographs) -> None:
    """Add the page to the Gradio blocks that are open."""
    import gradio as gr

    with gr.Row(elem_classes="columns"):
        with gr.Column():
            image = fields.upload("Photograph")
            steps = gr.CheckboxGroup(
                [(LABELS[step], step) for step in photographs.steps], value=list(photographs.steps), label="Steps"
            )
            run = components.run_button("Restore")
            chooses = "colourise" in photographs.steps or len(photographs.upscalers) > 1
            with gr.Accordion("Choices", open=False, visible=chooses):
                colourise_if = gr.Radio(
                    COLOURISE_LABELS,
                    value="gray",
                    label="Photographs to colourise",
                    info="Toned ones have one tone, such as sepia. Colours that are there are replaced.",
                    visible="colourise" in photographs.steps,
                )
                scale = gr.Radio(
                    [(f"{scale}×", scale) for scale in photographs.upscalers],
                    value=min(photographs.upscalers, default=None),  # Gradio refuses a value that is no choice
                    label="Enlarge",
                    visible=len(photographs.upscalers) > 1,
                )
            suffix = components.settings()
        with gr.Column():
            with gr.Column(visible=False) as after:
                views = StepViews(gr.Radio([], label="Result after"), gr.State())
            outputs = build_outputs()
    about(photographs)
    views.step.input(
        lambda number, previews: previews[number] if previews and number in range(len(previews)) else gr.skip(),
        [views.step, views.previews],
        outputs.image,
        show_progress="hidden",
        api_visibility="private",
    )
    form = Form(image, steps, scale, colourise_if, suffix)

    async def restore(values: Values) -> AsyncIterator[Values]:
        yield {run: gr.update(interactive=False), after: gr.update(visible=False)}
        states = follow_job(outputs, lambda: job(service, photographs, outputs, views, form, values))
        async with aclosing(states) as shown:
            async for each in shown:
                yield each | ({after: gr.update(visible=True)} if views.step in each else {})

    ran = run.click(
        restore,
        {*vars(form).values()},
        [*outputs.components(), *vars(views).values(), after, run],
        js=SHOW_OUTPUTS,
        show_progress="hidden",
        api_visibility="private",
    )
    ran.then(lambda: gr.update(interactive=True), None, run, show_progress="hidden", api_visibility="private")


def job(
    service: Service, photographs: Photographs, outputs: Outputs, views: StepViews, form: Form, values: Values
) -> Job[Result]:
    """The job that the page asks for. Raises UserError for what cannot be done."""
    request = form.request(values, photographs)
    asked = photographs.job(request)
    assert isinstance(request.source, Path)  # an upload
    stem, suffix = request.source.stem[:50], values[form.suffix]
    if suffix not in components.FORMATS.values():
        raise UserError(f"no format {suffix!r}: expected {', '.join(components.FORMATS)}")
    file = new_folder() / f"{stem}-{KEY}{suffix}"
    command = command_of(photographs, request, suffix)
    return Job(
        lambda progress: service.submit(asked, file, progress=progress),
        lambda result: shown_steps(outputs, views, result, command),
    )


def command_of(photographs: Photographs, request: RestoreRequest, suffix: str) -> str:
    """What does the same on the command line."""
    assert isinstance(request.source, Path)
    words = ["gan-tasks", "restore", request.source.name, f"result{suffix}", "--steps", *request.steps]
    options: dict[tuple[str, str], None] = {}
    for step in request.steps:
        served = photographs.model(step, request.scale)
        if str(served.path) != default_model(step, request.scale):
            words += [f"--{step}", served.path.name]
        options |= dict.fromkeys(zip(served.options[::2], served.options[1::2], strict=True))
    if "upscale" in request.steps and request.scale != 2:
        words += ["--scale", str(request.scale)]
    if "colourise" in request.steps and request.colourise_if != "gray":
        words += ["--colourise-if", request.colourise_if]
    return shlex.join([*words, *(word for option in options for word in option)])


def shown_steps(outputs: Outputs, views: StepViews, result: Result, command: str) -> Values:
    """What shows the result, with a choice between the steps."""
    import gradio as gr

    names = result.models
    steps = [replace(result, after=step, file=new_folder() / "step") for step in result.steps]
    previews = [write_previews(each) for each in (*steps, result)]
    facts = {"Steps": ", ".join(names)} | facts_of(result, result.runs_on)
    choices = [(f"{number}. {name}", number - 1) for number, name in enumerate(names, start=1)]
    return shown_result(outputs, result, previews[-1], facts, command) | {
        views.previews: previews,
        views.step: gr.update(choices=choices, value=len(choices) - 1, visible=len(choices) > 1),
    }


def about(photographs: Photographs) -> None:
    """Add what is known of the models."""
    import gradio as gr

    models = (*photographs.models.values(), *photographs.upscalers.values())
    parts: list[dict[str, Any]] = [components.known_of(served) for served in models]
    with gr.Accordion("About these models", open=False):
        gr.HTML("".join(components.description_list(part, "how") for part in parts), container=False)
