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

from roomtape import faults
from roomtape.clock import NS_PER_S, Clock, sleep_unless
from roomtape.state.database import Database, DatabaseUnavailable
from roomtape.state.ledger import After
from roomtape.state.schema import uploads
from roomtape.state.statement import Statement
from roomtape.storage.stores import ObjectStore, Proof, StoreError

log = structlog.get_logger(__name__)

_NS_PER_MS = 1_000_000
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
    """Who queued the objects. What takes a connection runs inside the commit of what it is told of, in the
    writer's thread and perhaps more than once; the others run on the event loop."""

    async def store_of(self, upload: Upload) -> ObjectStore: ...

    def proven(self, conn: sa.Connection, upload: Upload, now_ms: int) -> After:
        """What is returned is called on the event loop once that is committed."""
        ...

    def failed(self, conn: sa.Connection, upload: Upload, error: StoreError, now_ms: int, over: bool) -> None:
        """Told of each try that failed; `over`: there is no other."""
        ...

    def failing(self, conn: sa.Connection, upload: Upload, error: StoreError, now_ms: int) -> None:
        """Told once per object: now its owner should know (event 308)."""
        ...

    def given_up(self, upload: Upload) -> None:
        """After the commit that ends the tries for an object."""
        ...

    def settled(self, upload: Upload, proven: bool) -> None:
        """After each commit that told something of an object: it is stored, or it was tried once more."""
        ...


def wait_after_s(tries: int) -> int:
    """Seconds between failure number `tries` (from 1) and the next try: 0, 3, 6, 12 ... 300."""
    return 0 if tries <= 1 else min(3 << (tries - 2), LONGEST_WAIT_S) if tries < 12 else LONGEST_WAIT_S


def _left_ms(next_at_ms: int, tries: int, now_ms: int) -> int:
    """What is left of a wait; none if it is longer than it ever was: the wall clock was set back."""
    left_ms = next_at_ms - now_ms
    return 0 if left_ms > wait_after_s(tries) * 1000 else max(left_ms, 0)


def enqueue(
    conn: sa.Connection,
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
    fresh: bool = False,
) -> Upload:
    """Queue an object in the caller's transaction; one of that name is replaced by its newer revision.

    `fresh` says that there is none of that name yet. Once it is committed, `Uploads.offer` takes what is
    returned, or `Uploads.wake` looks for it.
    """
    values = {
        "size": size,
        "md5": md5,
        "path": str(path),
        "revision": revision,
        "state": "ready",
        "next_at_ms": now_ms,
    }
    row = None
    if not fresh:
        row = next(iter(_AGAIN.rows(conn, {"of_task": task_id, "of_name": name, **values})), None)
    if row is None:
        (row,) = _FIRST.rows(
            conn,
            {
                "sdk_app_id": sdk_app_id,
                "task_id": task_id,
                "subject": subject,
                "name": name,
                "object_key": object_key,
                "output_key": output_key,
                "piece_no": piece_no,
                "created_ms": now_ms,
                "node_id": node_id,
                "boot_id": boot_id,
                "epoch": epoch,
                **values,
            },
        )
    return Upload(
        id=row.id,
        sdk_app_id=sdk_app_id,
        task_id=task_id,
        subject=subject,
        output_key=output_key,
        piece_no=piece_no,
        name=name,
        object_key=object_key,
        path=path,
        size=size,
        md5=md5,
        revision=revision,
        tries=row.tries,
        first_failed_ms=row.first_failed_ms,
        announced_308=bool(row.announced_308),
    )


_AGAIN_COLUMNS = ("size", "md5", "path", "revision", "state", "next_at_ms")
_KNOWN = (uploads.c.id, uploads.c.tries, uploads.c.first_failed_ms, uploads.c.announced_308)
_AGAIN = Statement(
    sa.update(uploads)
    .where(uploads.c.task_id == sa.bindparam("of_task"), uploads.c.name == sa.bindparam("of_name"))
    .returning(*_KNOWN),
    *_AGAIN_COLUMNS,
)
_FIRST = Statement(
    sa.insert(uploads).returning(*_KNOWN),
    *("sdk_app_id", "task_id", "subject", "name", "object_key", "output_key", "piece_no"),
    *("created_ms", "node_id", "boot_id", "epoch"),
    *_AGAIN_COLUMNS,
)
_SETTLED = Statement(
    sa.update(uploads).where(
        uploads.c.id == sa.bindparam("of_id"), uploads.c.revision == sa.bindparam("of_revision")
    ),
    *("state", "etag", "proven_ms", "tries", "first_failed_ms"),
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
        self._running: dict[int, asyncio.Task[bool]] = {}
        self._carried: dict[int, Upload] = {}  # what is on its way
        self._begun: set[int] = set()  # what was on its way at the last look, and what was begun since
        self._behind = False  # something that is due waits for one on its way to end
        self._outcome: OrderedDict[str, bool] = OrderedDict()  # per task, whether its last try was proven
        self._failing_since_ns: dict[int, int] = {}  # by row: how long it fails, whatever is set as the time

    def wake(self) -> None:
        """Something was queued, or an upload has ended: look again."""
        self._wake.set()

    def offer(self, upload: Upload) -> None:
        """This was queued and is committed: begin it if nothing waits before it."""
        if self._closed:
            return
        if self._behind or upload.tries or not self._begin(upload):
            self._behind = True
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
            began_ns = self._clock.monotonic_ns()
            wait_s = await self._guarded(self._start_due(), otherwise=_DATABASE_RETRY_S)
            if not self._closed:
                looked_s = (self._clock.monotonic_ns() - began_ns) / NS_PER_S
                left_s = None if wait_s is None else wait_s - looked_s
                await sleep_unless(self._clock, left_s, self._wake)
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _start_due(self) -> float | None:
        """Start what is due; returns the seconds until something else is, None while nothing waits."""
        now_ms = self._clock.now_ms()
        self._begun = set(self._carried)  # one that ends while we read is still "ready" in what we read
        self._behind = False
        waiting = await self._db.ask(lambda conn: conn.execute(_DUE, {"each": self._concurrency * 2}).all())
        for row in waiting:
            if row.id in self._begun:
                carried = self._carried.get(row.id)
                self._behind = self._behind or (carried is not None and carried.revision != row.revision)
                continue
            left_ms = _left_ms(row.next_at_ms, row.tries, now_ms)
            if left_ms > 0:
                return left_ms / 1000
            if not self._begin(_upload(row)):
                self._behind = True  # the end of one wakes us
        return None

    def _begin(self, upload: Upload) -> bool:
        """Put it on its way, unless all places or those of its task are taken, or it is already."""
        if len(self._running) >= self._concurrency or upload.id in self._carried:
            return False
        if not self._may_start(upload.task_id):
            return False
        task = asyncio.create_task(self._carry(upload))
        self._running[upload.id] = task
        self._carried[upload.id] = upload
        self._begun.add(upload.id)
        task.add_done_callback(functools.partial(self._ended, upload.id))
        return True

    def _may_start(self, task_id: str) -> bool:
        """Whether the task's share of the places lets it have one more."""
        outcome = self._outcome.get(task_id)
        held = [upload.task_id for upload in self._carried.values()]
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

    def _ended(self, row_id: int, task: asyncio.Task[bool]) -> None:
        del self._running[row_id]
        del self._carried[row_id]
        over = not task.cancelled() and task.exception() is None and task.result()
        if self._behind or not over:
            self._wake.set()

    async def _carry(self, upload: Upload) -> bool:
        """Store it and write down how that went; True: there is nothing more of it to be stored."""
        proven = False
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
            over = await self._until_written(functools.partial(self._note_failure, upload, error))
        except Exception as error:
            log.exception("upload_broke", task_id=upload.task_id, name=upload.name)
            failure = StoreError("InternalError", "The upload broke in the server.")
            failure.__cause__ = error
            self._note_outcome(upload.task_id, proven=False)
            over = await self._until_written(functools.partial(self._note_failure, upload, failure))
        else:
            self._note_outcome(upload.task_id, proven=True)
            over = await self._until_written(functools.partial(self._note_proof, upload, proof))
            proven = True
        self._follower.settled(upload, proven)
        return over

    async def _note_proof(self, upload: Upload, proof: Proof) -> bool:
        """False: there may be more to do now, of this object or of its task."""
        now_ms = self._clock.now_ms()
        self._failing_since_ns.pop(upload.id, None)

        def write(conn: sa.Connection) -> tuple[bool, After]:
            values = {"state": "proven", "etag": proof.md5, "proven_ms": now_ms, "tries": 0}
            mine = {"of_id": upload.id, "of_revision": upload.revision}
            newest = _SETTLED.count(conn, {**values, "first_failed_ms": None, **mine})
            if upload.tries:  # the store is back: the rest of the task's backlog does not sit out its waits
                conn.execute(
                    sa.update(uploads)
                    .where(
                        uploads.c.task_id == upload.task_id,
                        uploads.c.state == "ready",
                        uploads.c.next_at_ms > now_ms,
                    )
                    .values(next_at_ms=now_ms)
                )
            # The queue is looked at again for that rest, and for a newer revision of the object.
            return bool(newest) and not upload.tries, self._follower.proven(conn, upload, now_ms)

        over, after = await self._db.run(write)
        after()
        log.info(
            "upload_proven", task_id=upload.task_id, name=upload.name, size=proof.size, method=proof.method
        )
        return over

    async def _note_failure(self, upload: Upload, error: StoreError) -> bool:
        now_ms = self._clock.now_ms()
        tries = upload.tries + 1
        since_ms = upload.first_failed_ms if upload.first_failed_ms is not None else now_ms
        failing_ms = self._failing_ms(upload.id, now_ms - since_ms)
        over = failing_ms >= self._max_age_ms
        tell = not upload.announced_308 and (error.tell_at_once or over or failing_ms >= TELL_AFTER_MS)

        def write(conn: sa.Connection) -> None:
            conn.execute(
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
            self._follower.failed(conn, upload, error, now_ms, over)
            if tell:
                self._follower.failing(conn, upload, error, now_ms)

        await self._db.run(write)
        if over:
            self._failing_since_ns.pop(upload.id, None)
            self._follower.given_up(upload)
        log.warning(
            "upload_failed",
            task_id=upload.task_id,
            name=upload.name,
            tries=tries,
            code=error.code,
            reason=str(error),
            given_up=over,
        )
        return False

    def _failing_ms(self, row_id: int, before_ms: int) -> int:
        """How long an object fails by now; `before_ms` is what a server before this one left of that."""
        now_ns = self._clock.monotonic_ns()
        since_ns = self._failing_since_ns.setdefault(row_id, now_ns - max(0, before_ms) * _NS_PER_MS)
        return (now_ns - since_ns) // _NS_PER_MS

    async def _until_written(self, write: Callable[[], Awaitable[bool]]) -> bool:
        """A result is not lost because the database is away for a while."""
        while True:
            try:
                return await write()
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
