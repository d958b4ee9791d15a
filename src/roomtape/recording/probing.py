"""A byte put into a task's bucket and taken away again, when the task begins (`upload.probe`).

A wrong key, a wrong region or a checksum header that the store does not take is then known within a second
instead of with the first piece. Nothing is told on the wire, where an upload failure is of a file: the
operator reads it in the task's notes.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Callable

import structlog

from roomtape.clock import Clock
from roomtape.recording import notes
from roomtape.recording.destinations import Destinations
from roomtape.recording.pieces_table import key_of
from roomtape.recording.spec import CloudStorageSpec
from roomtape.recording.task import Task
from roomtape.state.database import Database
from roomtape.storage.spool import Spool
from roomtape.storage.stores import LocalBuckets, StoreError

log = structlog.get_logger(__name__)

NAME = ".roomtape-probe"
CONTENT = b"\n"
AT_ONCE = 8  # stores asked at the same time
STORE_REFUSES = "store_refuses"


class Probing:
    """Asks the stores of tasks that have just begun; never keeps one of them waiting."""

    def __init__(
        self, db: Database, clock: Clock, destinations: Destinations, local: LocalBuckets, spool: Spool
    ) -> None:
        self._db = db
        self._clock = clock
        self._destinations = destinations
        self._local = local
        self._spool = spool
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, task: Task, done: Callable[[], None] = lambda: None) -> None:
        """Ask in the background, if the task has a store that is not of this server."""
        storage = task.spec.storage
        if not isinstance(storage, CloudStorageSpec) or self._local.find(storage.bucket, task.sdk_app_id):
            return
        work = asyncio.create_task(self._ask(task))
        self._running.add(work)
        work.add_done_callback(functools.partial(self._ended, done))

    async def end(self) -> None:
        """Ask nobody any more."""
        for work in self._running:
            work.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, done: Callable[[], None], work: asyncio.Task[None]) -> None:
        self._running.discard(work)
        done()

    async def _ask(self, task: Task) -> None:
        try:
            async with self._turn:
                await self._put_and_delete(task)
        except StoreError as error:
            log.warning("store_refuses", task_id=task.task_id, code=error.code, reason=str(error))
            text, now_ms = f"{error.code}: {error}", self._clock.now_ms()
            await self._db.run(lambda conn: notes.keep(conn, task, STORE_REFUSES, text, now_ms))
        except Exception:
            log.exception("store_probe_broke", task_id=task.task_id)
        else:
            log.info("store_answers", task_id=task.task_id)

    async def _put_and_delete(self, task: Task) -> None:
        path = self._spool.root / NAME
        await asyncio.to_thread(path.write_bytes, CONTENT)
        store = await self._destinations.of(task)
        key, md5 = key_of(task, NAME), hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
        await store.put(key, path, size=len(CONTENT), md5=md5, content_type="application/octet-stream")
        await store.delete(key)
