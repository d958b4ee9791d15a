"""A repeated mutating request is answered from its first success (spec/protocol.md 3.5).

The gateway sets `current` around a mutating action; the domain calls `remember` with the action's
result inside its own transaction, so that state and stored answer are one commit. Errors are never
stored. Twins that arrive together wait for each other through `Twins`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from roomtape.state.database import Database
from roomtape.state.schema import replays

KEEP_MS = 10 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Replay:
    """Identity of one signed request; `key` is a hex sha256 over all that identifies it."""

    key: str
    action: str
    now_ms: int
    sdk_app_id: int = 0


current: ContextVar[Replay | None] = ContextVar("roomtape_replay", default=None)


def remember(conn: sa.Connection, /, **result: Any) -> None:
    """Store the action's result in the caller's transaction; nothing happens outside a request."""
    request = current.get()
    if request is None:
        return
    conn.execute(replays.delete().where(replays.c.key == request.key, replays.c.expires_ms <= request.now_ms))
    conn.execute(
        replays.insert().values(
            key=request.key,
            action=request.action,
            sdk_app_id=request.sdk_app_id,
            result=result,
            created_ms=request.now_ms,
            expires_ms=request.now_ms + KEEP_MS,
        )
    )


async def recall(db: Database, key: str) -> dict[str, Any] | None:
    """The stored result of this request, if it succeeded within the last ten minutes."""
    async with db.read() as conn:
        result = await conn.scalar(
            sa.select(replays.c.result).where(replays.c.key == key, replays.c.expires_ms > db.clock.now_ms())
        )
    return None if result is None else dict(result)


def prune(conn: sa.Connection, now_ms: int) -> None:
    """Delete what has expired."""
    conn.execute(replays.delete().where(replays.c.expires_ms <= now_ms))


class Twins:
    """Lets identical requests that run at the same time go one after the other."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Wait until no other request with this key is inside."""
        lock, users = self._running.get(key, (asyncio.Lock(), 0))
        self._running[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._running.pop(key)
            if users > 1:
                self._running[key] = (lock, users - 1)
