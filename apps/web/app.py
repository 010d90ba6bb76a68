"""The web page: a tab for each model, or those that belong together, with the page of its task."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

from gan_tasks import __version__
from gan_tasks.apps.web.job_queue import Service, Tab
from gan_tasks.apps.web.pages import inpaint as fill_page
from gan_tasks.apps.web.pages import translate as restyle_page
from gan_tasks.apps.web.pages import translate_drawing as pix2pix_page
from gan_tasks.apps.web.pages import upscale as upscale_page
from gan_tasks.apps.web.theme import CSS, build_theme
from gan_tasks.export.models.base import SUPER_RESOLUTION

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

KEPT_SECONDS = 3600
"""Uploads and results are deleted when they are older."""

PAGES: dict[str, Callable[[Service, Tab], None]] = {
    "pix2pix": pix2pix_page.build,
    SUPER_RESOLUTION: upscale_page.build,
}
"""By the task's name; fill_page is that of models that take a mask, restyle_page that of all others."""


def mount_studio(app: FastAPI, service: Service, *, public_url: str = "") -> asyncio.Event:
    """Put the page at the root of the app; returns the event that ends the connections which open pages hold.

    public_url: where browsers find it, if that is not the address that they ask (see server.serve).
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing is sent anywhere; read when Gradio is imported
    import gradio as gr

    blocks = build_studio(service)
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
    page = app.routes[-1].app  # type: ignore[attr-defined]  # the mount, which Gradio adds last
    stop: asyncio.Event = page.stop_event
    return stop


def build_studio(service: Service) -> gr.Blocks:
    import gradio as gr

    tabs = service.tabs
    title = tabs[0].title if len(tabs) == 1 else "Try these models"
    page = gr.Blocks(
        title=f"{title} – gan-tasks", analytics_enabled=False, delete_cache=(KEPT_SECONDS // 4, KEPT_SECONDS)
    )
    with page:
        gr.HTML(header(title), elem_classes="header", container=False)
        if len(tabs) == 1:
            build_page(service, tabs[0])
        else:
            with gr.Tabs():
                for tab in tabs:
                    with gr.Tab(tab.title, id=tab.ways[0].key):
                        build_page(service, tab)
    # The service bounds the jobs; were Gradio's own limits lower, its waiting jobs would be counted apart.
    # With `api_open` requests would go past the queue.
    limit = service.limits.queue_size + 1
    page.queue(max_size=limit, default_concurrency_limit=limit, api_open=False)
    return page


def build_page(service: Service, tab: Tab) -> None:
    model = tab.ways[0].model
    build = fill_page.build if "mask" in model.inputs else PAGES.get(model.name, restyle_page.build)
    build(service, tab)


def header(title: str) -> str:
    return (
        f'<header><p class="product">gan-tasks {__version__}</p><h1>{escape(title)}</h1>'
        "<p>Choose a picture, run it, and compare before and after. "
        "Pictures stay on the machine that runs this page.</p></header>"
    )
