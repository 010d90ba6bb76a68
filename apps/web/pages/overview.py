"""The first tab of a page with many models: what they are for, and buttons that open their tabs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from gan_tasks.apps.web.served_models import Tab

if TYPE_CHECKING:
    import gradio as gr

TITLE = "Models"


def build(tabs: Sequence[Tab], bar: gr.Tabs) -> None:
    """Add the list of the tabs and their models.

    bar: the tabs of the page; the id of each is the key of its first model.
    """
    import gradio as gr

    for tab in tabs:
        with gr.Row():
            button = gr.Button(tab.title, size="sm", scale=0, min_width=180)
            gr.HTML("".join(f"<p>{escape(line)}</p>" for line in lines_of(tab)), container=False)
        show = partial(opened, tab.models[0].key)
        button.click(show, None, bar, show_progress="hidden", api_visibility="private")


def lines_of(tab: Tab) -> list[str]:
    """What the models of a tab are for, with their names where there are several."""
    if len(tab.models) == 1:
        return [tab.models[0].summary]
    return [f"{served.title}: {served.summary}" for served in tab.models]


def opened(key: str) -> gr.Tabs:
    """What shows the tab with this id."""
    import gradio as gr

    return gr.Tabs(selected=key)
