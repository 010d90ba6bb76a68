"""A browser, a page in it, and a client of the REST interface, for the modules that define what is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from playwright.sync_api import Browser, Page

    from gan_tasks.apps.web.job_queue import Service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from browsing import CHROMIUM, PATIENCE_MS
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page of the module's `address`. Without a GPU a browser takes twice the time for one of twice the size."""
    from browsing import opened

    with opened(browser, address, viewport={"width": 1000, "height": 800}) as page:
        yield page


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    """A client of the module's `service`."""
    from fastapi.testclient import TestClient

    from gan_tasks.apps.web.server import build_app

    with TestClient(build_app(service), base_url="http://localhost") as client:
        yield client
