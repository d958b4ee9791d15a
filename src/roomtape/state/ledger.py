"""Ordered writes that share transactions: what happened while one commit ran goes into the next.

The disk decides the group's size, no timer does: with an idle disk an entry is committed at once. An
entry that fails for a reason of its own is dropped with a log line and does not take the others along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import sqlalchemy as sa
import structlog

from roomtape.clock import Clock
from roomtape.state.database import Database, DatabaseUnavailable

log = structlog.get_logger(__name__)

After = Callable[[], None]
Entry = Callable[[sa.Connection], After | None]

MAX_GROUP = 500
_RETRY_S = 1.0


class Ledger:
    """One writer's queue. `run` must run; entries keep their order."""

    def __init__(self, db: Database, clock: Clock, name: str) -> None:
        self._db = db
        self._clock = clock
        self._name = name
        self._waiting: list[Entry] = []
        self._arrived = asyncio.Event()
        self._written = asyncio.Condition()
        self._closed = False
        self._taken = 0  # entries ever put in
        self._done = 0  # entries ever finished

    def put(self, entry: Entry) -> None:
        """Queue a write. It runs in the writer's thread, perhaps more than once, until one of its runs is
        committed; what that run returned is then called on the event loop (quick, no waiting)."""
        self._waiting.append(entry)
        self._taken += 1
        self._arrived.set()

    @property
    def depth(self) -> int:
        return self._taken - self._done

    async def settled(self) -> None:
        """Return when everything put in before this call is committed (or was dropped)."""
        target = self._taken
        async with self._written:
            await self._written.wait_for(lambda: self._done >= target)

    def end(self) -> None:
        """Let `run` return once everything put in is written."""
        self._closed = True
        self._arrived.set()

    async def run(self) -> None:
        """Write until `end`."""
        while self._waiting or not self._closed:
            await self._arrived.wait()
            if not self._closed:
                self._arrived.clear()
            while self._waiting:
                group = self._waiting[:MAX_GROUP]
                await self._write(group)
                del self._waiting[: len(group)]
                self._done += len(group)
                async with self._written:
                    self._written.notify_all()

    async def _write(self, group: list[Entry]) -> None:
        while True:
            try:
                self._run(await self._db.run(lambda conn: [entry(conn) for entry in group]))
                return
            except DatabaseUnavailable as error:
                log.error("database_unavailable", ledger=self._name, reason=str(error))
                await self._clock.sleep(_RETRY_S)
            except Exception:
                if len(group) == 1:
                    log.exception("ledger_entry_dropped", ledger=self._name)
                    return
                for entry in group:
                    await self._write([entry])
                return

    def _run(self, afters: list[After | None]) -> None:
        for after in afters:
            if after is None:
                continue
            try:
                after()
            except Exception:
                log.exception("ledger_after_commit_broke", ledger=self._name)
