"""`GET /media/{FileId}/{name}`: files of the library to whoever has a signed link."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from roomtape.clock import Clock
from roomtape.library.links import PREFIX
from roomtape.library.service import HLS, Library
from roomtape.state.database import DatabaseUnavailable
from roomtape.storage.stores import StoreError

log = structlog.get_logger(__name__)

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
TYPES = {".mp4": "video/mp4", ".aac": "audio/aac", ".ts": "video/mp2t", ".m3u8": PLAYLIST_TYPE}
CORS = {
    "Access-Control-Allow-Origin": "*",  # the link is the right to read; there is no cookie to abuse
    "Access-Control-Expose-Headers": "Content-Length, Content-Range, Accept-Ranges, ETag",
}
PREFLIGHT = {
    **CORS,
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Range, If-Range, If-None-Match",
    "Access-Control-Max-Age": "86400",
}
CACHE_S = 3600


def routes(library: Library, clock: Clock) -> list[Route]:
    """The door's routes, for the composition root to mount."""

    async def play(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=PREFLIGHT)
        try:
            return await _answer(library, clock, request)
        except DatabaseUnavailable as error:
            log.error("database_unavailable", reason=str(error))
            return _refuse(503, "try again")

    return [Route(PREFIX + "/{file_id}/{name}", play, methods=["GET", "HEAD", "OPTIONS"])]


async def _answer(library: Library, clock: Clock, request: Request) -> Response:
    file_id, name = request.path_params["file_id"], request.path_params["name"]
    query = request.query_params
    end_s = library.links.admits(file_id, name, query.get("exp", ""), query.get("sign", ""), clock.now_ms())
    if end_s is None:
        return _refuse(403, "the link has expired, or is not one of this server")
    row = await library.find(file_id)
    if row is None or (name != row.name and row.kind != HLS):
        return _refuse(404, "there is no such file")
    key = f"{row.task_id}/{name}"
    try:
        path = library.store.path(key)
    except StoreError:
        return _refuse(404, "there is no such file")
    if not await asyncio.to_thread(path.is_file):
        return _refuse(404, "there is no such file")
    headers = _headers(end_s, clock.now_ms())
    if row.kind == HLS and name == row.name:
        lines = await asyncio.to_thread(library.store.playlist_of, key)
        text = "\n".join(_signed(library, file_id, line, end_s) for line in lines) + "\n"
        return Response(text, headers=headers, media_type=PLAYLIST_TYPE)
    return FileResponse(path, headers=headers, media_type=TYPES.get(Path(name).suffix))


def _headers(end_s: int, now_ms: int) -> dict[str, str]:
    """A browser keeps it no longer than the link opens it."""
    keep_s = max(0, min(CACHE_S, end_s - now_ms // 1000))
    return {**CORS, "X-Content-Type-Options": "nosniff", "Cache-Control": f"private, max-age={keep_s}"}


def _signed(library: Library, file_id: str, line: str, end_s: int) -> str:
    """A playlist's line; a segment's name becomes a link that ends with the playlist's own."""
    return line if not line or line.startswith("#") else library.links.reference(file_id, line, end_s)


def _refuse(status: int, text: str) -> Response:
    headers = {**CORS, "Cache-Control": "no-store"}
    return Response(f"{text}\n", status, headers=headers, media_type="text/plain")
