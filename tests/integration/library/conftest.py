"""A library with one recorded HLS and MP4 in it, behind a real HTTP listener, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from starlette.applications import Starlette

from roomtape.clock import ManualClock
from roomtape.control.messages import Finalise, PieceCommitted
from roomtape.library import playback
from roomtape.library.service import TOPIC
from roomtape.recording.spec import VodSpec
from roomtape.serving import HttpServer, listen
from roomtape.state.database import Database
from tests.support.databases import clock, database_url, db, postgres_cluster
from tests.support.stage import PATIENCE_S, ScriptedWorker, Stage, stage

__all__ = ["clock", "database_url", "db", "postgres_cluster"]

FILM = bytes(range(256)) * 16
EXPIRE_S = 3600


@dataclass
class Shelf:
    """Where a viewer stands; `told` holds event 311 of each kind of file."""

    server: Stage
    worker: ScriptedWorker
    base: str
    http: aiohttp.ClientSession
    told: dict[str, dict[str, Any]]
    changed: asyncio.Event

    def url(self, link: str) -> str:
        """A link of the library, at this listener instead of its public name."""
        parts = urlsplit(link)
        return f"{self.base}{parts.path}?{parts.query}"

    async def get(self, link: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        async with self.http.get(self.url(link), headers=headers) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()

    async def until_state(self, file_id: str, state: str) -> None:
        """Wait for the commit that brings a file to that state."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.changed.clear()
                rows = {row["file_id"]: row["state"] for row in await self.server.library.files()}
                if rows[file_id] == state:
                    return
                await self.changed.wait()


@pytest.fixture
async def shelf(db: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Shelf]:
    async with stage(db, clock, tmp_path) as server:
        worker = ScriptedWorker(server.workers)
        task_id = await server.recording.create(server.spec(storage=VodSpec(media_type=3, expire_s=EXPIRE_S)))
        assign = await worker.take()
        for number in range(2):
            worker.piece(assign, number)
            await worker.told(PieceCommitted)
        await server.recording.stop(server.sdk_app_id, task_id)
        worker.stopped(assign)
        worker.finish(await worker.told(Finalise), FILM)
        await server.event(312, status=0)
        files = [row.fact["payload"]["vod"] for row in await server.events() if row.type == 311]
        told = {vod["cache_file"].rpartition(".")[2]: vod for vod in files}
        changed = asyncio.Event()
        db.on_commit(TOPIC, changed.set)
        listener = listen("127.0.0.1", 0)
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        http = HttpServer(Starlette(routes=playback.routes(server.library, clock)), listener)
        await http.start()
        async with aiohttp.ClientSession() as client:
            yield Shelf(server, worker, base, client, told, changed)
        await http.stop()
