"""A media core behind the smallest WHIP and WHEP server, and a reader of its tap."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from roomtape.media.core import Event, MediaCore, OfferRefused
from roomtape.media.frames import TapFrame, Track
from roomtape.media.tap import BatchRead, GapRead, Opened, TapClient, TapError, TrackEvent

STATUS = {"bad_sdp": 400, "no_codec": 406, "nobody": 404, "internal": 500}
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Methods": "*",
    "Access-Control-Expose-Headers": "Location",
}
PATIENCE_S = 20.0  # two shared cores: longer than anything here takes


class News:
    """All events, and a way to wait for one."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self._changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.all.append(event)
        self._changed.set()

    def of(self, name: str, *rest: object) -> list[Event]:
        """Events of that name in which all of `rest` appear."""
        return [e for e in self.all if e[0] == name and all(r in e for r in rest)]

    async def wait(self, name: str, *rest: object, count: int = 1, patience_s: float = PATIENCE_S) -> Event:
        """The `count`-th event of that name with all of `rest` in it, past or to come."""

        def found() -> bool:
            return len(self.of(name, *rest)) >= count

        await self.until(found, patience_s)
        return self.of(name, *rest)[count - 1]

    async def until(self, holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Return when `holds()`; it is asked again after each event."""
        async with asyncio.timeout(patience_s):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


class Reader:
    """A durable reader of a room that reads every track from the oldest frame the log holds."""

    def __init__(self, path: Path, room: str, name: str = "test") -> None:
        self.frames: dict[int, list[TapFrame]] = {}
        self.tracks: dict[int, Track] = {}
        self.gaps: list[GapRead] = []
        self.stopped: list[TrackEvent] = []
        self.watermark_ns = 0
        self._changed = asyncio.Event()
        self._client = TapClient.connect(str(path))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._client.fileno(), self._read)
        self._client.open(1, name, room, flush_ms=20)

    def close(self) -> None:
        if self._client.fileno() >= 0:
            self._loop.remove_reader(self._client.fileno())
            self._client.close()

    def of(self, user: str, kind: str) -> list[TapFrame]:
        """Frames of all lives of a user's sound or picture."""
        mine = [t.track for t in self.tracks.values() if (t.user, t.kind) == (user, kind)]
        return [f for t in mine for f in self.frames.get(t, [])]

    async def until(self, holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Return when `holds()`; it is asked again after each message."""
        async with asyncio.timeout(patience_s):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def _read(self) -> None:
        for message in self._client.on_readable():
            match message:
                case Opened(tracks=tracks):
                    for track in tracks:
                        self._begin(track)
                case TrackEvent(event="start", track=track):
                    self._begin(track)
                case TrackEvent(event="read_out"):
                    self.stopped.append(message)
                case TrackEvent(track=track):
                    self.tracks[track.track] = track
                case BatchRead(batch=batch):
                    self.watermark_ns = max(self.watermark_ns, batch.watermark_ns)
                    for number, frames in batch.frames.items():
                        self.frames.setdefault(number, []).extend(frames)
                        self._client.ack(1, [(number, frames[-1].seq + 1)])
                case GapRead():
                    self.gaps.append(message)
                case TapError(message=text):
                    raise AssertionError(text)
        self._changed.set()

    def _begin(self, track: Track) -> None:
        if track.track not in self.tracks:
            self.tracks[track.track] = track
            self._client.read(1, track.track, -1, 0)


class Stage:
    """The core, its HTTP door and its news."""

    def __init__(self, core: MediaCore, news: News, tap_path: Path) -> None:
        self.core = core
        self.news = news
        self.tap_path = tap_path
        self.url = ""
        self.readers: list[Reader] = []

    def read(self, room: str, name: str = "test") -> Reader:
        """A reader that ends with the stage."""
        self.readers.append(Reader(self.tap_path, room, name))
        return self.readers[-1]

    def whip(self, room: str, user: str, seat: str = "main") -> str:
        return f"{self.url}/whip?room={room}&user={user}&seat={seat}"

    def whep(self, room: str, user: str = "viewer", **query: str) -> str:
        extra = "".join(f"&{k}={v}" for k, v in query.items())
        return f"{self.url}/whep?room={room}&user={user}{extra}"

    async def publisher(self, url: str, *args: str) -> Publisher:
        """FFmpeg's WHIP muxer in a process of its own."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.publisher", "whip", url, "--token", "t", *args,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return Publisher(process)

    async def _offer(self, request: web.Request) -> web.Response:
        q = request.query
        play = request.path == "/whep"
        try:
            answer = await self.core.accept_offer(
                q["room"],
                q["user"],
                "play" if play else q["seat"],
                await request.text(),
                kind="play" if play else "publish",
                watch_user=q.get("watch"),
                watch_stream=q.get("stream", "main"),
            )
        except OfferRefused as refused:
            return web.Response(status=STATUS[refused.reason], text=refused.message, headers=CORS)
        headers = {**CORS, "Location": f"{self.url}/peer/{answer.peer}", "Content-Type": "application/sdp"}
        return web.Response(status=201, body=answer.sdp.encode(), headers=headers)

    async def _delete(self, request: web.Request) -> web.Response:
        self.core.remove_peer(int(request.match_info["peer"]))
        return web.Response(headers=CORS)

    async def _patch(self, request: web.Request) -> web.Response:
        fragment = await self.core.patch(int(request.match_info["peer"]), await request.text())
        return web.Response(status=200 if fragment else 204, text=fragment, headers=CORS)

    async def _options(self, _request: web.Request) -> web.Response:
        return web.Response(headers=CORS)

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>stage</title>", content_type="text/html")

    async def open(self, host: str) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_post("/whip", self._offer)
        app.router.add_post("/whep", self._offer)
        app.router.add_delete("/peer/{peer}", self._delete)
        app.router.add_patch("/peer/{peer}", self._patch)
        app.router.add_route("OPTIONS", "/{path:.*}", self._options)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, host, 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return runner


class Publisher:
    """A publisher process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def up(self) -> None:
        """The connection is made. Raises RuntimeError when it was refused."""
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode().strip()
        if line != "up":
            raise RuntimeError(line)

    async def finish(self) -> dict[str, Any]:
        """Wait for the end; what was sent."""
        assert self.process.stdout is not None
        rest = (await self.process.stdout.read()).decode().strip().splitlines()
        await self.process.wait()
        return dict(json.loads(rest[-1]))

    async def cut(self) -> None:
        """Vanish without a word."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def staged(directory: Path, *, host: str = "127.0.0.1", **options: Any) -> AsyncIterator[Stage]:
    """A core with its door open; all of it ends with the block."""
    news = News()
    tap_path = directory / "tap.sock"
    core = MediaCore.start(news, boot_id="boot", tap_path=tap_path, webrtc_host=host, **options)
    stage = Stage(core, news, tap_path)
    runner = await stage.open(host)
    try:
        yield stage
    finally:
        for reader in stage.readers:
            reader.close()
        await runner.cleanup()
        await core.close()
