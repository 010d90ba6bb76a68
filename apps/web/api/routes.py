"""The addresses of the HTTP API. Imports no torch.

GET  /healthz           {"status": "ok"}, at any load
GET  /readyz            {"status": "ready"}; 503 from SIGTERM on, when new jobs are refused
GET  /openapi.json      what is said here, for programs
GET  /api/models        the models: key, title, spec, licence, training data, provider
POST /api/{key}/run     a multipart form with each input of the spec by its name → PNG
                        files for images and masks, which are white where masked; text for a latent (its seed, or
                        a JSON list), a label (the number or the name of the class, or a JSON list), a truncation
                        and a scale
POST /api/restore       a multipart form with a photograph, if the models that restore them are served → PNG

Errors are {"detail": sentence}.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.web.api.openapi import describe_api
from gan_tasks.apps.web.api.restore import PATH as RESTORE
from gan_tasks.apps.web.api.restore import read_restore_request
from gan_tasks.apps.web.guard.answers import RETRY_LATER
from gan_tasks.apps.web.job_queue import BusyError, JobProgress, JobRequest, Service, StoppedError
from gan_tasks.apps.web.request_form import check_query, read_run_request
from gan_tasks.apps.web.restoration.photographs import Photographs
from gan_tasks.apps.web.served_models import ServedModel
from gan_tasks.datasets.errors import UserError
from gan_tasks.spec import spec_to_json

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

LOOK_EVERY_S = 0.5
"""Between two looks at whether the client still waits."""


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
    from fastapi import HTTPException, Request

    async def openapi() -> dict[str, Any]:
        return describe_api(service)

    async def models(request: Request) -> list[dict[str, Any]]:
        try:
            check_query(request.query_params)
        except UserError as error:
            raise HTTPException(422, str(error)) from error
        return [describe(served) for served in service.models.values()]

    async def run(key: str, request: Request) -> Response:
        served = service.models.get(key)
        if served is None:
            raise HTTPException(404, f"no model {key[:100]!r}: expected {' or '.join(service.models)}")

        async def job() -> JobRequest:
            asked = await read_run_request(request, served.spec)
            return JobRequest(served, asked.sources, asked.options)

        return await answer(service, request, job)

    async def restore(request: Request) -> Response:
        photographs = Photographs.of(service.models.values())
        if photographs is None:
            raise HTTPException(404, "this server has no models that restore photographs")

        async def job() -> JobRequest:
            return photographs.job(await read_restore_request(request, photographs))

        return await answer(service, request, job)

    # FastAPI reads annotations in the module's namespace, which has no `Request` while it is imported lazily.
    models.__annotations__ = {"request": Request}
    run.__annotations__ = {"key": str, "request": Request}
    restore.__annotations__ = {"request": Request}
    app.add_api_route("/openapi.json", openapi, methods=["GET"], response_model=None)
    app.add_api_route("/api/models", models, methods=["GET"])
    app.add_api_route(RESTORE, restore, methods=["POST"], response_model=None)
    app.add_api_route("/api/{key}/run", run, methods=["POST"], response_model=None)


async def answer(service: Service, request: Request, read: Callable[[], Awaitable[JobRequest]]) -> Response:
    """Run a job and answer with its result. read: reads the request. Raises HTTPException for what cannot be done."""
    from fastapi import HTTPException
    from starlette.background import BackgroundTask
    from starlette.responses import FileResponse

    file = Path(gettempdir(), f"{secrets.token_hex(16)}.png")
    try:
        await run_to_file(service, await read(), file, request.is_disconnected)
    except (BusyError, StoppedError) as error:
        raise HTTPException(503, str(error), RETRY_LATER) from error
    except UserError as error:
        raise HTTPException(422, str(error)) from error
    return FileResponse(file, media_type="image/png", background=BackgroundTask(file.unlink, missing_ok=True))


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


async def run_to_file(
    service: Service, request: JobRequest, file: Path, is_gone: Callable[[], Awaitable[bool]]
) -> Path:
    """Run a job; it is stopped, gives its place free and leaves no file when the client is gone."""
    progress = JobProgress()
    ended = asyncio.wrap_future(job := service.submit(request, file, progress=progress))
    try:
        while not (await asyncio.wait([ended], timeout=LOOK_EVERY_S))[0]:
            if await is_gone():
                break
    finally:
        if not ended.done():
            progress.stop()
            job.cancel()  # if it still waits for others
            job.add_done_callback(lambda _: file.unlink(missing_ok=True))  # it may write until then
    if job.cancelled():
        raise StoppedError("the client is gone")
    return (await ended).file
