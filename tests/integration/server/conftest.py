"""The doors behind a real HTTP listener, over the core's twin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette

from roomtape.clock import ManualClock
from roomtape.media.core import MediaCore
from roomtape.rooms.media import CoreEvents
from roomtape.rooms.whip import WebrtcDoor
from roomtape.serving import HttpServer, listen
from roomtape.state.database import Database
from tests.support.stage import Stage, stage


@dataclass
class Door:
    """Where a client stands."""

    server: Stage
    url: str
    http: aiohttp.ClientSession

    def pub(self, user: str = "amy", **query: str) -> str:
        return self._at("pub", user, query)

    def sub(self, user: str = "eve", **query: str) -> str:
        return self._at("sub", user, query)

    def _at(self, door: str, user: str, query: dict[str, str]) -> str:
        app = query.pop("app", str(self.server.sdk_app_id))
        room = query.pop("room", "class")
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"{self.url}/v2/{door}/{app}/{room}?SessionID={user}{more}"

    async def offer(
        self, url: str, *, sig: str | None = None, user: str = "amy", body: str = "v=0\r\n", **headers: str
    ) -> aiohttp.ClientResponse:
        bearer = self.server.sig(user).reveal() if sig is None else sig
        given = {"Content-Type": "application/sdp", "Authorization": f"Bearer {bearer}", **headers}
        return await self.ask("POST", url, data=body, headers={k: v for k, v in given.items() if v})

    async def ask(self, method: str, url: str, **more: Any) -> aiohttp.ClientResponse:
        """One request; its answer is read whole."""
        async with self.http.request(method, url, **more) as response:
            await response.read()
        return response


@pytest.fixture
async def door(db: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Door]:
    async with stage(db, clock, tmp_path) as server:
        events = CoreEvents(server.rooms)
        core = MediaCore(server.core, events.handle)
        server.rooms.attach(core)
        listener = listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        app = Starlette(routes=WebrtcDoor(server.access, server.rooms, core, clock).routes())
        http = HttpServer(app, listener)
        await http.start()
        async with aiohttp.ClientSession() as client:
            yield Door(server, f"http://127.0.0.1:{port}", client)
        await http.stop()
        await core.close()
