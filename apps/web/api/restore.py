"""The request that restores an old photograph over HTTP. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from gan_tasks.apps.web.request_form import opened_form, read_input
from gan_tasks.apps.web.restoration.photographs import Photographs, RestoreRequest
from gan_tasks.datasets.errors import UserError, did_you_mean, enumerated
from gan_tasks.export.photographs.steps import ColouriseIf, Step
from gan_tasks.spec import InputSpec

if TYPE_CHECKING:
    from fastapi import Request
    from starlette.datastructures import FormData

PATH = "/api/restore"
IMAGE, STEPS, SCALE, COLOURISE_IF = "image", "steps", "scale", "colourise_if"
FIELDS = (IMAGE, STEPS, SCALE, COLOURISE_IF)
PARTS = f"the file `{IMAGE}` and the fields `{STEPS}`, `{SCALE}` and `{COLOURISE_IF}` (all optional)"
T = TypeVar("T")


async def read_restore_request(request: Request, photographs: Photographs) -> RestoreRequest:
    """Read the form. Raises UserError for whatever is missing, unknown, empty or there twice."""
    async with opened_form(request, FIELDS, PARTS) as form:
        source = await read_input(form, InputSpec(IMAGE, "image", 3, "any"))
        assert source is not None  # the image is not optional
        steps: list[Step] = [one_of(STEPS, name, photographs.steps) for name in words(form, STEPS)]
        (scale,) = words(form, SCALE) or [str(photographs.scale)]
        (colourise_if,) = words(form, COLOURISE_IF) or ["gray"]
        return RestoreRequest(
            source,
            steps or photographs.steps,
            one_of(SCALE, scale, tuple(photographs.upscalers) or (photographs.scale,)),
            one_of(COLOURISE_IF, colourise_if, get_args(ColouriseIf)),
        )


def words(form: FormData, name: str) -> list[str]:
    """The words of a field, which commas part; none where it is not there. Raises UserError for a file."""
    value = form.get(name, "")
    if not isinstance(value, str):
        raise UserError(f"{name} came as a file: send a field")
    return [word.strip() for word in value.split(",") if word.strip()] if name == STEPS else [value] if value else []


def one_of(name: str, word: str, allowed: Sequence[T]) -> T:
    """The value that a word stands for. Raises UserError for another word."""
    found = next((value for value in allowed if str(value) == word), None)
    if found is None:
        known = [str(value) for value in allowed]
        raise UserError(f"{name} is {word[:40]!r}{did_you_mean(word, known, f': expected {enumerated(known)}')}")
    return found


def restore_form(photographs: Photographs) -> dict[str, Any]:
    """The schema of the form."""
    fields = {
        IMAGE: {"type": "string", "format": "binary", "description": "The photograph."},
        STEPS: {
            "type": "string",
            "description": f"Steps, with commas between: {', '.join(photographs.steps)}.",
        },
        SCALE: {"type": "integer", "description": "The scale of the step upscale."},
        COLOURISE_IF: {
            "type": "string",
            "enum": list(get_args(ColouriseIf)),
            "description": "The photographs to colourise: gray ones, toned ones too, or any.",
        },
    }
    return {"type": "object", "properties": fields, "required": [IMAGE], "additionalProperties": False}
