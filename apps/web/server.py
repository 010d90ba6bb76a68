"""The host of the web page: health, limits, a plain HTTP endpoint, and a clean end. Imports no torch.

GET  /                  the page (app.py)
GET  /healthz           {"status": "ok"}, at any load
GET  /readyz            {"status": "ready"}; 503 from SIGTERM on, when new jobs are refused
GET  /api/models        the models: key, title, spec, licence, training data, provider
POST /api/{key}/run     a multipart form with each input of the spec by its name → PNG
                        files for images and masks, which are white where masked; text for a latent (its seed, or
                        a JSON list), a label (the number of the class, or a JSON list) and a scale

Errors are {"detail": sentence}.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gan_tasks.apps.web.job_queue import BusyError, JobRequest, Limits, Service, StoppedError
from gan_tasks.apps.web.request_form import check_query, read_run_request
from gan_tasks.apps.web.served_models import ServedModel, open_models
from gan_tasks.datasets.errors import UserError
from gan_tasks.spec import spec_to_json

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI
    from starlette.datastructures import Headers
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

RETRY_LATER = {"Retry-After": "5"}
"""The header of answers that may be others in a few seconds."""
REPLY_TIMEOUT_SECONDS = 10
"""For sending off finished results when the server stops; the jobs themselves are waited for without a limit."""
FORCED_EVERY_S = 0.2
"""Between two looks at whether the server is to end at once."""
TERMINATED = 128 + signal.SIGTERM


def serve(
    models: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    max_pixels: int = Limits.max_pixels,
    max_upload_bytes: int = Limits.max_upload_bytes,
    queue_size: int = Limits.queue_size,
    provider: str = "auto",
    device: str = "auto",
    max_memory_bytes: int | None = None,
    public_url: str = "",
    open_browser: bool = False,
) -> None:
    """Serve models in a web page until SIGINT or SIGTERM; jobs taken by then are finished first.

    Args:
        models: .onnx files, run folders, public checkpoints and names of bundled models; torch runs all but the
            first. Each has a tab. The directions of one training share a tab, and models that upscale do.
        host: the address to listen on; 0.0.0.0 is every one of this machine.
        port: 0 takes a free one.
        max_pixels: height × width of the largest image taken; what is made of it may have four times as many.
        max_upload_bytes: of a file that is taken.
        queue_size: jobs that may wait; more are answered with 503.
        provider: what runs the .onnx files (see `export/onnx/model.py`).
        device: auto, cpu, cuda or cuda:N.
        max_memory_bytes: the memory for a network's features, above which images are processed in tiles; None keeps
            each model's default.
        public_url: the address that a proxy in front gives the page, such as https://example.org/paint; the proxy
            takes the path off before it passes a request on.

    Raises UserError for what is no model and an address that cannot be used, SystemExit(143) after SIGTERM.
    """
    if public_url and not (urlsplit(public_url).scheme in ("http", "https") and urlsplit(public_url).hostname):
        raise UserError(f"{public_url} is no public address: expected all of it, such as https://example.org/paint")
    limits = Limits(max_pixels, max_upload_bytes, queue_size)
    with open_socket(host, port) as listener, TemporaryDirectory(prefix="gan-tasks-") as folder:
        # For Gradio's uploads and results; it is read when a page is built.
        os.environ["GRADIO_TEMP_DIR"] = folder
        # uvicorn hands the signal on when it is done: with the default handler the folder would be left behind.
        signal.signal(signal.SIGTERM, exit_as_terminated)
        service = Service(
            open_models(models, provider=provider, device=device, max_memory_bytes=max_memory_bytes), limits
        )
        app = build_app(service, host=host, public_url=public_url)
        address = f"http://{'localhost' if is_this_machine(host) else host}:{listener.getsockname()[1]}"
        print(f"serving {', '.join(map(running, service.models.values()))} on {address}")
        for notice in dict.fromkeys(served.model.notice for served in service.models.values()):
            if notice:
                print(notice)
        print("Ctrl+C stops after the jobs taken; once more stops these too", file=sys.stderr, flush=True)
        if open_browser:
            webbrowser.open(address)
        make_server(app, service).run(sockets=[listener])


def running(served: ServedModel) -> str:
    """A model and what runs it, for the line that the server starts with."""
    return f"{served.title} ({served.model.runs_on})"


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
            log_level="warning",
            timeout_graceful_shutdown=REPLY_TIMEOUT_SECONDS,
            server_header=False,
        )
    )


def build_app(service: Service, *, host: str = "127.0.0.1", public_url: str = "") -> FastAPI:
    """The whole site; see `serve`. `app.state.stop_page` is an event that ends the connections of open pages."""
    from fastapi import FastAPI

    from gan_tasks.apps.web.app import mount_app

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a damaged form is told its sender
    # The pages that describe the endpoints load scripts from elsewhere: this site makes no such request.
    app = FastAPI(title="gan-tasks", openapi_url=None)
    add_health_routes(app, service)
    add_model_routes(app, service)
    app.state.stop_page = mount_app(app, service, public_url=public_url)
    hosts = {host, urlsplit(public_url).hostname or host}
    app.add_middleware(Guard, hosts=hosts, max_upload_bytes=service.limits.max_upload_bytes)
    return app


def add_health_routes(app: FastAPI, service: Service) -> None:
    from starlette.responses import JSONResponse

    async def health() -> dict[str, str]:
        return {"status": "ok"}

    async def ready() -> JSONResponse:
        if service.is_closed:
            return JSONResponse({"status": "stopping"}, 503, RETRY_LATER)
        return JSONResponse({"status": "ready"})

    for path, answer in (("/healthz", health), ("/readyz", ready)):
        app.add_api_route(path, answer, methods=["GET", "HEAD"], response_model=None)


def add_model_routes(app: FastAPI, service: Service) -> None:
    from fastapi import HTTPException, Request, Response

    async def models(request: Request) -> list[dict[str, Any]]:
        try:
            check_query(request.query_params)
        except UserError as error:
            raise HTTPException(422, str(error)) from error
        return [describe(served) for served in service.models.values()]

    async def run(key: str, request: Request) -> Response:
        served = service.models.get(key)
        if served is None:
            raise HTTPException(404, f"no model {key!r}: expected {' or '.join(service.models)}")
        try:
            asked = await read_run_request(request, served.spec)
            png = await run_to_png(service, JobRequest(served, asked.sources, asked.options))
        except (BusyError, StoppedError) as error:
            raise HTTPException(503, str(error), RETRY_LATER) from error
        except UserError as error:
            raise HTTPException(422, str(error)) from error
        return Response(png, media_type="image/png")

    # FastAPI reads annotations in the module's namespace, which has no `Request` while it is imported lazily.
    models.__annotations__ = {"request": Request}
    run.__annotations__ = {"key": str, "request": Request}
    app.add_api_route("/api/models", models, methods=["GET"])
    app.add_api_route("/api/{key}/run", run, methods=["POST"], response_model=None)


def describe(served: ServedModel) -> dict[str, Any]:
    """What `GET /api/models` answers of a model. Texts are empty where nothing is known."""
    return {
        "key": served.key,
        "title": served.title,
        "spec": spec_to_json(served.spec),
        "licence": served.model.licence,
        "training_data": served.model.training_data,
        "provider": served.model.runs_on,
    }


async def run_to_png(service: Service, request: JobRequest) -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder, "result.png")
        await asyncio.wrap_future(service.submit(request, file))
        return await asyncio.to_thread(file.read_bytes)


class Guard:
    """Refuses, before anything is read, requests for a host that this is not and bodies that are too long.

    The host check stops pages of other sites that point their own name at this machine (DNS rebinding). An address
    in numbers cannot be used for that and is taken as it is.
    """

    def __init__(self, app: ASGIApp, *, hosts: set[str], max_upload_bytes: int) -> None:
        self.app = app
        self.hosts = hosts | {"localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
        self.max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self.refuse(scope) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    def refuse(self, scope: Scope) -> Response | None:
        from starlette.datastructures import Headers
        from starlette.responses import JSONResponse

        headers = Headers(scope=scope)
        if not self.is_known(host_name(headers)):
            return JSONResponse({"detail": f"{host_name(headers)!r} is not a name of this server"}, 400)
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return JSONResponse({"detail": "the request does not say its Content-Length"}, 411)
        if int(length) > self.max_upload_bytes:
            limit = f"{self.max_upload_bytes / 2**20:,.0f} MiB"
            detail = f"the upload has {int(length):,} bytes and {limit} are allowed (serve's --max-upload)"
            return JSONResponse({"detail": detail}, 413)
        return None

    def is_known(self, name: str) -> bool:
        return name in self.hosts or is_address(name)


def host_name(headers: Headers) -> str:
    """The host that a request is for, without port and brackets."""
    host = headers.get("host", "").lower()
    if host.startswith("["):  # IPv6
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_this_machine(host: str) -> bool:
    """Whether `localhost` leads to what listens on the host."""
    return host == "localhost" or (
        is_address(host) and (ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified)
    )
