"""The part of a page that shows how far a run is, and its result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gan_tasks.apps.web.fields import Values
from gan_tasks.apps.web.job_queue import JobProgress, StoppedError
from gan_tasks.datasets.errors import UserError, is_out_of_memory

if TYPE_CHECKING:
    import gradio as gr

Made = TypeVar("Made")

EMPTY = '<p class="empty">The result appears here.</p>'
REFRESH_S = 0.4
"""Between two looks at how far a job is. A job that is done sooner shows its result alone."""
UPLOAD_IS_GONE = "The server has deleted the upload: put the image in again."
"""Uploads are deleted by their age, and the oldest where there are too many."""
OUT_OF_MEMORY = (
    "The memory of the server does not suffice for this: wait until it has less to do, or use a smaller model."
)
FAILED = "This failed for a reason that was not expected: the log of the server has it."


class Messages(Protocol):
    """What shows how far a job is. progress: the `JobProgress` of the job that runs."""

    @property
    def progress(self) -> gr.State: ...

    def say(self, message: str, *, running: bool = False) -> Values: ...


@dataclass(frozen=True)
class Job(Generic[Made]):
    """A job of a page. start: queues it. show: what the result changes on the page; it runs in a thread."""

    start: Callable[[JobProgress], Future[Made]]
    show: Callable[[Made], Values]


async def follow_job(outputs: Messages, read: Callable[[], Job[Made]]) -> AsyncGenerator[Values, None]:
    """Run a job; show how far it is, then the result, or what is wrong. Closed early, it stops the job.

    read: the job that the page asks for. Raises UserError for what cannot be done.

    Raises any unexpected error, for the log, once the page says that there was one.
    """
    try:
        asked, progress = read(), JobProgress()
        ended = asyncio.wrap_future(job := asked.start(progress))
        try:
            while not (await asyncio.wait([ended], timeout=REFRESH_S))[0]:
                if progress.stopped:
                    job.cancel()  # if it still waits for others
                yield outputs.say(progress_html(progress), running=True) | {outputs.progress: progress}
        finally:  # the page may have been left
            progress.stop()
            ended.cancel()
        if job.cancelled():
            raise StoppedError("the job was stopped before its turn")
        shown = await asyncio.to_thread(asked.show, await ended)
    except StoppedError:
        yield outputs.say('<p class="empty" role="status">Stopped: there is no result.</p>')
    except FileNotFoundError:
        yield outputs.say(refusal(UPLOAD_IS_GONE))
    except UserError as error:
        yield outputs.say(refusal(str(error)))
    except Exception as error:
        yield outputs.say(refusal(OUT_OF_MEMORY if is_out_of_memory(error) else FAILED))
        raise
    else:
        yield shown


def refusal(sentence: str) -> str:
    return f'<p class="empty refusal" role="alert">{escape(sentence)}</p>'


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


def build_outputs(*, compares: bool = True) -> Outputs:
    """What a run fills.

    compares: the image before lies beside the result; else the result stands alone.
    """
    import gradio as gr

    with gr.Column(elem_classes="outputs"):
        message = gr.HTML(EMPTY, container=False)
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


def progress_html(progress: JobProgress) -> str:
    """What is shown of a job before its end, as HTML."""
    bar, left = "<progress></progress>", ""
    if progress.stopped:
        what = "Stopping…" if progress.tiles == 0 else f"Stopping after this {progress.part}…"
    elif progress.began_s is None:
        what = "Waiting for other jobs…"
    elif progress.tiles == 0:
        what = "Running…"
    elif progress.tiles_done == progress.tiles:
        what = "Writing the result…"
    else:
        what = f"{progress.part.capitalize()} {progress.tiles_done + 1} of {progress.tiles}"
        bar = f'<progress max="{progress.tiles}" value="{progress.tiles_done}"></progress>'
        time = "" if (left_s := progress.left_s()) is None else f"about {duration(left_s)} left"
        left = ", ".join(filter(None, (progress.remark, time)))
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
