"""From a committed piece to the last event: playlists, upload results, 304, 305, 308, 310 or 312, gone.

Everything is decided from rows, so that a restart decides the same. A task is looked at again whenever
something of it changed (`touch`) or is due by the clock.

Source: On-cloud Recording > recording files, Event Callbacks > Cloud recording; read 2026-11. Order and
retry numbers are our choice where the pages are silent.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from roomtape import faults
from roomtape.clock import Clock
from roomtape.recording import events, notes, playlist
from roomtape.recording.destinations import Destinations
from roomtape.recording.pieces_table import THIS_OUTPUT, key_of, revision_of, stored_name
from roomtape.recording.spec import HLS, KEEPS_HLS, VodSpec
from roomtape.recording.task import TOPIC, Task, TaskSettings
from roomtape.recording.told import LibraryTold
from roomtape.state.database import SQL_ERRORS, Database, DatabaseUnavailable, announce, origin
from roomtape.state.ledger import After
from roomtape.state.schema import files, final_jobs, outputs, pieces, tasks, uploads
from roomtape.state.statement import Statement
from roomtape.storage.spool import Spool
from roomtape.storage.stores import ObjectStore, StoreError
from roomtape.storage.uploads import Upload, enqueue
from roomtape.timers import Timers
from roomtape.version import version

log = structlog.get_logger(__name__)

PLAYLIST_EVERY_MS = 10_000  # at most once in so long ...
PLAYLIST_EVERY_MS_PER_MB = 10_000  # ... and once in so long per MB of its size
EARLY_MS = 1000  # pieces of 10 s do not come to the millisecond: so much earlier is as good as due
RELEASE_DATE = "2026-11-25"
BODIES_KEPT = 16 << 20  # characters of playlists, of all tasks together
_RETRY_S = 1.0


_OUTPUT_KEYS = Statement(
    sa.select(outputs.c.output_key)
    .where(outputs.c.task_id == sa.bindparam("task"))
    .order_by(outputs.c.output_key)
)
_OUTPUT = Statement(
    sa.select(
        *(outputs.c[name] for name in ("user_id", "media", "type", "track_start_ms", "width", "height")),
        *(outputs.c[name] for name in ("channels", "sample_rate", "next_piece_no", "ended")),
        *(column for column in outputs.c if column.name.startswith("playlist_")),
    ).where(outputs.c.task_id == sa.bindparam("task"), outputs.c.output_key == sa.bindparam("output"))
)
_PIECES = Statement(
    sa.select(
        *(pieces.c[name] for name in ("piece_no", "upload_state", "name", "user_id", "media", "type")),
        *(pieces.c[name] for name in ("size", "start_ms", "duration_us", "discontinuity")),
    )
    .where(
        pieces.c.task_id == sa.bindparam("task"),
        pieces.c.output_key == sa.bindparam("output"),
        pieces.c.piece_no >= sa.bindparam("first", type_=sa.BigInteger()),
    )
    .order_by(pieces.c.piece_no)
)
_PIECE_PROVEN = Statement(
    sa.update(pieces).where(
        pieces.c.task_id == sa.bindparam("of_task"), pieces.c.name == sa.bindparam("of_name")
    ),
    *("upload_state", "proven_ms", "removed_ms"),
)
_PLAYLIST_QUEUED = Statement(
    THIS_OUTPUT, *("playlist_wanted", "playlist_size", "playlist_uploaded_ms", "playlist_state")
)
_TOLD_304 = Statement(THIS_OUTPUT, "announced_304")
_PLAYLIST_STORED_AGAIN = Statement(
    THIS_OUTPUT.where(outputs.c.announced_304).values(
        playlist_proven=sa.bindparam("stored", type_=sa.BigInteger()),
        playlist_state=sa.case(
            (
                outputs.c.playlist_wanted == sa.bindparam("stored", type_=sa.BigInteger()),
                sa.bindparam("newest_state", type_=sa.Text()),
            ),
            else_=outputs.c.playlist_state,
        ),
    )
)


@dataclass(slots=True)
class _Renewed:
    """What came of a look at the playlists of a task: what was queued, and when others are due."""

    task: Task
    queued: list[Upload] = field(default_factory=list)
    again_s: float | None = None
    error: Exception | None = None


class Delivery:
    """Follows uploads and brings every task to its end."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        spool: Spool,
        destinations: Destinations,
        told: LibraryTold,
        settings: TaskSettings,
        find: Callable[[str], Task | None],
        forget: Callable[[str], None],
    ) -> None:
        self._db = db
        self._clock = clock
        self._spool = spool
        self._destinations = destinations
        self._told = told
        self._settings = settings
        self._find = find
        self._forget = forget
        self._timers = Timers(clock)
        self._dirty: set[str] = set()
        self._changed = asyncio.Event()
        self._closed = False
        self._bodies = _Bodies()
        self._offer: Callable[[Upload], None] = lambda _upload: None

    def feed(self, offer: Callable[[Upload], None]) -> None:
        """Name who takes what was queued, once it is committed."""
        self._offer = offer

    def end(self) -> None:
        """Look at nothing any more; `run` returns."""
        self._timers.close()
        self._closed = True
        self._changed.set()

    def touch(self, task_id: str) -> None:
        """Look at the task soon."""
        self._dirty.add(task_id)
        self._changed.set()

    async def recall(self) -> None:
        """Write playlists again that wait to be stored and are not in the spool as they were written.

        They are made of rows and not forced to disk, which would cost each of them a sync of its own; a
        power cut may take the file of one whose row is there. For the start, before anything is uploaded.
        """
        waits = sa.and_(uploads.c.subject == "playlist", uploads.c.state == "ready")
        rows = await self._db.ask(lambda conn: conn.execute(sa.select(uploads).where(waits)).all())
        for row in rows:
            if self._find(row.task_id) is None or await asyncio.to_thread(_holds, Path(row.path), row.md5):
                continue
            await self._db.run(partial(_unwrite, row))
            log.warning("playlist_lost", task_id=row.task_id, name=row.name)
            self.touch(row.task_id)

    async def run(self) -> None:
        """Look at what was touched, until `end`."""
        while True:
            await self._changed.wait()
            if self._closed:
                return
            self._changed.clear()
            while self._dirty and not self._closed:
                found = [self._find(task_id) for task_id in self._dirty]
                self._dirty.clear()
                dirty = [task for task in found if task is not None]
                await self._guarded(dirty, self._renew_playlists(dirty))
                exited = [task for task in dirty if task.state == "exited"]
                await asyncio.gather(*(self._guarded([task], self._look_for_end(task)) for task in exited))

    async def _guarded(self, about: list[Task], work: Awaitable[None]) -> None:
        """What does not succeed is done again later."""
        try:
            await work
        except DatabaseUnavailable as error:
            log.error("database_unavailable", reason=str(error))
            for task in about:
                self._again_in(task.task_id, _RETRY_S)
        except Exception as error:
            for task in about:
                self._broke(task, error)

    def _broke(self, task: Task, error: Exception) -> None:
        log.error("delivery_broke", task_id=task.task_id, exc_info=error)
        self._again_in(task.task_id, _RETRY_S * 10)

    def _again_in(self, task_id: str, seconds: float) -> None:
        self._timers.set(task_id, seconds, lambda: self.touch(task_id))

    async def _look_for_end(self, task: Task) -> None:
        now_ms, exited_for_ms = self._clock.now_ms(), self._exited_for_ms(task)

        def decide(conn: sa.Connection) -> _Outcome:
            ending = _Ending(conn, task, now_ms, exited_for_ms, self._settings, self._told)
            outcome = ending.decide()
            if outcome.final:
                self._bodies.forget(task.task_id)
            return outcome

        await self._finish(task, await self._db.run(decide))

    def _exited_for_ms(self, task: Task) -> int:
        """How long it has been Exited, by the monotonic clock as soon as this server has seen it."""
        now_ns = self._clock.monotonic_ns()
        if task.exited_ns is None:
            now_ms = self._clock.now_ms()
            task.exited_ns = now_ns - max(0, now_ms - (task.exited_ms or now_ms)) * 1_000_000
        return (now_ns - task.exited_ns) // 1_000_000

    async def _finish(self, task: Task, ending: _Outcome) -> None:
        if ending.final and not task.final_event:
            task.final_event = ending.final
            log.info("task_delivered", task_id=task.task_id, final_event=ending.final)
            if not ending.keep_spool:
                faults.reach("before-delete")
                await asyncio.to_thread(self._spool.drop_task, task.task_id)  # gigabytes take their time
        if ending.gone:
            task.state = "gone"
            self._timers.cancel(task.task_id)
            self._forget(task.task_id)
            self._destinations.forget(task.task_id)
            log.info("task_gone", task_id=task.task_id)
        elif ending.look_again_s is not None:
            self._again_in(task.task_id, ending.look_again_s)

    # --- playlists --------------------------------------------------------------------------------

    async def _renew_playlists(self, dirty: list[Task]) -> None:
        """Queue the new versions that are due, those of all tasks in one transaction."""
        looked_at = [task for task in dirty if task.spec.output_format in KEEPS_HLS]
        if not looked_at:
            return
        now_ms = self._clock.now_ms()

        def write(conn: sa.Connection) -> list[_Renewed]:
            return [self._renew(conn, task, _output_keys(conn, task), now_ms) for task in looked_at]

        for renewed in await self._db.run(write):
            self._act(renewed)

    def _act(self, renewed: _Renewed) -> None:
        """On the loop, after the commit."""
        for upload in renewed.queued:
            self._offer(upload)
        if renewed.error is not None:
            self._broke(renewed.task, renewed.error)
        elif renewed.again_s is not None:
            self._again_in(renewed.task.task_id, renewed.again_s)

    def _renew(self, conn: sa.Connection, task: Task, output_keys: list[str], now_ms: int) -> _Renewed:
        renewed = _Renewed(task)
        for output_key in output_keys:
            try:
                self._renew_playlist(conn, renewed, output_key, now_ms)
            except SQL_ERRORS:
                raise
            except Exception as error:  # no matter of the others in this transaction: it wrote nothing
                renewed.error = error
        return renewed

    def _renew_playlist(self, conn: sa.Connection, renewed: _Renewed, output_key: str, now_ms: int) -> None:
        task = renewed.task
        where = {"task": task.task_id, "output": output_key}
        (out,) = _OUTPUT.rows(conn, where)
        named = stored = out.playlist_wanted // 2  # `revision_of`
        fresh = _PIECES.rows(conn, {**where, "first": named})
        for row in fresh:
            if row.upload_state != "proven" or row.piece_no != stored:
                break  # a playlist never names what is not stored, and has no hole
            stored += 1
        whole = bool(out.ended) and stored == out.next_piece_no
        revision = revision_of(stored, whole)
        if not stored or revision <= out.playlist_wanted:
            return
        if task.vod is not None and not whole:
            return  # nobody can ask for a file of the library before it is whole
        due_ms = _due_ms(out.playlist_uploaded_ms, out.playlist_size)
        set_back = now_ms < (out.playlist_uploaded_ms or 0)  # the wall clock was
        if now_ms < due_ms - EARLY_MS and not whole and not set_back:
            wait_s = (due_ms - now_ms) / 1000
            renewed.again_s = wait_s if renewed.again_s is None else min(renewed.again_s, wait_s)
            return
        body = self._bodies.take(task.task_id, output_key)
        if not named <= body.count <= stored:
            body = playlist.Body()
            fresh = _PIECES.rows(conn, {**where, "first": 0})
        for row in fresh:
            if body.count <= row.piece_no < stored:
                body.add(_segment(task, row))
        text = body.render(_head(out), ended=whole)
        self._bodies.keep(task.task_id, output_key, body)
        content = text.encode()
        path = self._spool.write_index(task.task_id, f"{revision}-{out.playlist_name}", text)
        node_id, boot_id = origin(conn)
        values = {
            "playlist_wanted": revision,
            "playlist_size": len(content),
            "playlist_uploaded_ms": now_ms,
            "playlist_state": "uploading",
        }
        _PLAYLIST_QUEUED.count(conn, {"of_task": task.task_id, "of_output": output_key, **values})
        upload = enqueue(
            conn,
            sdk_app_id=task.sdk_app_id,
            task_id=task.task_id,
            subject="playlist",
            name=out.playlist_name,
            object_key=key_of(task, out.playlist_name),
            path=path,
            size=len(content),
            md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            now_ms=now_ms,
            output_key=output_key,
            revision=revision,
            node_id=node_id,
            boot_id=boot_id,
            epoch=task.epoch,
        )
        renewed.queued.append(upload)

    # --- what the upload queue tells --------------------------------------------------------------

    async def store_of(self, upload: Upload) -> ObjectStore:
        task = self._find(upload.task_id)
        if task is None:
            raise StoreError("NoSuchBucket", "The task of this file is gone.", tell_at_once=True)
        return await self._destinations.of(task)

    def proven(self, conn: sa.Connection, upload: Upload, now_ms: int) -> After:
        """A piece takes its playlist along, if that is due: in the same commit."""
        task = self._find(upload.task_id)
        if task is None:
            return lambda: None
        if upload.tries:
            notes.keep(conn, task, notes.STORE_BACK, "what was refused is stored", now_ms)
        match upload.subject:
            case "piece":
                values = {
                    "upload_state": "proven",
                    "proven_ms": now_ms,
                    "removed_ms": None if task.keeps_pieces else now_ms,
                }
                _PIECE_PROVEN.count(conn, {"of_task": task.task_id, "of_name": upload.name, **values})
                renewed = self._renew(conn, task, [upload.output_key], now_ms)
                return lambda: self._act(renewed)
            case "playlist":
                _playlist_stored(conn, task, upload, now_ms)
            case _:
                conn.execute(
                    sa.update(files)
                    .where(files.c.task_id == task.task_id, files.c.name == upload.name)
                    .values(upload_state="proven", proven_ms=now_ms)
                )
        return lambda: None

    def failed(self, conn: sa.Connection, upload: Upload, error: StoreError, now_ms: int, over: bool) -> None:
        task = self._find(upload.task_id)
        if task is not None:
            notes.keep(conn, task, notes.STORE_FAILED, f"{error.code}: {error}", now_ms)
            if over:
                notes.keep(conn, task, notes.GIVEN_UP, f"{upload.name} stays in the spool", now_ms)

    def failing(self, conn: sa.Connection, upload: Upload, error: StoreError, now_ms: int) -> None:
        task = self._find(upload.task_id)
        if task is not None and task.vod is None:
            events.emit(conn, task, events.UPLOAD_FAILED, now_ms, code=error.code, message=str(error))

    def given_up(self, upload: Upload) -> None:
        log.error("upload_given_up", task_id=upload.task_id, name=upload.name, path=str(upload.path))

    def settled(self, upload: Upload, proven: bool) -> None:
        task = self._find(upload.task_id)
        if task is None:
            return
        spent = upload.subject == "playlist" or (upload.subject == "piece" and not task.keeps_pieces)
        if proven and spent:
            faults.reach("before-delete")
            upload.path.unlink(missing_ok=True)
        if not task.running:
            self.touch(upload.task_id)


class _Bodies:
    """What playlists say so far, so that a new version costs what is new of it; the oldest make room.

    Rows of proven pieces do not change, so what is kept is never wrong, at most behind. Only the writer's
    thread comes here.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], playlist.Body] = OrderedDict()
        self._size = 0

    def take(self, task_id: str, output_key: str) -> playlist.Body:
        """The one that was kept, or an empty one."""
        body = self._kept.pop((task_id, output_key), None)
        if body is None:
            return playlist.Body()
        self._size -= len(body)
        return body

    def keep(self, task_id: str, output_key: str, body: playlist.Body) -> None:
        self._kept[task_id, output_key] = body
        self._size += len(body)
        while self._size > BODIES_KEPT and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest)

    def forget(self, task_id: str) -> None:
        for key in [key for key in self._kept if key[0] == task_id]:
            self.take(*key)


def _output_keys(conn: sa.Connection, task: Task) -> list[str]:
    return [row.output_key for row in _OUTPUT_KEYS.rows(conn, {"task": task.task_id})]


def _segment(task: Task, row: sa.Row[Any]) -> playlist.Segment:
    return playlist.Segment(
        name=stored_name(task, row),
        size=row.size,
        start_ms=row.start_ms,
        duration_us=row.duration_us,
        discontinuity=row.discontinuity,
    )


def _head(out: sa.Row[Any]) -> playlist.PlaylistHead:
    return playlist.PlaylistHead(
        user=out.user_id,
        media=out.media,
        type=out.type,
        start_rec_ms=out.track_start_ms,
        version=version(),
        date=RELEASE_DATE,
        width=out.width,
        height=out.height,
        channels=out.channels,
        sample_rate=out.sample_rate,
    )


def _playlist_stored(conn: sa.Connection, task: Task, upload: Upload, now_ms: int) -> None:
    output = {"of_task": task.task_id, "of_output": upload.output_key}
    state = "final" if _is_final(upload.revision) else "proven"
    stored = {"stored": upload.revision, "newest_state": state}
    if _PLAYLIST_STORED_AGAIN.count(conn, {**output, **stored}):
        return
    _TOLD_304.count(conn, {**output, "announced_304": True})  # the first one, which is told
    _PLAYLIST_STORED_AGAIN.count(conn, {**output, **stored})
    if task.vod is None:
        events.emit(conn, task, events.PLAYLIST_STORED, now_ms, file_list=upload.name)


class _Outcome:
    """What `_Ending` decided; acted on after the commit."""

    def __init__(self) -> None:
        self.final = ""
        self.keep_spool = False
        self.gone = False
        self.look_again_s: float | None = None


class _Ending:
    """One look at an exited task, inside one transaction."""

    def __init__(
        self,
        conn: sa.Connection,
        task: Task,
        now_ms: int,
        exited_for_ms: int,
        settings: TaskSettings,
        told: LibraryTold,
    ) -> None:
        self._told = told
        self._conn = conn
        self._task = task
        self._now_ms = now_ms
        self._exited_for_ms = exited_for_ms
        self._min_ms = int(settings.exited_min_s * 1000)
        self._out = _Outcome()

    def decide(self) -> _Outcome:
        """Send what has become true, in the order of the flow: 305, then 310, or 311s and 312; then gone."""
        task = self._task
        final = task.final_event
        if not final and task.vod is not None:
            self._end_library(task.vod)
            final = self._out.final
        elif not final:
            hls_done = True
            if task.spec.output_format in KEEPS_HLS:
                hls_done = self._end_hls()
            if task.spec.output_format != HLS and hls_done:
                self._end_files()
            final = self._out.final
        # A library task always comes to its 312: what was given up is a failed file there.
        over = bool(final) or (task.vod is None and self._given_up())
        exited_for_ms = self._exited_for_ms
        if over and exited_for_ms >= self._min_ms:
            self._out.gone = True
            self._update(status="gone", gone_ms=self._now_ms, status_ms=self._now_ms)
        elif over:
            self._out.look_again_s = (self._min_ms - exited_for_ms) / 1000
        return self._out

    def _end_library(self, vod: VodSpec) -> None:
        """Event 311 of each file whose fate is known, and 312 after the last one."""
        failed = self._told.look(self._conn, self._task, vod, self._now_ms)
        if failed is not None:
            status = events.ABNORMAL if failed else events.DONE
            events.emit(self._conn, self._task, events.LIBRARY_ENDED, self._now_ms, status=status)
            self._out.keep_spool = failed
            self._final(f"312:{status}")

    def _end_hls(self) -> bool:
        """Event 305 as far as it is due; True once every piece and playlist is stored."""
        task = self._task
        missing_pieces = self._count(pieces, pieces.c.upload_state != "proven")
        open_playlists = self._count(outputs, outputs.c.playlist_state != "final")
        sent = events.statuses(self._conn, task, events.HLS_ENDED)
        if not missing_pieces and not open_playlists:
            if not sent & {events.DONE, events.LATE_OR_ABNORMAL}:
                status = events.LATE_OR_ABNORMAL if events.HELD_BACK in sent else events.DONE
                events.emit(self._conn, task, events.HLS_ENDED, self._now_ms, status=status)
                if task.spec.output_format == HLS:
                    self._final(f"305:{status}")
            return True
        if not sent and self._held_back("piece", "playlist"):
            events.emit(self._conn, task, events.HLS_ENDED, self._now_ms, status=events.HELD_BACK)
            self._update(held_back=True)
        return False

    def _end_files(self) -> None:
        """Event 310 once every MP4 or AAC is made, and again when the last one is stored."""
        task = self._task
        if self._count(final_jobs, final_jobs.c.state.not_in(("done", "failed"))):
            return
        failed = self._count(final_jobs, final_jobs.c.state == "failed")
        missing = self._count(files, files.c.upload_state != "proven")
        sent = events.statuses(self._conn, task, events.FILES_ENDED)
        if not missing:
            status = events.LATE_OR_ABNORMAL if failed else events.DONE
            self._tell_files(status)
            self._out.keep_spool = bool(failed)
            self._final(f"310:{status}")
        elif not sent and self._held_back("file"):
            self._tell_files(events.HELD_BACK)
            self._update(held_back=True)

    def _tell_files(self, status: int) -> None:
        rows = self._conn.execute(
            sa.select(files).where(files.c.task_id == self._task.task_id).order_by(files.c.id)
        )
        listed = [
            {
                "file_name": row.name,
                "user_id": row.user_id,
                "track_type": row.track_type,
                "media_id": row.media,
                "start_ms": row.start_ms,
                "end_ms": row.end_ms,
            }
            for row in rows
        ]
        events.emit(self._conn, self._task, events.FILES_ENDED, self._now_ms, status=status, files=listed)

    def _held_back(self, *subjects: str) -> bool:
        """Whether the rest is waiting only for a destination whose trouble has been told (308)."""
        mine = sa.and_(
            uploads.c.task_id == self._task.task_id,
            uploads.c.subject.in_(subjects),
            uploads.c.state != "proven",
        )
        rest = self._conn.execute(sa.select(uploads.c.announced_308).where(mine))
        told = [row.announced_308 for row in rest]
        return bool(told) and all(told)

    def _given_up(self) -> bool:
        """Whether some file was tried for `upload.max_age` and nothing else is under way."""
        mine = uploads.c.task_id == self._task.task_id
        states = set(self._conn.scalars(sa.select(uploads.c.state).where(mine).distinct()))
        return "given_up" in states and "ready" not in states

    def _final(self, name: str) -> None:
        self._out.final = name
        self._update(final_event=name, delivered_ms=self._now_ms)

    def _count(self, table: sa.Table, where: sa.ColumnElement[bool]) -> int:
        count = self._conn.scalar(
            sa.select(sa.func.count()).select_from(table).where(table.c.task_id == self._task.task_id, where)
        )
        return int(count or 0)

    def _update(self, **values: object) -> None:
        announce(self._conn, TOPIC)
        self._conn.execute(sa.update(tasks).where(tasks.c.task_id == self._task.task_id).values(**values))


def _is_final(revision: int) -> bool:
    return revision % 2 == 1


def _due_ms(uploaded_ms: int | None, size: int) -> int:
    """When the next version of a playlist may go up."""
    if uploaded_ms is None:
        return 0
    return uploaded_ms + max(PLAYLIST_EVERY_MS, int(PLAYLIST_EVERY_MS_PER_MB * size / 1_000_000))


def _unwrite(row: sa.Row[Any], conn: sa.Connection) -> None:
    conn.execute(sa.update(uploads).where(uploads.c.id == row.id).values(state="unwritten"))
    conn.execute(
        sa.update(outputs)
        .where(outputs.c.task_id == row.task_id, outputs.c.output_key == row.output_key)
        .values(playlist_wanted=outputs.c.playlist_proven)
    )


def _holds(path: Path, md5: str) -> bool:
    """Whether the file is there, with these bytes."""
    try:
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5
    except FileNotFoundError:
        return False
