"""The request that runs a model over HTTP, read so that nothing in it is ignored. Imports no torch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gan_tasks.apps.web.components import form_parts
from gan_tasks.apps.web.served_models import Sources
from gan_tasks.datasets.errors import UserError, did_you_mean, enumerated
from gan_tasks.export.inference.predictor import PredictOptions
from gan_tasks.export.inference.stylization.options import StylizeOptions
from gan_tasks.export.inference.upscale import UpscaleOptions
from gan_tasks.spec import InputSpec, ModelSpec, Use

if TYPE_CHECKING:
    from fastapi import Request
    from starlette.datastructures import FormData

FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")
MAX_PARTS = 100
"""Files, and fields beside them, that a form is read with; more than any model takes, so that each can be named."""
SCALE = "scale"
"""The field of models that upscale which says how large the result is to be."""
PRESERVE_COLOUR = "preserve_colour"
"""The field of models that stylize which says whether the result keeps the colours of the image: true or false."""
OPTIONS: Mapping[Use, str] = {"upscale": SCALE, "stylize": PRESERVE_COLOUR}
"""The field beside the inputs, for uses that have one."""


@dataclass(frozen=True)
class RunRequest:
    """What a model is run with: its inputs, encoded, and the options."""

    sources: Sources
    options: PredictOptions


async def read_run_request(request: Request, spec: ModelSpec) -> RunRequest:
    """Read the form. Raises UserError for whatever is missing, unknown, empty or there twice."""
    async with opened_form(request, known_fields(spec), form_parts(spec)) as form:
        sources = {given.name: await read_input(form, given) for given in spec.inputs}
        return RunRequest(sources, options_of(form))


@asynccontextmanager
async def opened_form(request: Request, known: tuple[str, ...], parts: str) -> AsyncIterator[FormData]:
    """Open the form of a request, whose fields are among `known`. parts: what it takes, in words.

    Raises UserError for fields that are unknown or there twice, for another content type, and for a damaged form.
    """
    from starlette.exceptions import HTTPException

    check_query(request.query_params, known)
    expected = f"send a multipart form with {parts}"
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in FORM_TYPES:
        raise UserError(f"the request is {content_type or 'of no content type'}: {expected}")
    try:
        async with request.form(max_files=MAX_PARTS, max_fields=MAX_PARTS) as form:
            check_fields(form, known)
            yield form
    except HTTPException as error:  # Starlette's, for a form that is damaged
        raise UserError(f"the form cannot be read ({error.detail.rstrip('.')}): {expected}") from error


def known_fields(spec: ModelSpec) -> tuple[str, ...]:
    names = tuple(given.name for given in spec.inputs)
    return (*names, OPTIONS[spec.use]) if spec.use in OPTIONS else names


def check_query(names: Iterable[str], known: tuple[str, ...] = ()) -> None:
    """Raises UserError for parameters in the address, which takes none. known: the fields of its form."""
    for name in names:
        form = f": the form takes {enumerated(known)}" if known else ""
        hint = ": send it as a field of the form" if name in known else did_you_mean(name, known, form)
        raise UserError(f"the address takes no parameters, and {name!r} came{hint}")


def check_fields(form: FormData, known: tuple[str, ...]) -> None:
    for name in form:
        if name not in known:
            hint = did_you_mean(name, known, f": expected {enumerated(known)}")
            raise UserError(f"the form has the unknown field {name!r}{hint}")
        if (count := len(form.getlist(name))) > 1:
            raise UserError(f"{name} came {count} times: send it once")


async def read_input(form: FormData, given: InputSpec) -> bytes | None:
    """One input, undecoded; None for an optional one that is not there."""
    from starlette.datastructures import UploadFile

    value = form.get(given.name)
    if isinstance(value, UploadFile):
        content = await value.read()
        if not content:
            raise UserError(f"the file {given.name} is empty")
        return content
    if isinstance(value, str) and not given.is_spatial:
        return value.encode()
    if value is None and given.optional:
        return None
    part = "file" if given.is_spatial else "field"
    came = f"no {given.name} came" if value is None else f"{given.name} came as text"
    raise UserError(f"{came}: send a multipart form with a {part} called `{given.name}`")


def options_of(form: FormData) -> PredictOptions:
    """The options among the fields; `check_fields` has seen that they are the model's."""
    if PRESERVE_COLOUR in form:
        return PredictOptions(stylize=StylizeOptions(is_true(PRESERVE_COLOUR, form[PRESERVE_COLOUR])))
    if SCALE not in form:
        return PredictOptions()
    text = form[SCALE]
    try:
        return PredictOptions(UpscaleOptions(float(text)))  # type: ignore[arg-type]
    except UserError:
        raise
    except (TypeError, ValueError):
        came = text[:40] if isinstance(text, str) else "a file"
        raise UserError(f"scale is {came!r}: expected a number such as 2 or 1.5") from None


def is_true(name: str, value: object) -> bool:
    """Raises UserError for a value that is neither true nor false."""
    if value not in ("true", "false"):
        came = value[:40] if isinstance(value, str) else "a file"
        raise UserError(f"{name} is {came!r}: expected true or false")
    return value == "true"
