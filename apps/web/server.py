"""The host of the web page and the HTTP API: an address, limits and a clean end. Imports no torch."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
import webbrowser
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gan_tasks.apps.web.api.routes import add_health_routes, add_model_routes
from gan_tasks.apps.web.guard.answers import refusal
from gan_tasks.apps.web.guard.bounded_log import BoundedLog
from gan_tasks.apps.web.guard.hosts import Hosts, is_loopback, is_this_machine
from gan_tasks.apps.web.guard.kept_files import KEPT_S, KeptFiles
from gan_tasks.apps.web.guard.middleware import Guard, Policy
from gan_tasks.apps.web.guard.page_calls import Calls
from gan_tasks.apps.web.guard.routes import UPLOAD
from gan_tasks.apps.web.guard.sessions import PageSessions
from gan_tasks.apps.web.guard.token import PARAMETER, AccessToken, read_token
from gan_tasks.apps.web.idle import limit_arenas
from gan_tasks.apps.web.job_queue import Limits, Service
from gan_tasks.apps.web.served_models import ModelOptions, ServedModel, open_models, open_shipped
from gan_tasks.datasets.errors import UserError, on_one_line, visible
from gan_tasks.export.onnx.several.on_demand import OnDemandModel
from gan_tasks.pretrained.shipped import required_models

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

REPLY_TIMEOUT_SECONDS = 10
"""For sending off finished results when the server stops; the jobs themselves are waited for without a limit."""
FORCED_EVERY_S = 0.2
"""Between two looks at whether the server is to end at once."""
TERMINATED = 128 + signal.SIGTERM
DEFAULT_LIMITS = Limits()
CLEAN_EVERY_S = 2.0
"""Between two looks at what uploads, results and left pages take."""
MEMORY_ARENAS = 2
"""Heaps of the C library; the threads of a server would have eight for each core."""


def serve(
    models: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    limits: Limits = DEFAULT_LIMITS,
    token_file: Path | None = None,
    no_token: bool = False,
    provider: str = "auto",
    device: str = "auto",
    max_memory_bytes: int | None = None,
    public_url: str = "",
    open_browser: bool = False,
) -> None:
    """Serve models in a web page until SIGINT or SIGTERM; jobs taken by then are finished first.

    Args:
        models: .onnx files, run folders, public checkpoints and names of models; torch runs run folders and
            checkpoints. Each has a tab. The directions of one training share a tab, and models that upscale do.
            Without any, all installed models of gan-tasks-models, each opened when it is first used.
        host: the address to listen on; 0.0.0.0 is every one of this machine.
        port: 0 takes a free one.
        limits: what is refused, stopped or deleted.
        token_file: holds the token that every request has to show; None asks for none.
        no_token: listen without a token although other machines can connect to the host.
        provider: what runs the .onnx files (see `export/onnx/model.py`).
        device: auto, cpu, cuda or cuda:N.
        max_memory_bytes: the memory for a network's features, above which images are processed in tiles; None keeps
            each model's default.
        public_url: the address that a proxy in front gives the page, such as https://example.org/paint; the proxy
            takes the path off before it passes a request on.

    Raises UserError for what is no model, no model at all, an address that cannot be used, and one that other
    machines can connect to without a token, and SystemExit(143) after SIGTERM.
    """
    if public_url and not (urlsplit(public_url).scheme in ("http", "https") and urlsplit(public_url).hostname):
        raise UserError(f"{public_url} is no public address: expected all of it, such as https://example.org/paint")
    token = choose_token(host, token_file, no_token=no_token)
    shipped = () if models else required_models()
    with open_socket(host, port) as listener, temporary_files(), redirect_stderr(BoundedLog(sys.stderr)):
        limit_arenas(MEMORY_ARENAS)
        # uvicorn hands the signal on when it is done: with the default handler the folder would be left behind.
        signal.signal(signal.SIGTERM, exit_as_terminated)
        options: ModelOptions = {"provider": provider, "device": device, "max_memory_bytes": max_memory_bytes}
        opened = open_models(models, **options) if models else open_shipped(shipped, **options)
        service = Service(opened, limits)
        app = build_app(service, host=host, public_url=public_url, token=token)
        address = f"http://{'localhost' if is_this_machine(host) else host}:{listener.getsockname()[1]}"
        print(f"serving {', '.join(map(running, opened))} on {address}")
        for notice in dict.fromkeys(served.model.notice for served in service.models.values()):
            if notice:
                print(visible(notice))
        if token is not None:
            print(f"browsers open the page once with /?{PARAMETER}= and the token in {visible(token_file)}")
        print("Ctrl+C stops after the jobs taken; once more stops these too", file=sys.stderr, flush=True)
        if open_browser:
            webbrowser.open(address)
        gc.freeze()  # else each full collection looks at all that Gradio has imported, and all threads wait for it
        make_server(app, service).run(sockets=[listener])


def choose_token(host: str, file: Path | None, *, no_token: bool) -> AccessToken | None:
    """The token that requests have to show. Raises UserError where it is not said that there is none."""
    if file is not None and no_token:
        raise UserError("--token-file and --no-token contradict each other: give one of them")
    if file is not None:
        return read_token(file)
    if not is_loopback(host) and not no_token:
        raise UserError(
            f"other machines can connect to {host}: give --token-file FILE, whose token every request has to show, "
            "or --no-token if everybody may use the models"
        )
    return None


@contextmanager
def temporary_files() -> Iterator[Path]:
    """A folder for uploads and results, and for all temporary files of this process; removed at the end."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="gan-tasks-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # read when a page is built
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before


def running(served: ServedModel) -> str:
    """A model and what runs it, if that is known, for the line that the server starts with."""
    how = "" if isinstance(served.model, OnDemandModel) else f" ({served.model.runs_on})"
    return on_one_line(f"{served.title}{how}")


def exit_as_terminated(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket; opened before the models are loaded, so that a port in use is told at once."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot listen on {host} port {port} ({reason}): choose another with --port") from error


def make_server(app: FastAPI, service: Service) -> uvicorn.Server:
    """A uvicorn server that ends when the jobs taken are done, however many pages are still open.

    A second Ctrl+C stops the jobs, each between two tiles.
    """
    import uvicorn

    from gan_tasks.apps.web.guard.connections import BoundedProtocol

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            closing = asyncio.ensure_future(asyncio.to_thread(service.close))
            while not (await asyncio.wait([closing], timeout=FORCED_EVERY_S))[0]:
                if self.force_exit:  # Ctrl+C once more
                    service.stop_jobs()
            app.state.stop_page.set()
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            log_level="warning",
            timeout_graceful_shutdown=REPLY_TIMEOUT_SECONDS,
            server_header=False,
            use_colors=False,  # the log escapes control characters
        )
    )


def build_app(
    service: Service, *, host: str = "127.0.0.1", public_url: str = "", token: AccessToken | None = None
) -> FastAPI:
    """The whole site; see `serve`. `app.state.stop_page` is an event that ends the connections of open pages."""
    from fastapi import FastAPI

    from gan_tasks.apps.web.app import mount_app

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a damaged form is told its sender

    @asynccontextmanager
    async def cleaned(_: FastAPI) -> AsyncIterator[None]:
        cleaning = asyncio.create_task(keep_clean(sessions, files))
        try:
            yield
        finally:
            cleaning.cancel()
            with suppress(asyncio.CancelledError):
                await cleaning

    # FastAPI's pages that describe the endpoints load scripts from elsewhere: this site makes no such request.
    app = FastAPI(title="gan-tasks", openapi_url=None, lifespan=cleaned)
    add_health_routes(app, service)
    add_model_routes(app, service)
    page = mount_app(app, service, public_url=public_url)
    app.state.stop_page = page.stop_event
    page.add_exception_handler(TypeError, refuse_form)
    blocks, folder = page.get_blocks(), Path(page.uploaded_file_dir)
    sessions, files = PageSessions(page), KeptFiles(folder, service.limits.max_disk_bytes)
    calls = Calls({index: len(called.inputs) for index, called in blocks.fns.items()}, set(blocks.blocks), folder)
    policy = Policy(
        Hosts.of(host, public_url),
        token,
        calls,
        service.limits.max_upload_bytes,
        secure=public_url.lower().startswith("https:"),
    )
    app.add_middleware(Guard, policy=policy, sessions=sessions)
    return app


async def refuse_form(request: Request, error: Exception) -> Response:
    """Answer an upload whose form holds text in place of a file, at which Gradio fails."""
    if request.scope["path"] != UPLOAD:
        raise error
    return refusal(422, "the form cannot be read: send files that are called `files`")


async def keep_clean(sessions: PageSessions, files: KeptFiles) -> None:
    """Delete old uploads, results and sessions, until cancelled."""
    while True:
        await asyncio.sleep(CLEAN_EVERY_S)
        await asyncio.to_thread(files.trim)
        await sessions.forget_older_than(KEPT_S)
        sessions.forget_configs()
        sessions.forget_files()
