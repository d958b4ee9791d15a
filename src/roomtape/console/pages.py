"""The operator's pages: rooms, recordings, callbacks and processes, rendered here, without a script.

They only show. What changes something is a verb of the command.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from roomtape.config import Config
from roomtape.console import reading
from roomtape.console.admin import Administration
from roomtape.console.guard import operator
from roomtape.version import version

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
)
REFRESH_S = 5
LONG = 24  # characters of a cell that may be broken
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 0 auto; max-width: 80rem; padding: 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-bottom: 0 }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884 }
td { font-variant-numeric: tabular-nums; white-space: nowrap }
.long { white-space: normal; overflow-wrap: anywhere }
.none { opacity: .6 }
"""

LIBRARY_STATES = ("state", "files", "bytes", "first_expires_at_ms")

Row = Mapping[str, Any]
Link = Callable[[Row], str]
Page = Callable[[Administration, Request], Awaitable[tuple[str, str] | None]]


def routes(admin: Administration, config: Config) -> list[Route]:
    """The pages' routes, each behind the operator's guard."""

    def route(path: str, page: Page) -> Route:
        async def endpoint(request: Request) -> Response:
            made = await page(admin, request)
            return (
                _response("Not there", "<p>There is no such thing.</p>", 404)
                if made is None
                else _response(*made)
            )

        return Route(path, operator(endpoint, config))

    return [
        route("/console", overview),
        route("/console/rooms/{sdk_app_id:int}/{room_type}/{room_id}", room),
        route("/console/recordings/{task_id}", recording),
        route("/console/library", library),
    ]


async def overview(admin: Administration, request: Request) -> tuple[str, str]:
    """Everything that goes on, on one page."""
    workers = [
        {"index": w.index, "pid": w.pid, "tasks": len(w.tasks), "rss_mb": w.beat.rss_bytes >> 20}
        for w in sorted(admin.workers.live, key=lambda worker: worker.index)
    ]
    rooms = await reading.rooms(admin.db)
    tasks = await reading.recordings(admin.db)
    callbacks = await admin.callbacks.list(limit=20)
    return "Overview", "".join(
        (
            _table("Workers", workers, ("index", "pid", "tasks", "rss_mb")),
            _table(
                "Rooms", rooms, ("sdk_app_id", "room_type", "room_id", "users", "created_ms"),
                "room_id", room_link,
            ),
            _table(
                "Recordings", tasks, ("task_id", "room_id", "status", "created_ms", "pieces", "last_error"),
                "task_id", task_link,
            ),
            _table("Media library", await reading.library(admin.db), LIBRARY_STATES, "state", library_link),
            _table(
                "Callbacks", callbacks,
                ("id", "group_id", "type", "url", "state", "tries", "last_status", "last_error", "at_ms"),
            ),
        )
    )  # fmt: skip


async def room(admin: Administration, request: Request) -> tuple[str, str] | None:
    """The latest life of one room."""
    path = request.path_params
    found = await reading.room(admin.db, path["sdk_app_id"], path["room_type"], path["room_id"])
    if found is None:
        return None
    facts = [{name: found[name] for name in ("comm_id", "created_ms", "destroyed_ms")}]
    users = (
        "user_id",
        "role",
        "device_type",
        "client_ip",
        "seats",
        "robot",
        "entered_ms",
        "lost_ms",
        "left_ms",
    )
    return f"Room {found['room_id']}", "".join(
        (
            _table("Life", facts, tuple(facts[0])),
            _table("Users", found["users"], users),
            _table("Tracks", found["tracks"], ("user_id", "kind", "codec", "started_ms", "stopped_ms")),
            _table(
                "Tasks", found["tasks"], ("task_id", "kind", "status", "created_ms"), "task_id", task_link
            ),
        )
    )


async def recording(admin: Administration, request: Request) -> tuple[str, str] | None:
    """One recording with its files."""
    found = await reading.recording(admin.db, request.path_params["task_id"])
    if found is None:
        return None
    times = ("created_ms", "started_ms", "first_media_ms", "stop_requested_ms", "exited_ms", "delivered_ms")
    state = ("status", "worker", "epoch", "stretch", "final_event", "last_error")
    pieces = (
        "user_id",
        "media",
        "type",
        "piece_no",
        "name",
        "size",
        "start_ms",
        "duration_us",
        "discontinuity",
    )
    return f"Recording of {found['room_id']}", "".join(
        (
            f"<p><code>{escape(found['task_id'])}</code></p>",
            _table("State", [found], state),
            _table("Times", [found], times),
            _table("Life", found["life"], ("at_ms", "what", "more", "count", "last_ms")),
            _table(
                "Files", found["files"], ("user_id", "name", "size", "start_ms", "end_ms", "upload_state")
            ),
            _table(
                "Open uploads", found["uploads"], ("object_key", "state", "tries", "next_at_ms", "last_error")
            ),
            _table("Pieces", found["pieces"], (*pieces, "upload_state")),
        )
    )


async def library(admin: Administration, request: Request) -> tuple[str, str] | None:
    """The media library: how full it is, what it holds and until when."""
    if admin.library is None:
        return None
    space = await admin.library.space()
    files = await reading.library_files(admin.db)
    return "Media library", "".join(
        (
            _table("Space", [space], tuple(space)),
            _table("By state", await reading.library(admin.db), LIBRARY_STATES),
            _table(
                "Files", files,
                (
                    "file_id", "name", "user_id", "state", "size", "stored_ms", "expires_at_ms", "error",
                    "task_id",
                ),
                "task_id", task_link,
            ),
        )
    )  # fmt: skip


def room_link(row: Row) -> str:
    return f"/console/rooms/{row['sdk_app_id']}/{row['room_type']}/{quote(str(row['room_id']), safe='')}"


def library_link(_row: Row) -> str:
    return "/console/library"


def task_link(row: Row) -> str:
    return f"/console/recordings/{quote(str(row['task_id']), safe='')}"


# --- rendering ------------------------------------------------------------------------------------


def _table(
    title: str, rows: Sequence[Row], names: Sequence[str], linked: str = "", link: Link | None = None
) -> str:
    head = "".join(f"<th>{escape(_label(name))}</th>" for name in names)
    lines = []
    for row in rows:
        cells = []
        for name in names:
            plain = cell(name, row.get(name))
            text = escape(plain)
            if name == linked and link is not None:
                text = f'<a href="{escape(link(row))}">{text}</a>'
            cells.append(f'<td class="long">{text}</td>' if len(plain) > LONG else f"<td>{text}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = f"<table><tr>{head}</tr>{''.join(lines)}</table>" if rows else '<p class="none">none</p>'
    return f"<h2>{escape(title)}</h2>{body}"


def _label(name: str) -> str:
    return name.removesuffix("_ms").replace("_", " ")


def cell(name: str, value: Any) -> str:
    """A value as people read it: moments in UTC, nothing as a dash."""
    if value is None or value == "":
        return "–"
    if name.endswith("_ms") and isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _response(title: str, body: str, status: int = 200) -> Response:
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
        f'<meta http-equiv="refresh" content="{REFRESH_S}"><title>{escape(title)} · roomtape</title>'
        f'<style>{STYLE}</style></head><body><nav><a href="/console">roomtape {escape(version())}</a> · '
        '<a href="/console/explorer">API explorer</a></nav>'
        f"<h1>{escape(title)}</h1>{body}</body></html>"
    )
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return Response(page, status, headers, "text/html; charset=utf-8")
