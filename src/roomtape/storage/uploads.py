"""The upload queue: rows of SQL, retried until proven or too old.

Tasks do not wait for each other's stores: one that was never proven or has failed last gets one place at
a time, all failing ones together a quarter of the places, and no task more than half.

A row goes ready -> proven, or ready -> given_up when `max_age` has passed. What is on its way is known
only in memory: a server that dies in the middle begins the object again, and the store replaces it.
Source of the schedule: our choice, On-cloud Recording > "uploads are retried", no numbers published.
"""

from __future__ import annotations

import asyncio
import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from roomtape import faults
from roomtape.clock import Clock
from roomtape.state.database import Database, DatabaseUnavailable
from roomtape.state.schema import uploads
from roomtape.storage.stores import ObjectStore, Proof, StoreError

log = structlog.get_logger(__name__)

TELL_AFTER_MS = 600_000  # a failure that may pass is told after ten minutes of it
LONGEST_WAIT_S = 300
GRACE_S = 2.0  # for objects on their way when the server ends
OUTCOMES_KEPT = 10_000
_DATABASE_RETRY_S = 1.0
_CONTENT_TYPES = {
    ".ts": "video/mp2t",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mp4": "video/mp4",
    ".aac": "audio/aac",
}


@dataclass(frozen=True, slots=True)
class Upload:
    """One object to store. `subject` is piece, file or playlist; `revision` counts a playlist's versions."""

    id: int
    sdk_app_id: int
    task_id: str
    subject: str
    output_key: str
    piece_no: int | None
    name: str
    object_key: str
    path: Path
    size: int
    md5: str
    revision: int
    tries: int
    first_failed_ms: int | None
    announced_308: bool


class Follower(Protocol):
    """Who queued the objects. The two coroutines run inside the commit of what they are told of."""

    async def store_of(self, upload: Upload) -> ObjectStore: ...

    async def proven(self, conn: AsyncConnection, upload: Upload, now_ms: int) -> None: ...

    async def failing(self, conn: AsyncConnection, upload: Upload, error: StoreError, now_ms: int) -> None:
        """Told once per object: now its owner should know (event 308)."""
        ...

    async def given_up(self, conn: AsyncConnection, upload: Upload, now_ms: int) -> None: ...

    def settled(self, task_id: str) -> None:
        """After each commit that told something of a task."""
        ...


def wait_after_s(tries: int) -> int:
    """Seconds between failure number `tries` (from 1) and the next try: 0, 3, 6, 12 ... 300."""
    return 0 if tries <= 1 else min(3 << (tries - 2), LONGEST_WAIT_S) if tries < 12 else LONGEST_WAIT_S


def _left_ms(next_at_ms: int, tries: int, now_ms: int) -> int:
    """What is left of a wait; none if it is longer than it ever was: the wall clock was set back."""
    left_ms = next_at_ms - now_ms
    return 0 if left_ms > wait_after_s(tries) * 1000 else max(left_ms, 0)


async def enqueue(
    conn: AsyncConnection,
    *,
    sdk_app_id: int,
    task_id: str,
    subject: str,
    name: str,
    object_key: str,
    path: Path,
    size: int,
    md5: str,
    now_ms: int,
    output_key: str = "",
    piece_no: int | None = None,
    revision: int = 0,
    node_id: str = "",
    boot_id: str = "",
    epoch: int = 0,
) -> None:
    """Queue an object in the caller's transaction; one of that name is replaced by its newer revision."""
    values = {
        "size": size,
        "md5": md5,
        "path": str(path),
        "revision": revision,
        "state": "ready",
        "next_at_ms": now_ms,
    }
    known = await conn.execute(
        sa.update(uploads).where(uploads.c.task_id == task_id, uploads.c.name == name).values(**values)
    )
    if known.rowcount:
        return
    await conn.execute(
        sa.insert(uploads).values(
            sdk_app_id=sdk_app_id,
            task_id=task_id,
            subject=subject,
            name=name,
            object_key=object_key,
            output_key=output_key,
            piece_no=piece_no,
            created_ms=now_ms,
            node_id=node_id,
            boot_id=boot_id,
            epoch=epoch,
            **values,
        )
    )


def _due() -> sa.Select[Any]:
    """Waiting uploads by time, at most `each` of one task, so that no task's backlog hides the others."""
    nth = sa.func.row_number().over(
        partition_by=uploads.c.task_id, order_by=(uploads.c.next_at_ms, uploads.c.id)
    )
    ranked = sa.select(uploads, nth.label("nth")).where(uploads.c.state == "ready").subquery()
    by_time = sa.select(ranked).order_by(ranked.c.next_at_ms, ranked.c.id)
    return by_time.where(ranked.c.nth <= sa.bindparam("each"))


_DUE = _due()  # made once: it is asked after each upload


class Uploads:
    """Carries queued objects to their stores, `concurrency` at a time."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        follower: Follower,
        *,
        max_age_s: float,
        concurrency: int = 8,
    ) -> None:
        self._db = db
        self._clock = clock
        self._follower = follower
        self._max_age_ms = int(max_age_s * 1000)
        self._concurrency = concurrency
        self._wake = asyncio.Event()
        self._closed = False
        self._running: dict[int, asyncio.Task[None]] = {}
        self._task_of: dict[int, str] = {}  # of what is on its way
        self._outcome: OrderedDict[str, bool] = OrderedDict()  # per task, whether its last try was proven

    def wake(self) -> None:
        """Something was queued, or an upload has ended: look again."""
        self._wake.set()

    @property
    def in_flight(self) -> int:
        return len(self._running)

    def end(self) -> None:
        """Begin nothing more; `run` returns when what is on its way has arrived, or after `GRACE_S`."""
        self._closed = True
        self._wake.set()

    async def run(self) -> None:
        """Work until `end`; what does not arrive in time is begun again by the next server."""
        while not self._closed:
            self._wake.clear()
            wait_s = await self._guarded(self._start_due(), otherwise=_DATABASE_RETRY_S)
            if not self._closed:
                await self._sleep_or_wake(wait_s)
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _sleep_or_wake(self, wait_s: float | None) -> None:
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._wake.wait())]
        if wait_s is not None:
            waits.append(asyncio.ensure_future(self._clock.sleep(wait_s)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _start_due(self) -> float | None:
        """Start what is due; returns the seconds until something else is, None while nothing waits."""
        now_ms = self._clock.now_ms()
        busy = set(self._running)  # one that ends while we read is still "ready" in what we read
        async with self._db.read() as conn:
            rows = await conn.execute(_DUE, {"each": self._concurrency * 2})
            waiting = [row for row in rows if row.id not in busy]
        for row in waiting:
            left_ms = _left_ms(row.next_at_ms, row.tries, now_ms)
            if left_ms > 0:
                return left_ms / 1000
            if len(self._running) >= self._concurrency:
                return None  # the end of one wakes us
            if self._may_start(row.task_id):
                task = asyncio.create_task(self._carry(_upload(row)))
                self._running[row.id] = task
                self._task_of[row.id] = row.task_id
                task.add_done_callback(functools.partial(self._ended, row.id))
        return None

    def _may_start(self, task_id: str) -> bool:
        """Whether the task's share of the places lets it have one more."""
        outcome = self._outcome.get(task_id)
        held = list(self._task_of.values())
        if outcome:
            return held.count(task_id) < max(1, self._concurrency // 2)
        if outcome is False:
            failing = [other for other in held if self._outcome.get(other) is False]
            if len(failing) >= max(1, self._concurrency // 4):
                return False
        return task_id not in held

    def _note_outcome(self, task_id: str, proven: bool) -> None:
        self._outcome[task_id] = proven
        self._outcome.move_to_end(task_id)
        if len(self._outcome) > OUTCOMES_KEPT:
            self._outcome.popitem(last=False)

    def _ended(self, row_id: int, _task: asyncio.Task[None]) -> None:
        del self._running[row_id]
        del self._task_of[row_id]
        self._wake.set()

    async def _carry(self, upload: Upload) -> None:
        try:
            store = await self._follower.store_of(upload)
            faults.reach("mid-upload")
            proof = await store.put(
                upload.object_key,
                upload.path,
                size=upload.size,
                md5=upload.md5,
                content_type=_CONTENT_TYPES.get(Path(upload.object_key).suffix, "application/octet-stream"),
            )
        except StoreError as error:
            self._note_outcome(upload.task_id, proven=False)
            await self._until_written(functools.partial(self._note_failure, upload, error))
        except Exception as error:
            log.exception("upload_broke", task_id=upload.task_id, name=upload.name)
            failure = StoreError("InternalError", "The upload broke in the server.")
            failure.__cause__ = error
            self._note_outcome(upload.task_id, proven=False)
            await self._until_written(functools.partial(self._note_failure, upload, failure))
        else:
            self._note_outcome(upload.task_id, proven=True)
            await self._until_written(functools.partial(self._note_proof, upload, proof))
        self._follower.settled(upload.task_id)

    async def _note_proof(self, upload: Upload, proof: Proof) -> None:
        now_ms = self._clock.now_ms()
        async with self._db.write() as conn:
            await conn.execute(
                sa.update(uploads)
                .where(uploads.c.id == upload.id, uploads.c.revision == upload.revision)
                .values(state="proven", etag=proof.md5, proven_ms=now_ms, tries=0, first_failed_ms=None)
            )
            if upload.tries:  # the store is back: the rest of the task's backlog does not sit out its waits
                await conn.execute(
                    sa.update(uploads)
                    .where(
                        uploads.c.task_id == upload.task_id,
                        uploads.c.state == "ready",
                        uploads.c.next_at_ms > now_ms,
                    )
                    .values(next_at_ms=now_ms)
                )
            await self._follower.proven(conn, upload, now_ms)
        log.info(
            "upload_proven", task_id=upload.task_id, name=upload.name, size=proof.size, method=proof.method
        )

    async def _note_failure(self, upload: Upload, error: StoreError) -> None:
        now_ms = self._clock.now_ms()
        tries = upload.tries + 1
        since_ms = upload.first_failed_ms if upload.first_failed_ms is not None else now_ms
        over = now_ms - since_ms >= self._max_age_ms
        tell = not upload.announced_308 and (error.tell_at_once or over or now_ms - since_ms >= TELL_AFTER_MS)
        async with self._db.write() as conn:
            await conn.execute(
                sa.update(uploads)
                .where(uploads.c.id == upload.id, uploads.c.revision == upload.revision)
                .values(
                    state="given_up" if over else "ready",
                    tries=tries,
                    first_failed_ms=since_ms,
                    next_at_ms=now_ms + wait_after_s(tries) * 1000,
                    last_error_code=error.code,
                    last_error=str(error),
                    announced_308=upload.announced_308 or tell,
                )
            )
            if tell:
                await self._follower.failing(conn, upload, error, now_ms)
            if over:
                await self._follower.given_up(conn, upload, now_ms)
        log.warning(
            "upload_failed",
            task_id=upload.task_id,
            name=upload.name,
            tries=tries,
            code=error.code,
            reason=str(error),
            given_up=over,
        )

    async def _until_written(self, write: Callable[[], Awaitable[None]]) -> None:
        """A result is not lost because the database is away for a while."""
        while True:
            try:
                await write()
                return
            except DatabaseUnavailable as error:
                log.error("database_unavailable", reason=str(error))
                await self._clock.sleep(_DATABASE_RETRY_S)

    async def _guarded(self, work: Awaitable[float | None], *, otherwise: float) -> float | None:
        try:
            return await work
        except DatabaseUnavailable as error:
            log.error("database_unavailable", reason=str(error))
            return otherwise


def _upload(row: sa.Row[tuple[object, ...]]) -> Upload:
    return Upload(
        id=row.id,
        sdk_app_id=row.sdk_app_id,
        task_id=row.task_id,
        subject=row.subject,
        output_key=row.output_key,
        piece_no=row.piece_no,
        name=row.name,
        object_key=row.object_key,
        path=Path(row.path),
        size=row.size,
        md5=row.md5,
        revision=row.revision,
        tries=row.tries,
        first_failed_ms=row.first_failed_ms,
        announced_308=row.announced_308,
    )
