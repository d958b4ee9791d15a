"""From accepted to Exited: who records a task, what its worker says, and what makes it end.

The one holder of running tasks in memory. Whatever a worker says goes through the ledger: one
transaction for all that waits, then the answers. A message of an epoch that is not the task's is dropped:
its sender was replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Protocol

import sqlalchemy as sa
import structlog

from roomtape import faults
from roomtape.clock import Clock
from roomtape.control.messages import (
    Assign,
    Beat,
    CommittedPiece,
    FileReady,
    Finalised,
    Flow,
    Forget,
    Hello,
    Modify,
    Note,
    OutputEnded,
    Pause,
    PieceCommitted,
    PieceReady,
    Resume,
    Started,
    Stop,
    Stopped,
    StoppedCommitted,
    ToServer,
)
from roomtape.recording import events, notes
from roomtape.recording.pieces_table import commit_piece, end_output
from roomtape.recording.spec import MAKES_AAC, MAKES_MP4, CloudStorageSpec
from roomtape.recording.task import LeaveCode, StopOrder, Task, TaskSettings, subscription
from roomtape.rooms.names import RoomName
from roomtape.rooms.service import Rooms
from roomtape.state.database import Database, DatabaseUnavailable, origin
from roomtape.state.ledger import After, Ledger
from roomtape.state.schema import final_jobs, outputs, pieces, tasks
from roomtape.storage.spool import Spool
from roomtape.storage.uploads import Upload
from roomtape.tasks.workers import Workers
from roomtape.timers import Timers

log = structlog.get_logger(__name__)

FLOW_ENDS_AFTER_S = 5.0  # without a subscribed packet a task is Idle again
SILENT_AFTER_STOP_S = 10.0  # then another worker is given the journal
DISK_FULL = "DiskFull"  # Code of a 308 that tells of our own disk
_RETRY_S = 1.0


class Closing(Protocol):
    """What comes after the recorder: `delivery` and `finalising`."""

    def touch(self, task_id: str) -> None:
        """Something of the task's files has changed: look at it again."""
        ...

    def committed(self, task: Task, upload: Upload | None) -> None:
        """One more piece of the task is committed, and queued as this upload."""
        ...

    def file_said(self, index: int, task: Task, message: FileReady | Finalised) -> None: ...

    def jobs_orphaned(self, keys: Iterable[str]) -> None: ...

    def worker_ready(self) -> None: ...


class Lifecycle:
    """All tasks of this node that are not gone."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        ledger: Ledger,
        workers: Workers,
        rooms: Rooms,
        spool: Spool,
        settings: TaskSettings,
    ) -> None:
        self.tasks: dict[str, Task] = {}
        self._db = db
        self._clock = clock
        self._ledger = ledger
        self._workers = workers
        self._rooms = rooms
        self._spool = spool
        self._settings = settings
        self._timers = Timers(clock)
        self._unassigned: set[str] = set()
        self._assign = asyncio.Event()
        self._closing: Closing | None = None
        self._closed = False
        self._trapped: set[str] = set()  # tasks whose wrong-room-type hint was logged

    def follow(self, closing: Closing) -> None:
        self._closing = closing

    @property
    def closing(self) -> Closing:
        if self._closing is None:
            raise RuntimeError("nobody follows the recordings yet")
        return self._closing

    def end(self) -> None:
        """Set no deadline and give out no task any more; `run` returns."""
        self._timers.close()
        self._closed = True
        self._assign.set()

    def of_room(self, name: RoomName) -> list[Task]:
        """The running tasks of a room."""
        return [task for task in self.tasks.values() if task.running and task.room == name]

    def hint(self, task: Task) -> str:
        """Why an idle task may wait for ever: the anchors are in the room of the other type."""
        twin = self._rooms.anchors(task.room.twin)
        if task.state != "idle" or task.stop is not None or not twin or self._rooms.anchors(task.room):
            return ""
        kinds = {"i": "integer room {}", "s": 'string room "{}"'}
        here = kinds[task.room.type].format(task.room.room_id)
        there = kinds[task.room.twin.type].format(task.room.room_id)
        return f"{here} is empty; {there} has {len(twin)} anchor{'s' if len(twin) > 1 else ''}"

    # --- beginning --------------------------------------------------------------------------------

    def begin(self, task: Task) -> None:
        """A task whose row is committed: give it to a worker and watch its room."""
        self.tasks[task.task_id] = task
        if task.running:
            self._spool.make(task.task_id)
            self._wait_for_worker(task.task_id)
            self._watch_idle(task)

    def _wait_for_worker(self, task_id: str) -> None:
        self._unassigned.add(task_id)
        self._assign.set()

    async def run(self) -> None:
        """Hand unassigned tasks to workers, until `end`."""
        while True:
            await self._assign.wait()
            if self._closed:
                return
            self._assign.clear()
            for task_id in sorted(self._unassigned):
                task = self.tasks.get(task_id)
                if task is None or not task.running:
                    self._unassigned.discard(task_id)
                    continue
                try:
                    if not await self._assign_to_worker(task):
                        break
                except DatabaseUnavailable as error:
                    log.error("database_unavailable", reason=str(error))
                    self._timers.set("assign", _RETRY_S, self._assign.set)
                    break
                self._unassigned.discard(task_id)

    async def _assign_to_worker(self, task: Task) -> bool:
        """Give the task to the worker with the fewest; False while there is none."""
        index = self._workers.choose()
        if index is None:
            return False
        now_ms = self._clock.now_ms()

        def assigned(conn: sa.Connection) -> tuple[int, list[CommittedPiece]]:
            epoch = conn.scalar(
                sa.update(tasks)
                .where(tasks.c.task_id == task.task_id)
                .values(epoch=tasks.c.epoch + 1, worker=index)
                .returning(tasks.c.epoch)
            )
            assert epoch is not None
            notes.keep(conn, task, notes.ASSIGNED, f"worker {index}, epoch {epoch}", now_ms)
            return epoch, _last_pieces(conn, task.task_id)

        epoch, committed = await self._db.run(assigned)
        task.epoch = epoch
        message = Assign(
            task_id=task.task_id,
            epoch=epoch,
            spool_dir=str(self._spool.make(task.task_id)),
            plan=task.plan(self._settings),
            committed=committed,
            stop_at_ns=task.stop.at_ns if task.stop is not None else None,
            new_stretch=task.new_stretch,
            paused=task.paused,
        )
        if not self._workers.give(index, task.task_id, message):
            return False
        log.info("task_assigned", task_id=task.task_id, worker=index, epoch=epoch)
        if task.stop is not None:
            self._expect_end(task)
        return True

    # --- what workers do --------------------------------------------------------------------------

    def worker_ready(self, index: int) -> None:
        self._assign.set()
        self.closing.worker_ready()

    def tasks_orphaned(self, task_ids: Iterable[str]) -> None:
        """Their worker is dead: another goes on from the journal."""
        jobs = []
        for task_id in task_ids:
            if task_id in self.tasks:
                self._keep_note(self.tasks[task_id], notes.WORKER_DIED, "the process that held it is gone")
                self._wait_for_worker(task_id)
            else:
                jobs.append(task_id)
        if jobs:
            self.closing.jobs_orphaned(jobs)

    def said(self, index: int, message: ToServer) -> None:
        if isinstance(message, Hello | Beat):
            return
        task = self.tasks.get(message.task_id)
        if task is not None and message.epoch == task.epoch and ("silent", task.task_id) in self._timers:
            self._expect_end(task)
        self._ledger.put(partial(self._handle, index, message))

    def _handle(
        self,
        index: int,
        message: Started | Flow | PieceReady | OutputEnded | FileReady | Finalised | Stopped | Note,
        conn: sa.Connection,
    ) -> After | None:
        task = self.tasks.get(message.task_id)
        if task is None or message.epoch < task.epoch:
            log.info("stale_message", task_id=message.task_id, epoch=message.epoch, worker=index)
            forget = Forget(task_id=message.task_id, epoch=message.epoch)
            return partial(self._workers.answer, index, forget)
        if message.epoch > task.epoch:
            log.error("message_of_the_future", task_id=message.task_id, epoch=message.epoch)
            return None
        match message:
            case Started():
                return self._started(conn, task)
            case Flow():
                return partial(self._flow, task, message.flowing)
            case PieceReady():
                return self._piece(conn, index, task, message)
            case OutputEnded():
                end_output(conn, task, message.output, self._clock.now_ms())
                return partial(self.closing.touch, task.task_id)
            case Stopped():
                return self._stopped(conn, index, task)
            case FileReady() | Finalised():
                return partial(self.closing.file_said, index, task, message)
            case Note():
                return self._noted(conn, task, message)

    def _noted(self, conn: sa.Connection, task: Task, note: Note) -> After | None:
        notes.keep(conn, task, note.kind, note.text, self._clock.now_ms(), note.count)
        tell = note.kind == "disk_full" and not task.disk_told
        if tell:
            self._tell_disk_full(conn, task, note.text)

        def after() -> None:
            task.disk_told = (task.disk_told or tell) and note.kind != "disk_ok"
            say = log.info if note.kind == "disk_ok" else log.warning
            say("task_note", task_id=task.task_id, kind=note.kind, text=note.text, count=note.count)

        return after

    def _keep_note(self, task: Task, kind: str, text: str) -> None:
        now_ms = self._clock.now_ms()
        self._ledger.put(lambda conn: notes.keep(conn, task, kind, text, now_ms))

    def _tell_disk_full(self, conn: sa.Connection, task: Task, text: str) -> None:
        events.emit(conn, task, events.UPLOAD_FAILED, self._clock.now_ms(), code=DISK_FULL, message=text)

    def _started(self, conn: sa.Connection, task: Task) -> After:
        if not task.started:
            now_ms = self._clock.now_ms()
            uploads_hls = isinstance(task.spec.storage, CloudStorageSpec)
            first = conn.execute(
                sa.update(tasks)
                .where(tasks.c.task_id == task.task_id, tasks.c.started_ms.is_(None))
                .values(started_ms=now_ms, announced_303=uploads_hls)
            )
            if first.rowcount:
                events.emit(conn, task, events.STARTED, now_ms, status=0)
            if first.rowcount and uploads_hls:
                events.emit(conn, task, events.UPLOAD_STARTED, now_ms, status=0)
        epoch = task.epoch

        def after() -> None:
            task.started = True
            if task.epoch == epoch:
                task.new_stretch = False

        return after

    def _flow(self, task: Task, flowing: bool) -> None:
        key = ("flow", task.task_id)
        if flowing:
            self._timers.cancel(key)
            self._change_state(task, "in_progress")
        elif task.state == "in_progress":
            self._timers.set(key, FLOW_ENDS_AFTER_S, lambda: self._change_state(task, "idle"))

    def _change_state(self, task: Task, state: str) -> None:
        if not task.running or task.state == state:
            return
        task.state = "in_progress" if state == "in_progress" else "idle"
        now_ms = self._clock.now_ms()

        def entry(conn: sa.Connection) -> None:
            conn.execute(
                sa.update(tasks)
                .where(tasks.c.task_id == task.task_id, tasks.c.status.in_(("idle", "in_progress")))
                .values(
                    status=state,
                    status_ms=now_ms,
                    first_media_ms=sa.func.coalesce(tasks.c.first_media_ms, now_ms)
                    if state == "in_progress"
                    else tasks.c.first_media_ms,
                )
            )

        self._ledger.put(entry)

    def _piece(self, conn: sa.Connection, index: int, task: Task, piece: PieceReady) -> After:
        upload = commit_piece(conn, task, piece, self._spool, self._clock.now_ms())
        faults.reach("before-commit")
        answer = PieceCommitted(
            task_id=task.task_id, epoch=piece.epoch, output=piece.output, piece_no=piece.piece_no
        )

        def after() -> None:
            faults.reach("after-commit")
            self._workers.answer(index, answer)
            self.closing.committed(task, upload)

        return after

    def _stopped(self, conn: sa.Connection, index: int, task: Task) -> After:
        answer = StoppedCommitted(task_id=task.task_id, epoch=task.epoch)
        if task.running and task.stop is None:
            # The worker closed a stretch of its own accord; somebody has to go on after it.
            return partial(self._stretch_closed, index, task, answer)
        now_ms = self._clock.now_ms()
        if task.running:
            assert task.stop is not None
            self._leave(conn, task, task.stop, now_ms)

        def after() -> None:
            if task.running:
                task.state = "exited"
                task.exited_ms, task.exited_ns = now_ms, self._clock.monotonic_ns()
                log.info("recorder_left", task_id=task.task_id)
            self._timers.cancel(("silent", task.task_id))
            self._timers.cancel(("flow", task.task_id))
            self._timers.cancel(("idle", task.task_id))
            self._trapped.discard(task.task_id)
            self._workers.answer(index, answer)
            self._workers.release(task.task_id)
            self.closing.touch(task.task_id)

        return after

    def _leave(self, conn: sa.Connection, task: Task, stop: StopOrder, now_ms: int) -> None:
        """Exited and event 302, playlists to be closed, and the jobs that make MP4 or AAC.

        Once: a worker may say it again before it has the answer, even within one transaction.
        """
        left = conn.execute(
            sa.update(tasks)
            .where(tasks.c.task_id == task.task_id, tasks.c.status.in_(("idle", "in_progress")))
            .values(status="exited", status_ms=now_ms, exited_ms=now_ms, worker=None)
        )
        if not left.rowcount:
            return
        conn.execute(
            sa.update(outputs)
            .where(outputs.c.task_id == task.task_id, ~outputs.c.ended)
            .values(ended=True, ended_ms=now_ms)
        )
        events.emit(conn, task, events.LEFT, now_ms, leave_code=stop.leave_code)
        format_ = task.spec.output_format
        if format_ not in MAKES_MP4 | MAKES_AAC:
            return
        kind = "mp4" if format_ in MAKES_MP4 else "aac"
        rows = conn.execute(
            sa.select(outputs.c.user_id, outputs.c.media)
            .where(outputs.c.task_id == task.task_id)
            .where(sa.true() if kind == "mp4" else outputs.c.type != "video")
            .distinct()
        )
        node_id, boot_id = origin(conn)
        for row in rows.all():
            conn.execute(
                sa.insert(final_jobs).values(
                    task_id=task.task_id,
                    job=f"{row.user_id}\x1f{row.media}",
                    sdk_app_id=task.sdk_app_id,
                    user_id=row.user_id,
                    media=row.media,
                    kind=kind,
                    created_ms=now_ms,
                    node_id=node_id,
                    boot_id=boot_id,
                )
            )

    def _stretch_closed(self, index: int, task: Task, answer: StoppedCommitted) -> None:
        self._workers.answer(index, answer)
        self._workers.release(task.task_id)
        task.new_stretch = True
        self._wait_for_worker(task.task_id)

    # --- ending -----------------------------------------------------------------------------------

    def order_stop(self, conn: sa.Connection, task_id: str, leave_code: int, cause: str) -> After | None:
        """Write that the recorder has to leave; call what is returned after the commit.

        None when it was told before: the first cause stands.
        """
        now_ms, now_ns = self._clock.now_ms(), self._clock.monotonic_ns()
        changed = conn.execute(
            sa.update(tasks)
            .where(
                tasks.c.task_id == task_id,
                tasks.c.stop_requested_ms.is_(None),
                tasks.c.status.in_(("idle", "in_progress")),
            )
            .values(stop_requested_ms=now_ms, stop_at_ns=now_ns, stop_cause=cause, leave_code=leave_code)
        )
        if not changed.rowcount:
            return None
        return partial(self._stopping, task_id, StopOrder(now_ns, leave_code), cause)

    def stop_soon(self, task: Task, leave_code: int, cause: str) -> None:
        """The same from inside the server, where nobody waits for it."""
        if task.stop is None and task.running:
            self._ledger.put(lambda conn: self.order_stop(conn, task.task_id, leave_code, cause))

    def _stopping(self, task_id: str, order: StopOrder, cause: str) -> None:
        task = self.tasks.get(task_id)
        if task is None:
            return  # its row is committed, and nobody was left to begin it: the next start does, and ends it
        task.stop = order
        log.info("task_stopping", task_id=task.task_id, leave_code=order.leave_code, cause=cause)
        self._timers.cancel(("idle", task.task_id))
        told = self._workers.tell(
            task.task_id, Stop(task_id=task.task_id, epoch=task.epoch, at_ns=order.at_ns)
        )
        if told:
            self._expect_end(task)
        else:
            self._wait_for_worker(task.task_id)

    def _expect_end(self, task: Task) -> None:
        """A stopped task whose worker stays silent is given to another."""
        self._timers.set(("silent", task.task_id), SILENT_AFTER_STOP_S, lambda: self._move(task))

    def _move(self, task: Task) -> None:
        if not task.running:
            return
        log.warning("worker_silent_after_stop", task_id=task.task_id, epoch=task.epoch)
        self._workers.tell(task.task_id, Forget(task_id=task.task_id, epoch=task.epoch))
        self._workers.release(task.task_id)
        self._wait_for_worker(task.task_id)

    def modify(self, task: Task) -> None:
        """Tell the holder whom to record from now on."""
        message = Modify(task_id=task.task_id, epoch=task.epoch, subscription=subscription(task.lists))
        self._workers.tell(task.task_id, message)

    # --- a disk that is nearly full ---------------------------------------------------------------

    def pause(self, task: Task, free_bytes: int) -> None:
        """Let a task write nothing until `resume`; its owner is told (308). It stays what it is."""
        if task.paused or not task.running:
            return
        task.paused = True
        self._workers.tell(task.task_id, Pause(task_id=task.task_id, epoch=task.epoch))
        self._keep_note(task, notes.PAUSED, "the disk is nearly full")
        log.warning("task_paused", task_id=task.task_id, free_bytes=free_bytes)
        if not task.disk_told:
            task.disk_told = True
            text = "The server's disk is nearly full: nothing is recorded until there is room."

            def entry(conn: sa.Connection) -> None:
                self._tell_disk_full(conn, task, text)

            self._ledger.put(entry)

    def resume(self, task: Task) -> None:
        """There is room again."""
        if not task.paused:
            return
        task.paused = task.disk_told = False
        self._workers.tell(task.task_id, Resume(task_id=task.task_id, epoch=task.epoch))
        self._keep_note(task, notes.RESUMED, "there is room on the disk")
        log.info("task_resumed", task_id=task.task_id)

    # --- what happens in rooms --------------------------------------------------------------------

    def anchors_changed(self, name: RoomName) -> None:
        for task in (*self.of_room(name), *self.of_room(name.twin)):
            self._watch_idle(task)

    def user_entered(self, name: RoomName, user_id: str) -> None:
        for task in self.of_room(name):
            if task.spec.robot == user_id:
                self.stop_soon(task, LeaveCode.SAME_USER, "user took the robot's place")

    def user_removed(self, name: RoomName, user_id: str) -> bool:
        robots = [task for task in self.of_room(name) if task.spec.robot == user_id and task.stop is None]
        for task in robots:
            self.stop_soon(task, LeaveCode.ROBOT_REMOVED, "robot removed")
        return bool(robots)

    def room_dismissed(self, name: RoomName) -> bool:
        robots = [task for task in self.of_room(name) if task.stop is None]
        for task in robots:
            self.stop_soon(task, LeaveCode.ROOM_DISMISSED, "room dismissed")
        return bool(robots)

    def _watch_idle(self, task: Task) -> None:
        """Run MaxIdleTime while the room has no anchor."""
        key = ("idle", task.task_id)
        if task.stop is not None:
            return
        if self._rooms.anchors(task.room):
            self._timers.cancel(key)
            return
        if key not in self._timers:
            self._timers.set(
                key, task.spec.max_idle_s, lambda: self.stop_soon(task, LeaveCode.IDLE, "no anchor")
            )
        hint = self.hint(task)
        if hint and task.task_id not in self._trapped:
            self._trapped.add(task.task_id)
            log.warning("room_type_trap", task_id=task.task_id, hint=hint)


def _last_pieces(conn: sa.Connection, task_id: str) -> list[CommittedPiece]:
    """The last committed piece of each output."""
    last = (
        sa.select(pieces.c.output_key, sa.func.max(pieces.c.piece_no).label("piece_no"))
        .where(pieces.c.task_id == task_id)
        .group_by(pieces.c.output_key)
        .subquery()
    )
    rows = conn.execute(
        sa.select(pieces.c.output_key, pieces.c.piece_no, pieces.c.end_ns, pieces.c.counters)
        .join(
            last,
            sa.and_(pieces.c.output_key == last.c.output_key, pieces.c.piece_no == last.c.piece_no),
        )
        .where(pieces.c.task_id == task_id)
        .order_by(pieces.c.output_key)
    )
    return [
        CommittedPiece(
            output=row.output_key,
            piece_no=row.piece_no,
            end_ns=row.end_ns,
            counters={int(pid): counter for pid, counter in (row.counters or {}).items()},
        )
        for row in rows
    ]
