"""The jobs after a stop: MP4 or AAC made by any worker from the committed pieces.

A job is a row; who works on it is known in memory only, so a restart begins it again. Three failures, the
death of the worker included, end it as failed: the pieces are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import sqlalchemy as sa
import structlog

from roomtape.clock import Clock
from roomtape.control.messages import FileCommitted, FileReady, Finalise, Finalised, FinalPiece
from roomtape.recording import names
from roomtape.recording.pieces_table import key_of
from roomtape.recording.task import Task, TaskSettings
from roomtape.state.database import origin
from roomtape.state.ledger import After, Ledger
from roomtape.state.schema import files, final_jobs, pieces
from roomtape.storage.spool import Spool
from roomtape.storage.uploads import Upload, enqueue
from roomtape.tasks.workers import Workers

log = structlog.get_logger(__name__)

MAX_TRIES = 3
_JOB = "job\x1e"  # begins the names under which workers hold jobs; no task ID has it


class Finalising:
    """Gives waiting jobs to workers and writes what they made."""

    def __init__(
        self,
        clock: Clock,
        ledger: Ledger,
        workers: Workers,
        spool: Spool,
        settings: TaskSettings,
        find: Callable[[str], Task | None],
        touch: Callable[[str, Upload | None], None],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._workers = workers
        self._spool = spool
        self._settings = settings
        self._find = find
        self._touch = touch
        self._running: dict[str, tuple[str, str]] = {}  # name at the worker to (task, job)

    def look(self) -> None:
        """Give out every job that waits."""
        self._ledger.put(self._give_out)

    def _give_out(self, conn: sa.Connection) -> After | None:
        rows = conn.execute(
            sa.select(final_jobs).where(final_jobs.c.state == "waiting").order_by(final_jobs.c.created_ms)
        )
        messages = []
        for row in rows.all():
            task = self._find(row.task_id)
            name = _name(row.task_id, row.job)
            if task is None or name in self._running:
                continue
            messages.append((name, self._message(conn, task, row)))
        return partial(self._send, messages) if messages else None

    def _send(self, messages: list[tuple[str, Finalise]]) -> None:
        for name, message in messages:
            index = self._workers.choose()
            if index is None or name in self._running:
                continue  # the next worker that comes asks again
            if self._workers.give(index, name, message):
                self._running[name] = (message.task_id, message.job)

    def _message(self, conn: sa.Connection, task: Task, job: sa.Row[tuple[object, ...]]) -> Finalise:
        rows = conn.execute(
            sa.select(pieces)
            .where(
                pieces.c.task_id == task.task_id,
                pieces.c.user_id == job.user_id,
                pieces.c.media == job.media,
                sa.true() if job.kind == "mp4" else pieces.c.type != "video",
            )
            .order_by(pieces.c.output_key, pieces.c.piece_no)
        )
        return Finalise(
            task_id=task.task_id,
            epoch=task.epoch,
            job=job.job,
            user=job.user_id,
            media=job.media,
            kind=job.kind,
            out_dir=str(self._spool.task_dir(task.task_id) / "files"),
            base_name=base_name(task, job.user_id, job.media),
            pieces=[
                FinalPiece(
                    path=str(self._spool.piece(task.task_id, row.name)),
                    type=row.type,
                    piece_no=row.piece_no,
                    start_ms=row.start_ms,
                    start_ns=row.start_ns,
                    duration_us=row.duration_us,
                    discontinuity=row.discontinuity,
                    priming=row.priming or b"",
                    sha256=row.sha256,
                    width=row.width,
                    height=row.height,
                )
                for row in rows
            ],
            max_file_ms=task.spec.max_file_minutes * 60_000,
            max_idle_ms=task.spec.max_idle_s * 1000,
            mp4_on_resize=self._settings.mp4_on_resize,
            fill_type=task.spec.fill_type,
        )

    def said(self, index: int, task: Task, message: FileReady | Finalised) -> None:
        """A worker made a file, or ended a job."""
        if isinstance(message, FileReady):
            self._ledger.put(partial(self._file, index, task, message))
        else:
            self._ledger.put(partial(self._ended, task, message.job, message.error))

    def orphaned(self, holders: Iterable[str]) -> None:
        """The worker died over these; holders that are no jobs are ignored."""
        for name in holders:
            held = self._running.get(name)
            task = self._find(held[0]) if held is not None else None
            if held is not None and task is not None:
                self._ledger.put(partial(self._ended, task, held[1], "the worker died"))

    def _file(self, index: int, task: Task, made: FileReady, conn: sa.Connection) -> After:
        now_ms = self._clock.now_ms()
        node_id, boot_id = origin(conn)
        values = {
            "job": made.job,
            "kind": made.name.rpartition(".")[2],
            "index_no": made.index,
            "user_id": made.user,
            "media": made.media,
            "track_type": made.track_type,
            "path": str(self._spool.file(task.task_id, made.name)),
            "size": made.size,
            "md5": made.md5,
            "sha256": made.sha256,
            "start_ms": made.start_ms,
            "end_ms": made.end_ms,
            "committed_ms": now_ms,
            "epoch": made.epoch,
        }
        where = sa.and_(files.c.task_id == task.task_id, files.c.name == made.name)
        known = (conn.execute(sa.select(files.c.md5, files.c.proven_ms).where(where))).one_or_none()
        if known is None:
            conn.execute(
                sa.insert(files).values(
                    sdk_app_id=task.sdk_app_id,
                    task_id=task.task_id,
                    name=made.name,
                    node_id=node_id,
                    boot_id=boot_id,
                    **values,
                )
            )
        elif known.md5 != made.md5:
            conn.execute(sa.update(files).where(where).values(upload_state="ready", proven_ms=None, **values))
        upload = None
        if known is None or known.md5 != made.md5:
            upload = enqueue(
                conn,
                sdk_app_id=task.sdk_app_id,
                task_id=task.task_id,
                subject="file",
                name=made.name,
                object_key=key_of(task, made.name),
                path=self._spool.file(task.task_id, made.name),
                size=made.size,
                md5=made.md5,
                now_ms=now_ms,
                node_id=node_id,
                boot_id=boot_id,
                epoch=made.epoch,
            )
        answer = FileCommitted(task_id=task.task_id, epoch=made.epoch, name=made.name)

        def after() -> None:
            self._workers.answer(index, answer)
            self._touch(task.task_id, upload)

        return after

    def _ended(self, task: Task, job: str, error: str, conn: sa.Connection) -> After:
        where = sa.and_(final_jobs.c.task_id == task.task_id, final_jobs.c.job == job)
        tries = (conn.scalar(sa.select(final_jobs.c.tries).where(where)) or 0) + 1
        state = "done" if not error else "failed" if tries >= MAX_TRIES else "waiting"
        conn.execute(
            sa.update(final_jobs)
            .where(where, final_jobs.c.state == "waiting")
            .values(
                state=state,
                tries=tries,
                error=error,
                done_ms=None if state == "waiting" else self._clock.now_ms(),
            )
        )

        def after() -> None:
            name = _name(task.task_id, job)
            self._running.pop(name, None)
            self._workers.release(name)
            if error:
                log.warning(
                    "finalise_failed", task_id=task.task_id, job=job, tries=tries, state=state, reason=error
                )
            self._touch(task.task_id, None)
            self.look()

        return after


def base_name(task: Task, user_id: str, media: str) -> str:
    """What the names of a job's files begin with."""
    vod = task.vod
    base = names.track_base(task.sdk_app_id, task.room_in_names, user_id, media, vod=vod is not None)
    base = names.moved_prefix(task.moves) + base
    return base if vod is None else names.defined_base(vod.user_define_record_id, base)


def _name(task_id: str, job: str) -> str:
    return f"{_JOB}{task_id}\x1e{job}"
