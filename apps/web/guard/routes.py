"""The addresses that are answered: our own, and of Gradio's those that our pages use. All others are 404."""

from __future__ import annotations

import re
from dataclasses import dataclass

FILE = "/gradio_api/file="
JOIN = "/gradio_api/queue/join"
UPLOAD = "/gradio_api/upload"
FORM = re.compile(r"multipart/form-data; ?boundary=[\w'()+,./:=?-]{1,70}", re.ASCII | re.IGNORECASE)
"""The type of an upload, as browsers send it."""
MAX_CALL_BYTES = 256 * 1024
"""Of what a page sends when a button is pressed: paths of uploads, and numbers."""


@dataclass(frozen=True)
class Route:
    """An address with its methods.

    path: a regular expression for all of it.
    query: the parameters that it takes, with a regular expression for each.
    needs_query: whether all of them have to be there.
    takes_files: whether its body may be as large as an upload.
    """

    methods: frozenset[str]
    path: re.Pattern[str]
    query: dict[str, re.Pattern[str]]
    needs_query: bool = False
    takes_files: bool = False


def route(methods: str, path: str, *, needs_query: bool = False, takes_files: bool = False, **query: str) -> Route:
    patterns = {name: re.compile(pattern, re.ASCII) for name, pattern in query.items()}
    return Route(frozenset(methods.split()), re.compile(path, re.ASCII), patterns, needs_query, takes_files)


SESSION = "[a-z0-9]{1,32}"
"""The name that a page gives itself."""
ASSET = r"(?:[\w@-][\w@.-]*/){0,4}[\w@-][\w@.-]*"

OWN = (
    route("GET HEAD", "/healthz|/readyz"),
    route("GET", "/openapi[.]json|/api/models"),
    route("POST", "/api/restore|/api/[^/]{1,200}/run", takes_files=True),
)
"""These say themselves what is wrong with a query."""
PAGES = (
    route("GET HEAD", "/", __theme="light|dark|system"),
    route("GET HEAD", f"/(?:assets|static)/{ASSET}"),
    route("GET HEAD", "/theme[.]css", v="[0-9a-f]{1,64}"),
    route("GET HEAD", "/favicon[.]ico"),
    route("GET HEAD", f"{re.escape(FILE)}.{{1,2000}}"),
    route("GET", f"/gradio_api/heartbeat/{SESSION}"),
    route("GET", "/gradio_api/queue/data", needs_query=True, session_hash=SESSION),
    route("GET", "/gradio_api/upload_progress", needs_query=True, upload_id=SESSION),
    route("POST", JOIN),
    route("POST", UPLOAD, takes_files=True, upload_id=SESSION),
)
"""Of Gradio. Left out are, among others, `component_server`, `process_recording`, `run`, `call` and `config`."""


def find_route(path: str) -> Route | None:
    return next((each for each in (*OWN, *PAGES) if each.path.fullmatch(path)), None)


def fits_query(found: Route, query: list[tuple[str, str]]) -> bool:
    """Whether the parameters are those of the address, each once."""
    if found in OWN:
        return True
    names = [name for name, _ in query]
    if found.needs_query and set(names) != found.query.keys():
        return False
    return len(set(names)) == len(names) and all(
        name in found.query and found.query[name].fullmatch(value) for name, value in query
    )
