"""The API explorer: a form for every action, signed in the page, with the same call as code.

Static files only. What they know of the API they read from `/openapi.json`, and they call the API at their
own origin; a key that is typed there is used there and sent nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from roomtape.config import Config
from roomtape.console.guard import operator

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
FOLDER = ("static", "explorer")
TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
}


def routes(config: Config) -> list[Route]:
    """The page and its files, each behind the operator's guard."""

    async def bare(request: Request) -> Response:
        return RedirectResponse("/console/explorer/")  # the page names its files relative to itself

    async def page(request: Request) -> Response:
        return _file("explorer.html")

    async def part(request: Request) -> Response:
        return _file(request.path_params["name"])

    return [
        Route("/console/explorer", operator(bare, config)),
        Route("/console/explorer/", operator(page, config)),
        Route("/console/explorer/{name}", operator(part, config)),
    ]


def _file(name: str) -> Response:
    kind = TYPES.get(name.rpartition(".")[2])
    files = resources.files("roomtape.console").joinpath(*FOLDER)
    if kind is None or name not in {entry.name for entry in files.iterdir()}:
        return Response("not found", 404)
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
        "Content-Type": kind,
    }
    return Response(files.joinpath(name).read_bytes(), headers=headers)
