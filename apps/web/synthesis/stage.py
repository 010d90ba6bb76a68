"""The part of the page that shows the image: it stays in view while the controls are used."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.web.components import description_list
from gan_tasks.apps.web.fields import Values
from gan_tasks.apps.web.outputs import single, stop_job
from gan_tasks.apps.web.run_form import write_previews
from gan_tasks.apps.web.served_models import ServedModel
from gan_tasks.apps.web.synthesis.images import Image

if TYPE_CHECKING:
    import gradio as gr

EMPTY = '<p class="empty">The image appears here.</p>'


@dataclass
class Turn:
    """Whose turn it is among the jobs of one visitor: a newer job stops the one before.

    job: what the newest job is known by.
    is_kept: no newer job may begin.
    """

    job: object = None
    is_kept: bool = False


@dataclass(frozen=True)
class Stage:
    """The image, what is said of the job that runs, and below both what is known of the image.

    progress: the `JobProgress` of the job that runs.
    turn: the `Turn` of the visitor.
    """

    image: gr.Image
    message: gr.HTML
    stop: gr.Button
    progress: gr.State
    turn: gr.State
    details: gr.Column
    download: gr.DownloadButton
    facts: gr.HTML
    command: gr.Textbox

    def components(self) -> list[Any]:
        return list(vars(self).values())

    def say(self, message: str, *, running: bool = False) -> Values:
        """Show HTML below the image, while a job runs with the button that stops it."""
        import gradio as gr

        return {self.message: gr.update(value=message, visible=True), self.stop: gr.update(visible=running)}

    def quiet(self) -> Values:
        """Show no message."""
        import gradio as gr

        return {self.message: gr.update(visible=False), self.stop: gr.update(visible=False)}

    def show(self, served: ServedModel, image: Image) -> Values:
        """Show a generated image in place of the one before."""
        import gradio as gr

        file, point = image.result.file, image.named.point
        (preview,) = write_previews(image.result)
        words = ["gan-tasks", "generate", served.path.name, "images", "--seeds", str(point.seed)]
        words += [] if point.label is None else ["--class", class_name(served, point.label)]
        words += [] if point.truncation == 1 else ["--truncation", f"{point.truncation:g}"]
        command = shlex.join([*words, *served.options])
        return self.quiet() | {
            self.image: gr.update(value=preview, visible=True),
            self.details: gr.update(visible=True),
            self.download: gr.update(value=file, label=f"Download {file.suffix.removeprefix('.').upper()}"),
            self.facts: description_list(facts(served, image), "facts"),
            self.command: gr.update(value=command, visible=point.seed is not None),
        }


def build_stage() -> Stage:
    import gradio as gr

    with gr.Column(elem_classes="stage"):
        image = single()
        image.visible = False
        message = gr.HTML(EMPTY, container=False)
        stop = gr.Button("Stop", visible=False, elem_classes="stop")
        progress, turn = gr.State(), gr.State(Turn())
        stop.click(stop_job, progress, show_progress="hidden", api_visibility="private")
    with gr.Column(visible=False, elem_classes="details") as details:
        return Stage(
            image,
            message,
            stop,
            progress,
            turn,
            details,
            download=gr.DownloadButton("Download", elem_classes="download"),
            facts=gr.HTML(container=False, padding=False),
            command=gr.Textbox(
                label="The same on the command line", interactive=False, buttons=["copy"], elem_classes="command"
            ),
        )


def class_name(served: ServedModel, label: int) -> str:
    """The name of a class, or its number if it has none."""
    names = next((given.names for given in served.spec.inputs if given.kind == "label"), ())
    return names[label] if names else str(label)


def facts(served: ServedModel, image: Image) -> dict[str, str]:
    height, width = image.result.after.pixels.shape[:2]
    label = image.named.point.label
    return {
        "From": image.named.title,
        **({} if label is None else {"Class": class_name(served, label)}),
        "Model": served.title,
        "Result": f"{width} × {height} px",
        "Time": f"{image.result.seconds:.3f} s",
        "Provider": served.model.runs_on,
    }
