"""The web page: a tab for each model, or for those that belong together, with the page of their use.

Models of gan-tasks-models are listed in a tab before these.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING

from gan_tasks import __version__
from gan_tasks.apps.web.job_queue import Service
from gan_tasks.apps.web.pages import generate, inpaint, overview, stylize, translate, upscale
from gan_tasks.apps.web.restoration import page as restoration
from gan_tasks.apps.web.restoration.photographs import Photographs
from gan_tasks.apps.web.served_models import Tab
from gan_tasks.apps.web.theme import CSS, build_theme
from gan_tasks.spec import Use

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI
    from gradio.routes import App

PAGES: Mapping[Use, Callable[[Service, Tab], None]] = {
    "translate": translate.build,
    "upscale": upscale.build,
    "inpaint": inpaint.build,
    "generate": generate.build,
    "stylize": stylize.build,
}
"""What builds the page of a tab, by the use of its models."""


def mount_app(app: FastAPI, service: Service, *, public_url: str = "") -> App:
    """Put the page at the root of the app; returns Gradio's app.

    Its `stop_event` ends the connections that open pages hold.

    public_url: where browsers find it, if that is not the address that they ask (see server.serve).
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing is sent anywhere; read when Gradio is imported
    # Else the queue keeps the last 10,000 events, and makes a table of them after each.
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"], os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1", str(10**9)
    import gradio as gr

    blocks = build_blocks(service)
    # Gradio asks whether a path in a request leads to an upload, and not to any file of the disk, only of pages
    # that were launched; mounting one does not say so.
    blocks.has_launched = True
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        root_path=public_url or None,
        theme=build_theme(),
        css=CSS,
        footer_links=[],
        run_history=False,
        show_error=False,  # of what is not a person's mistake, the log alone holds the details
        max_file_size=service.limits.max_upload_bytes,
        ssr_mode=False,
    )
    page: App = app.routes[-1].app  # type: ignore[attr-defined]  # the mount, which Gradio adds last
    return page


def build_blocks(service: Service) -> gr.Blocks:
    import gradio as gr

    tabs, photographs = service.tabs, Photographs.of(service.models.values())
    title = tabs[0].title if len(tabs) == 1 else "Try these models"
    # Files are deleted by `guard/kept_files.py`, which counts those too that Gradio knows nothing of.
    page = gr.Blocks(title=f"{title} – gan-tasks", analytics_enabled=False)
    with page:
        gr.HTML(header(title), elem_classes="header", container=False)
        if len(tabs) == 1 and photographs is None:
            PAGES[tabs[0].spec.use](service, tabs[0])
        else:
            with gr.Tabs() as bar:
                if any(served.summary for served in service.models.values()):
                    with gr.Tab(overview.TITLE):
                        overview.build(tabs, bar)
                if photographs is not None:
                    with gr.Tab(restoration.TITLE, id=restoration.TITLE):
                        restoration.build(service, photographs)
                for tab in tabs:
                    with gr.Tab(tab.title, id=tab.models[0].key):
                        PAGES[tab.spec.use](service, tab)
    # The service bounds the jobs; were Gradio's own limits lower, its waiting jobs would be counted apart.
    # With `api_open` requests would go past the queue.
    limit = service.limits.queue_size + 1
    page.queue(max_size=limit, default_concurrency_limit=limit, api_open=False)
    return page


def header(title: str) -> str:
    return (
        f'<header><p class="product">gan-tasks {__version__}</p><h1>{escape(title)}</h1>'
        "<p>Choose the input, run the model, and look at the result. "
        "Images stay on the machine that runs this page.</p></header>"
    )
