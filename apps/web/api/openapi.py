"""The API in the words of OpenAPI, with an address for each model."""

from __future__ import annotations

from typing import Any

from gan_tasks import __version__
from gan_tasks.apps.web.api.restore import PATH, restore_form
from gan_tasks.apps.web.job_queue import Service
from gan_tasks.apps.web.request_form import PRESERVE_COLOUR, SCALE, known_fields
from gan_tasks.apps.web.restoration.photographs import Photographs
from gan_tasks.spec import InputSpec, ModelSpec

ERRORS = {
    "401": "The server asks for its token.",
    "413": "The request is too large.",
    "422": "The request is not what the model takes.",
    "503": "The queue is full, or the server is stopping.",
}


def describe_api(service: Service) -> dict[str, Any]:
    """An OpenAPI 3.1 document. Gradio's own addresses are those of the page, and not in it."""
    paths: dict[str, Any] = {
        path: {"get": {"summary": summary, "responses": {"200": {"description": "OK"}}}}
        for path, summary in (
            ("/healthz", "Whether the process runs"),
            ("/readyz", "Whether jobs are taken"),
            ("/api/models", "The models"),
        )
    }
    for served in service.models.values():
        paths[f"/api/{served.key}/run"] = {"post": operation(f"Run {served.title}", form(served.spec))}
    if (photographs := Photographs.of(service.models.values())) is not None:
        paths[PATH] = {"post": operation("Restore an old photograph", restore_form(photographs))}
    token = {"type": "http", "scheme": "bearer", "description": "If the server was started with --token-file."}
    return {
        "openapi": "3.1.0",
        "info": {"title": "gan-tasks", "version": __version__},
        "paths": paths,
        "components": {"securitySchemes": {"token": token}},
        "security": [{}, {"token": []}],
    }


def operation(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    """What runs a job. schema: of its form."""
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}},
        "responses": {
            "200": {"description": "The result", "content": {"image/png": {}}},
            **{status: error(text) for status, text in ERRORS.items()},
        },
    }


def form(spec: ModelSpec) -> dict[str, Any]:
    """The schema of the form that runs a model."""
    fields = {given.name: field(given) for given in spec.inputs}
    if SCALE in known_fields(spec):
        fields[SCALE] = {"type": "number", "description": "Output pixels per input pixel along a side."}
    if PRESERVE_COLOUR in known_fields(spec):
        fields[PRESERVE_COLOUR] = {"type": "boolean", "description": "Whether to keep the colours of the image."}
    required = [given.name for given in spec.inputs if not given.optional]
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def field(given: InputSpec) -> dict[str, str]:
    if given.is_spatial:
        return {"type": "string", "format": "binary", "description": "An image file."}
    many = "" if given.channels == 1 else f", or a JSON list of {given.channels} numbers"
    name = " or the name" if given.names else ""
    ones = {
        "latent": "A seed",
        "label": f"The number{name} of the class, from 0 to {given.channels - 1}",
        "weight": "A number from 0 to 1",
    }
    return {"type": "string", "description": f"{ones[given.kind]}{many}."}


def error(text: str) -> dict[str, Any]:
    detail = {"type": "object", "properties": {"detail": {"type": "string"}}}
    return {"description": text, "content": {"application/json": {"schema": detail}}}
