"""The reference of the HTTP API: the routes that the server really has, and its limits."""

from __future__ import annotations

import inspect

from options import fields_table
from text import from_docstring, table

from gan_tasks.apps.web import server
from gan_tasks.apps.web.job_queue import Limits, Service


def routes() -> list[str]:
    """Method, path and docstring of each route; the page itself is mounted at `/`."""
    from fastapi.routing import APIRoute

    app = server.build_app(Service([], Limits()))
    found = [route for route in app.routes if isinstance(route, APIRoute)]
    rows = [[f"`{' '.join(sorted(route.methods))}`", f"`{route.path}`"] for route in found]
    lines = table(("Method", "Path"), rows)
    for route in found:
        if doc := inspect.getdoc(route.endpoint):
            lines += [f"`{route.path}`", "", *from_docstring(doc)]
    return lines


def limits() -> list[str]:
    return fields_table(Limits)
