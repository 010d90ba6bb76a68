"""The web page: a tab for each model."""

from __future__ import annotations

import asyncio
import os
from html import escape
from typing import TYPE_CHECKING

from gan_tasks import __version__
from gan_tasks.apps import pix2pix_page
from gan_tasks.apps.service import Service
from gan_tasks.apps.theme import CSS, build_theme

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

KEPT_SECONDS = 3600
"""Uploads and results are deleted when they are older."""


def mount_studio(app: FastAPI, service: Service) -> asyncio.Event:
    """Put the page at the root of the app; returns the event that ends the connections which open pages hold."""
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

    models = list(service.models.values())
    title = models[0].model.title if len(models) == 1 else "Try these models"
    page = gr.Blocks(
        title=f"{title} – gan-tasks", analytics_enabled=False, delete_cache=(KEPT_SECONDS // 4, KEPT_SECONDS)
    )
    with page:
        gr.HTML(header(title), elem_classes="header", container=False)
        if len(models) == 1:
            pix2pix_page.build(service, models[0])
        else:
            with gr.Tabs():
                for served in models:
                    with gr.Tab(served.model.title, id=served.key):
                        pix2pix_page.build(service, served)
    # The service bounds the jobs; were Gradio's own limits lower, its waiting jobs would be counted apart.
    # With `api_open` requests would go past the queue.
    limit = service.limits.queue_size + 1
    page.queue(max_size=limit, default_concurrency_limit=limit, api_open=False)
    return page


def header(title: str) -> str:
    return (
        f'<header><p class="product">gan-tasks {__version__}</p><h1>{escape(title)}</h1>'
        "<p>Upload a picture or draw one, run it, and compare before and after. "
        "Pictures stay on the machine that runs this page.</p></header>"
    )
