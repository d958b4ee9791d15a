"""F-20, F-21: the database goes away under the dispatcher, and its process is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from pathlib import Path

import sqlalchemy as sa

from roomtape.clock import ManualClock, SystemClock
from roomtape.state.database import Database
from roomtape.state.schema import deliveries
from tests.integration.callbacks.test_http import receiving
from tests.support.callbacks import ScriptedPoster, dispatching, drain, make_app, room_event

PROCESS = """
import asyncio, sys
from roomtape.callbacks.dispatcher import CallbackSettings, Dispatcher
from roomtape.callbacks.poster import HttpPoster
from roomtape.clock import SystemClock
from roomtape.fetching.guard import Guard
from roomtape.state.database import Database
from tests.support.callbacks import sealer

async def main() -> None:
    clock = SystemClock()
    db = await Database.open(sys.argv[1], clock)
    poster = HttpPoster(clock, Guard(allow_loopback=True).connector())
    dispatcher = Dispatcher(db, clock, poster, sealer(), CallbackSettings())
    running = asyncio.create_task(dispatcher.run())
    await dispatcher.drained()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await poster.close()
    await db.close()

asyncio.run(main())
"""


async def test_f_20_a_lost_database_loses_no_event_and_sends_none_twice_for_it(
    tmp_path: Path, clock: ManualClock
) -> None:
    """The database is locked by another program exactly when the first answer has come."""
    path = tmp_path / "roomtape.db"
    db = await Database.open(f"sqlite:///{path}", clock)
    await db.migrate()
    await make_app(db)
    holder = sqlite3.connect(path, isolation_level=None)
    async with db.write() as conn:
        await conn.execute(sa.text("PRAGMA busy_timeout=20"))
    receiver = ScriptedPoster(clock)

    def lock_and_answer(_post: object) -> int:
        if len(receiver.posts) == 1:
            holder.execute("BEGIN IMMEDIATE")
        return 200

    receiver.answer = lock_and_answer
    for user in ("a", "b"):
        await room_event(db, user)
    async with dispatching(db, clock, receiver) as dispatcher:
        await clock.sleepers(1)  # the answer cannot be written down: waiting to try again
        assert len(receiver.posts) == 1
        holder.execute("ROLLBACK")
        await drain(clock, dispatcher)
    async with db.read() as conn:
        states = list(await conn.scalars(sa.select(deliveries.c.state)))
    holder.close()
    await db.close()
    assert [json.loads(post.body)["EventInfo"]["UserId"] for post in receiver.posts] == ["a", "b"]
    assert states == ["delivered", "delivered"]


async def test_a_process_killed_during_an_attempt_sends_the_same_bytes_after_it(
    database_url: str,
) -> None:
    """SIGKILL while a receiver holds the request open; the next process delivers it."""
    db = await Database.open(database_url, SystemClock())
    await db.migrate()
    asked = asyncio.Event()
    hold = asyncio.Event()

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await hold.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with receiving(handle) as receiver:
        await make_app(db, room_url=receiver.url)
        for user in ("a", "b"):
            await room_event(db, user)
        first = await _start(database_url)
        await asked.wait()
        first.send_signal(signal.SIGKILL)
        await first.wait()
        hold.set()
        second = await _start(database_url)
        assert await second.wait() == 0  # it ends when nothing is left
        async with db.read() as conn:
            states = list(await conn.scalars(sa.select(deliveries.c.state)))
    assert states == ["delivered", "delivered"]
    await db.close()
    bodies = [request.partition(b"\r\n\r\n")[2] for request in receiver.requests]
    assert len(bodies) == 3
    assert bodies[0] == bodies[1]
    assert [json.loads(body)["EventInfo"]["UserId"] for body in bodies] == ["a", "a", "b"]
    signs = [request.partition(b"Sign: ")[2].split(b"\r\n")[0] for request in receiver.requests]
    assert signs[0] == signs[1]


async def _start(url: str) -> asyncio.subprocess.Process:
    root = Path(__file__).resolve().parents[3]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, url, cwd=root, env={"PYTHONPATH": f"{root / 'src'}:{root}"}
    )
