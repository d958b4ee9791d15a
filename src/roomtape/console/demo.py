"""The page `roomtape dev` shows in a browser: publish a camera or a test picture, watch, nothing else.

Only in `dev`: it hands out UserSigs to who can load it. A page of somebody else cannot (another origin may
not read the answer), and a name that was pointed at loopback is refused by the Host header.
"""

from __future__ import annotations

import re
from importlib import resources

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from roomtape.access.service import Access
from roomtape.console.guard import plain_host

EXPIRE_S = 3600
USER = re.compile(r"[A-Za-z0-9_-]{1,32}")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
KINDS = {"html": "text/html; charset=utf-8", "js": "text/javascript", "css": "text/css"}


def routes(access: Access, sdk_app_id: int) -> list[Route]:
    """The page's routes for one application."""

    async def page(request: Request) -> Response:
        return _file("demo.html")

    async def part(request: Request) -> Response:
        return _file(f"demo.{request.path_params['kind']}")

    async def ticket(request: Request) -> Response:
        user = request.query_params.get("user", "")
        if not USER.fullmatch(user):
            return Response("user: 1 to 32 of letters, digits, _ and -", 400)
        sig = await access.issue_user_sig(sdk_app_id, user, EXPIRE_S)
        body = msgspec.json.encode({"sdk_app_id": sdk_app_id, "user_sig": sig.reveal()})
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    return [
        Route("/demo/", plain_host(page)),
        Route("/demo/demo.{kind:str}", plain_host(part)),
        Route("/demo/ticket", plain_host(ticket)),
    ]


def _file(name: str) -> Response:
    kind = KINDS.get(name.rpartition(".")[2])
    if kind is None:
        return Response("not found", 404)
    content = resources.files("roomtape.console").joinpath("pages", name).read_bytes()
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
    return Response(content, headers={**headers, "Content-Type": kind})
