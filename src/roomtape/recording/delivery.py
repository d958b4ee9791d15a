"""From a committed piece to the last event: playlists, upload results, 304, 305, 308, 310 or 312, gone.

Everything is decided from rows, so that a restart decides the same. A task is looked at again whenever
something of it changed (`touch`) or is due by the clock.

Source: On-cloud Recording > recording files, Event Callbacks > Cloud recording; read 2026-11. Order and
retry numbers are our choice where the pages are silent.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from roomtape import faults
from roomtape.clock import Clock
from roomtape.recording import events, playlist
from roomtape.recording.destinations import Destinations
from roomtape.recording.pieces_table import key_of, revision_of, stored_name
from roomtape.recording.spec import HLS, KEEPS_HLS, VodSpec
from roomtape.recording.task import TOPIC, Task, TaskSettings
from roomtape.recording.told import LibraryTold
from roomtape.state.database import Database, DatabaseUnavailable, announce, origin
from roomtape.state.schema import files, final_jobs, outputs, pieces, tasks, uploads
from roomtape.storage.spool import Spool
from roomtape.storage.stores import ObjectStore, StoreError
from roomtape.storage.uploads import Upload, enqueue
from roomtape.timers import Timers
from roomtape.version import version

log = structlog.get_logger(__name__)

PLAYLIST_EVERY_MS = 10_000  # at most once in so long ...
PLAYLIST_EVERY_MS_PER_MB = 10_000  # ... and once in so long per MB of its size
RELEASE_DATE = "2026-11-25"
_RETRY_S = 1.0


def _stored_of() -> sa.Select[Any]:
    """Outputs of `task` with how many of their pieces are proven; made once, it is asked with each piece."""
    stored = (
        sa.select(pieces.c.output_key, sa.func.count().label("proven"))
        .where(pieces.c.task_id == sa.bindparam("task"), pieces.c.upload_state == "proven")
        .group_by(pieces.c.output_key)
        .subquery()
    )
    return (
        sa.select(outputs, stored.c.proven)
        .join(stored, stored.c.output_key == outputs.c.output_key)
        .where(outputs.c.task_id == sa.bindparam("task"))
    )


_STORED_OF = _stored_of()


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
        self._stored: defaultdict[str, list[Path]] = defaultdict(list)  # to drop once that is committed
        self._wake_uploads: Callable[[], None] = lambda: None

    def feed(self, wake_uploads: Callable[[], None]) -> None:
        """Name the upload queue's bell."""
        self._wake_uploads = wake_uploads

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
        async with self._db.read() as conn:
            rows = (await conn.execute(sa.select(uploads).where(waits))).all()
        for row in rows:
            if self._find(row.task_id) is None or await asyncio.to_thread(_holds, Path(row.path), row.md5):
                continue
            async with self._db.write() as conn:
                await conn.execute(sa.update(uploads).where(uploads.c.id == row.id).values(state="unwritten"))
                await conn.execute(
                    sa.update(outputs)
                    .where(outputs.c.task_id == row.task_id, outputs.c.output_key == row.output_key)
                    .values(playlist_wanted=outputs.c.playlist_proven)
                )
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
                task_id = self._dirty.pop()
                task = self._find(task_id)
                if task is None:
                    continue
                try:
                    await self._review(task)
                except DatabaseUnavailable as error:
                    log.error("database_unavailable", reason=str(error))
                    self._again_in(task_id, _RETRY_S)
                except Exception:
                    log.exception("delivery_broke", task_id=task_id)
                    self._again_in(task_id, _RETRY_S * 10)
            self._wake_uploads()

    def _again_in(self, task_id: str, seconds: float) -> None:
        self._timers.set(task_id, seconds, lambda: self.touch(task_id))

    async def _review(self, task: Task) -> None:
        if task.spec.output_format in KEEPS_HLS:
            await self._write_playlists(task)
        if task.state == "exited":
            async with self._db.write() as conn:
                exited_for_ms = self._exited_for_ms(task)
                ending = _Ending(conn, task, self._clock.now_ms(), exited_for_ms, self._settings, self._told)
                after = await ending.decide()
            self._finish(task, after)

    def _exited_for_ms(self, task: Task) -> int:
        """How long it has been Exited, by the monotonic clock as soon as this server has seen it."""
        now_ns = self._clock.monotonic_ns()
        if task.exited_ns is None:
            now_ms = self._clock.now_ms()
            task.exited_ns = now_ns - max(0, now_ms - (task.exited_ms or now_ms)) * 1_000_000
        return (now_ns - task.exited_ns) // 1_000_000

    def _finish(self, task: Task, ending: _Outcome) -> None:
        if ending.final and not task.final_event:
            task.final_event = ending.final
            log.info("task_delivered", task_id=task.task_id, final_event=ending.final)
            if not ending.keep_spool:
                faults.reach("before-delete")
                self._spool.drop_task(task.task_id)
        if ending.gone:
            task.state = "gone"
            self._timers.cancel(task.task_id)
            self._forget(task.task_id)
            self._destinations.forget(task.task_id)
            log.info("task_gone", task_id=task.task_id)
        elif ending.look_again_s is not None:
            self._again_in(task.task_id, ending.look_again_s)

    # --- playlists --------------------------------------------------------------------------------

    async def _write_playlists(self, task: Task) -> None:
        now_ms = self._clock.now_ms()
        async with self._db.read() as conn:
            rows = await conn.execute(_STORED_OF, {"task": task.task_id})
            waiting = rows.all()
        for row in waiting:
            may_grow = row.playlist_wanted < revision_of(
                row.proven, row.ended and row.proven == row.next_piece_no
            )
            if not may_grow:
                continue
            due_ms = _due_ms(row.playlist_uploaded_ms, row.playlist_size)
            whole = row.ended and row.proven == row.next_piece_no
            if task.vod is not None and not whole:
                continue  # nobody can ask for a file of the library before it is whole
            set_back = now_ms < (row.playlist_uploaded_ms or 0)  # the wall clock was
            if now_ms < due_ms and not whole and not set_back:
                self._again_in(task.task_id, (due_ms - now_ms) / 1000)
                continue
            await self._write_playlist(task, row.output_key)

    async def _write_playlist(self, task: Task, output_key: str) -> None:
        async with self._db.read() as conn:
            out = (
                await conn.execute(
                    sa.select(outputs).where(
                        outputs.c.task_id == task.task_id, outputs.c.output_key == output_key
                    )
                )
            ).one()
            rows = await conn.execute(
                sa.select(pieces)
                .where(pieces.c.task_id == task.task_id, pieces.c.output_key == output_key)
                .order_by(pieces.c.piece_no)
            )
            segments = []
            for row in rows:
                if row.upload_state != "proven":
                    break  # a playlist never names what is not stored, and has no hole
                segments.append(
                    playlist.Segment(
                        name=stored_name(task, row),
                        size=row.size,
                        start_ms=row.start_ms,
                        duration_us=row.duration_us,
                        discontinuity=row.discontinuity,
                    )
                )
        final = out.ended and len(segments) == out.next_piece_no
        revision = revision_of(len(segments), final)
        if not segments or revision <= out.playlist_wanted:
            return
        head = playlist.PlaylistHead(
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
        text = playlist.render(head, segments, ended=final)
        content = text.encode()
        path = self._spool.write_index(task.task_id, f"{revision}-{out.playlist_name}", text)
        now_ms = self._clock.now_ms()
        async with self._db.write() as conn:
            node_id, boot_id = origin(conn)
            await conn.execute(
                sa.update(outputs)
                .where(outputs.c.task_id == task.task_id, outputs.c.output_key == output_key)
                .values(
                    playlist_wanted=revision,
                    playlist_size=len(content),
                    playlist_uploaded_ms=now_ms,
                    playlist_state="uploading",
                )
            )
            await enqueue(
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

    # --- what the upload queue tells --------------------------------------------------------------

    async def store_of(self, upload: Upload) -> ObjectStore:
        task = self._find(upload.task_id)
        if task is None:
            raise StoreError("NoSuchBucket", "The task of this file is gone.", tell_at_once=True)
        return await self._destinations.of(task)

    async def proven(self, conn: AsyncConnection, upload: Upload, now_ms: int) -> None:
        task = self._find(upload.task_id)
        if task is None:
            return
        match upload.subject:
            case "piece":
                keeps = task.keeps_pieces
                await conn.execute(
                    sa.update(pieces)
                    .where(pieces.c.task_id == task.task_id, pieces.c.name == upload.name)
                    .values(upload_state="proven", proven_ms=now_ms, removed_ms=None if keeps else now_ms)
                )
                if not keeps:
                    self._stored[task.task_id].append(upload.path)
            case "playlist":
                self._stored[task.task_id].append(upload.path)
                await self._playlist_stored(conn, task, upload, now_ms)
            case _:
                await conn.execute(
                    sa.update(files)
                    .where(files.c.task_id == task.task_id, files.c.name == upload.name)
                    .values(upload_state="proven", proven_ms=now_ms)
                )

    async def _playlist_stored(self, conn: AsyncConnection, task: Task, upload: Upload, now_ms: int) -> None:
        where = sa.and_(outputs.c.task_id == task.task_id, outputs.c.output_key == upload.output_key)
        out = (await conn.execute(sa.select(outputs).where(where))).one()
        newest = out.playlist_wanted == upload.revision
        state = ("final" if _is_final(upload.revision) else "proven") if newest else out.playlist_state
        await conn.execute(
            sa.update(outputs)
            .where(where)
            .values(playlist_proven=upload.revision, playlist_state=state, announced_304=True)
        )
        if not out.announced_304 and task.vod is None:
            await events.emit(conn, task, events.PLAYLIST_STORED, now_ms, file_list=upload.name)

    async def failing(self, conn: AsyncConnection, upload: Upload, error: StoreError, now_ms: int) -> None:
        task = self._find(upload.task_id)
        if task is not None and task.vod is None:
            await events.emit(conn, task, events.UPLOAD_FAILED, now_ms, code=error.code, message=str(error))

    async def given_up(self, conn: AsyncConnection, upload: Upload, now_ms: int) -> None:
        log.error("upload_given_up", task_id=upload.task_id, name=upload.name, path=str(upload.path))

    def settled(self, task_id: str) -> None:
        for path in self._stored.pop(task_id, ()):
            faults.reach("before-delete")
            path.unlink(missing_ok=True)
        self.touch(task_id)


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
        conn: AsyncConnection,
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

    async def decide(self) -> _Outcome:
        """Send what has become true, in the order of the flow: 305, then 310, or 311s and 312; then gone."""
        task = self._task
        final = task.final_event
        if not final and task.vod is not None:
            await self._end_library(task.vod)
            final = self._out.final
        elif not final:
            hls_done = True
            if task.spec.output_format in KEEPS_HLS:
                hls_done = await self._end_hls()
            if task.spec.output_format != HLS and hls_done:
                await self._end_files()
            final = self._out.final
        # A library task always comes to its 312: what was given up is a failed file there.
        over = bool(final) or (task.vod is None and await self._given_up())
        exited_for_ms = self._exited_for_ms
        if over and exited_for_ms >= self._min_ms:
            self._out.gone = True
            await self._update(status="gone", gone_ms=self._now_ms, status_ms=self._now_ms)
        elif over:
            self._out.look_again_s = (self._min_ms - exited_for_ms) / 1000
        return self._out

    async def _end_library(self, vod: VodSpec) -> None:
        """Event 311 of each file whose fate is known, and 312 after the last one."""
        failed = await self._told.look(self._conn, self._task, vod, self._now_ms)
        if failed is not None:
            status = events.ABNORMAL if failed else events.DONE
            await events.emit(self._conn, self._task, events.LIBRARY_ENDED, self._now_ms, status=status)
            self._out.keep_spool = failed
            await self._final(f"312:{status}")

    async def _end_hls(self) -> bool:
        """Event 305 as far as it is due; True once every piece and playlist is stored."""
        task = self._task
        missing_pieces = await self._count(pieces, pieces.c.upload_state != "proven")
        open_playlists = await self._count(outputs, outputs.c.playlist_state != "final")
        sent = await events.statuses(self._conn, task, events.HLS_ENDED)
        if not missing_pieces and not open_playlists:
            if not sent & {events.DONE, events.LATE_OR_ABNORMAL}:
                status = events.LATE_OR_ABNORMAL if events.HELD_BACK in sent else events.DONE
                await events.emit(self._conn, task, events.HLS_ENDED, self._now_ms, status=status)
                if task.spec.output_format == HLS:
                    await self._final(f"305:{status}")
            return True
        if not sent and await self._held_back("piece", "playlist"):
            await events.emit(self._conn, task, events.HLS_ENDED, self._now_ms, status=events.HELD_BACK)
            await self._update(held_back=True)
        return False

    async def _end_files(self) -> None:
        """Event 310 once every MP4 or AAC is made, and again when the last one is stored."""
        task = self._task
        if await self._count(final_jobs, final_jobs.c.state.not_in(("done", "failed"))):
            return
        failed = await self._count(final_jobs, final_jobs.c.state == "failed")
        missing = await self._count(files, files.c.upload_state != "proven")
        sent = await events.statuses(self._conn, task, events.FILES_ENDED)
        if not missing:
            status = events.LATE_OR_ABNORMAL if failed else events.DONE
            await self._tell_files(status)
            self._out.keep_spool = bool(failed)
            await self._final(f"310:{status}")
        elif not sent and await self._held_back("file"):
            await self._tell_files(events.HELD_BACK)
            await self._update(held_back=True)

    async def _tell_files(self, status: int) -> None:
        rows = await self._conn.execute(
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
        await events.emit(
            self._conn, self._task, events.FILES_ENDED, self._now_ms, status=status, files=listed
        )

    async def _held_back(self, *subjects: str) -> bool:
        """Whether the rest is waiting only for a destination whose trouble has been told (308)."""
        mine = sa.and_(
            uploads.c.task_id == self._task.task_id,
            uploads.c.subject.in_(subjects),
            uploads.c.state != "proven",
        )
        rest = await self._conn.execute(sa.select(uploads.c.announced_308).where(mine))
        told = [row.announced_308 for row in rest]
        return bool(told) and all(told)

    async def _given_up(self) -> bool:
        """Whether some file was tried for `upload.max_age` and nothing else is under way."""
        mine = uploads.c.task_id == self._task.task_id
        states = set(await self._conn.scalars(sa.select(uploads.c.state).where(mine).distinct()))
        return "given_up" in states and "ready" not in states

    async def _final(self, name: str) -> None:
        self._out.final = name
        await self._update(final_event=name, delivered_ms=self._now_ms)

    async def _count(self, table: sa.Table, where: sa.ColumnElement[bool]) -> int:
        count = await self._conn.scalar(
            sa.select(sa.func.count()).select_from(table).where(table.c.task_id == self._task.task_id, where)
        )
        return int(count or 0)

    async def _update(self, **values: object) -> None:
        announce(self._conn, TOPIC)
        await self._conn.execute(
            sa.update(tasks).where(tasks.c.task_id == self._task.task_id).values(**values)
        )


def _is_final(revision: int) -> bool:
    return revision % 2 == 1


def _due_ms(uploaded_ms: int | None, size: int) -> int:
    """When the next version of a playlist may go up."""
    if uploaded_ms is None:
        return 0
    return uploaded_ms + max(PLAYLIST_EVERY_MS, int(PLAYLIST_EVERY_MS_PER_MB * size / 1_000_000))


def _holds(path: Path, md5: str) -> bool:
    """Whether the file is there, with these bytes."""
    try:
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5
    except FileNotFoundError:
        return False
