"""Whether the server lives and may be sent requests, and what it counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Check = Callable[[], Awaitable[str]]  # "" when all is well, else what is wrong


def routes(checks: Mapping[str, Check], refresh: Callable[[], Awaitable[None]]) -> list[Route]:
    """`/livez`, `/readyz` (200 when every check says so, else 503 with the reasons) and `/metrics`.

    `refresh` is awaited before the metrics are collected.
    """

    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        wrong = await problems(checks)
        if wrong:
            return JSONResponse({"status": "not ready", "reasons": wrong}, status_code=503)
        return JSONResponse({"status": "ok"})

    async def metrics(_: Request) -> Response:
        await refresh()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]


async def problems(checks: Mapping[str, Check]) -> dict[str, str]:
    """What is wrong, by check; empty when the server is ready."""
    found = {}
    for name, check in checks.items():
        reason = await check()
        if reason:
            found[name] = reason
    return found
