"""Serve the page, open it in a browser and use its controls."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from gan_tasks.apps.web.job_queue import Service
from gan_tasks.apps.web.server import build_app, make_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 20_000  # long enough for a busy machine
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", Path(__file__).parents[2] / "build" / "screenshots"))


@contextmanager
def served(service: Service, folder: Path, *, behind: str = "") -> Iterator[str]:
    """Serve a page and yield its address. `behind` is the path of a reverse proxy, which the proxy removes."""
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listener:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        address = f"http://localhost:{listener.getsockname()[1]}{behind}"
        app = build_app(service, public_url=address if behind else "")
        server = make_server(app, service)
        if behind:
            server.config.app = without_path(app, behind)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive(), "the server must end although pages are open"


def without_path(app: Any, path: str) -> Any:
    """Wrap the app in a reverse proxy that serves only this path."""

    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] != "/favicon.ico":  # browsers request it automatically
            inside = scope["path"].startswith(f"{path}/")
            scope = scope | {"path": scope["path"].removeprefix(path) if inside else "/outside"}
        await app(scope, receive, send)

    return proxied


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """Open the page. It must not log errors or send requests to other servers."""
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE_MS)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if is_elsewhere(request.url, address) else None)
    page.goto(address)
    shown(page.locator(".columns button")).first.wait_for()
    try:
        yield page
    finally:
        page.context.close()
    assert not wrong


def is_elsewhere(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


def shown(elements: Locator) -> Locator:
    """Return the elements of the open tab."""
    return elements.filter(visible=True)


def choose_file(page: Page, path: Path) -> None:
    """Choose a file in the first visible empty image field."""
    dropping = shown(page.get_by_role("button", name="Drop an image file here to upload")).first
    with page.expect_file_chooser() as chooser:
        dropping.click()
    chooser.value.set_files(path)


def press(page: Page, name: str) -> None:
    shown(page.get_by_role("button", name=re.compile(f"^{name}( ▼)?$"))).click()  # the mark of a collapsible section


def download(page: Page, path: Path, name: str = "Download PNG") -> Path:
    with page.expect_download() as event:
        shown(page.get_by_role("button", name=name)).click()
    event.value.save_as(path)
    return path


def fact(page: Page, term: str) -> Locator:
    return shown(page.locator(".facts div").filter(has=page.get_by_text(term, exact=True)).locator("dd"))


def sizes_in_slider(page: Page) -> list[list[int]]:
    """Return width and height of the before and after image files in pixels, when both are loaded."""
    images = shown(page.locator(".result-slider img"))
    expect(images).to_have_count(2, timeout=PATIENCE_MS)
    sizes: list[list[int]] = images.evaluate_all(
        """all => Promise.all(all.map(async (one) => {
            await one.decode();
            return [one.naturalWidth, one.naturalHeight];
        }))"""
    )
    return sizes


def check_look(page: Page, axe: Any, name: str) -> None:
    """Check that nothing is wider than the screen and that axe-core finds no problems; write a screenshot."""
    page.wait_for_timeout(700)  # wait for the end of fade-in animations, so that colours are final
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    violations = axe.run(page).response["violations"]
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in violations] == []
