"""The verbs of cloud recording: create, describe, modify, stop; and the service's own life.

A verb is one SQL transaction that holds the state, the events it causes and the stored answer of a
repeated request. Nothing here waits for a worker, a store or a webhook.
Source: On-cloud Recording APIs, read 2026-11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
import structlog

from roomtape.access.errors import UnknownApp
from roomtape.access.service import Access
from roomtape.clock import Clock
from roomtape.control.messages import FileReady, Finalised
from roomtape.library.service import Library
from roomtape.recording.automatic import Automatic, to_keep
from roomtape.recording.delivery import Delivery
from roomtape.recording.destinations import BucketOpener, Destinations
from roomtape.recording.disk import DiskGuard, DiskRules
from roomtape.recording.errors import (
    FeatureOff,
    NoCapacity,
    OptionNotSupported,
    TaskExited,
    TaskNotFound,
    TooManyTasks,
)
from roomtape.recording.finalising import Finalising
from roomtape.recording.lifecycle import Lifecycle
from roomtape.recording.playlists import Playlists, read_playlists
from roomtape.recording.probing import Probing
from roomtape.recording.spec import (
    FORMAT_OF_MEDIA_TYPE,
    SINGLE_STREAM,
    RecordingSpec,
    SubscribeLists,
    VodSpec,
)
from roomtape.recording.task import (
    LeaveCode,
    Task,
    TaskSettings,
    lists_to_row,
    secrets_of,
    spec_to_row,
    task_from_row,
    without_secrets,
)
from roomtape.recording.told import LibraryTold
from roomtape.recording.views import RecordingDetail, RecordingView, Status
from roomtape.rooms.model import Room
from roomtape.rooms.names import RoomName
from roomtape.rooms.service import Rooms
from roomtape.state import replay
from roomtape.state.database import Database, origin
from roomtape.state.ledger import After, Ledger
from roomtape.state.schema import pieces, tasks, uploads
from roomtape.state.sealing import Sealer
from roomtape.storage.spool import Spool
from roomtape.storage.stores import LocalBuckets
from roomtape.storage.uploads import Upload, Uploads
from roomtape.tasks.ids import new_task_id
from roomtape.tasks.workers import Workers
from roomtape.timers import Timers

log = structlog.get_logger(__name__)

HOUR_MS = 3_600_000
END_S = 3.0  # what the service's loops get for the step they are in when the server ends
_STATUS: dict[str, Status] = {"idle": "Idle", "in_progress": "InProgress"}


@dataclass(frozen=True, slots=True)
class UploadRules:
    max_age_s: float = 604_800.0
    concurrency: int = 8
    probe: bool = False  # put and delete one byte in a task's bucket when it begins


class RecordingService:
    """All recordings of this node. `start` before use, `close` at the end."""

    def __init__(
        self,
        *,
        db: Database,
        clock: Clock,
        access: Access,
        sealer: Sealer,
        rooms: Rooms,
        workers: Workers,
        spool: Spool,
        buckets: LocalBuckets,
        node_id: str,
        boot_id: str,
        settings: TaskSettings,
        disk: DiskRules,
        upload: UploadRules,
        remote: BucketOpener,
        library: Library,
    ) -> None:
        self._db = db
        self._clock = clock
        self._access = access
        self._sealer = sealer
        self._rooms = rooms
        self._spool = spool
        self._workers = workers
        self._destinations = Destinations(db, sealer, buckets, remote, library.store)
        self._probing = Probing(db, clock, self._destinations, buckets, spool) if upload.probe else None
        self._playlists = Playlists(db)
        self._node_id = node_id
        self._boot_id = boot_id
        self._settings = settings
        self._ledger = Ledger(db, clock, "recording")
        self._life = Lifecycle(db, clock, self._ledger, workers, rooms, spool, settings)
        self.disk = DiskGuard(
            clock,
            self._life,
            lambda: spool.levels(warn=disk.warn, refuse=disk.refuse, pause=disk.pause),
            disk,
        )
        self._delivery = Delivery(
            db,
            clock,
            spool,
            self._destinations,
            LibraryTold(library),
            settings,
            self._life.tasks.get,
            self._forget_task,
        )
        self._finalising = Finalising(
            clock, self._ledger, workers, spool, settings, self._life.tasks.get, self._file_made
        )
        self._uploads = Uploads(
            db, clock, self._delivery, max_age_s=upload.max_age_s, concurrency=upload.concurrency
        )
        self._delivery.feed(self._uploads.offer)
        self._life.follow(self)
        self._automatic = Automatic(access, Timers(clock), self._records_itself, self._begin_automatic)
        self._running: list[asyncio.Task[None]] = []
        self._gone_waiters: dict[str, list[asyncio.Future[None]]] = {}

    # --- its own life -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Take this node's tasks back and begin to serve workers, rooms and uploads."""
        await self._take_back()
        await self._delivery.recall()
        self._workers.serve(self._life)
        self._rooms.watch(self._life)
        self._rooms.on_upstream(self._automatic.upstream)
        for work in (self._ledger.run(), self._life.run(), self._delivery.run(), self._uploads.run()):
            self._running.append(asyncio.create_task(work))
        self._finalising.look()

    async def close(self) -> None:
        """Stop working; everything goes on after the next start."""
        await self._automatic.end()
        if self._probing is not None:
            await self._probing.end()
        for part in (self._life, self._delivery, self._uploads, self._ledger):
            part.end()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=END_S)
            for work in late:
                work.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def settled(self) -> None:
        """Everything workers and rooms said so far is committed."""
        await self._ledger.settled()

    async def _take_back(self) -> None:
        """Tasks of the former server: those not ended are recorded on, after a hole."""
        kernel = kernel_boot_id()

        def take(conn: sa.Connection) -> list[Task]:
            rows = conn.execute(
                sa.select(tasks).where(
                    tasks.c.kind == "recording", tasks.c.node_id == self._node_id, tasks.c.status != "gone"
                )
            )
            taken = []
            for row in rows.all():
                task = task_from_row(row)
                if row.kernel_boot_id != kernel:
                    self._mend_times(conn, task, kernel)
                if task.running:
                    task.new_stretch = True
                    conn.execute(
                        sa.update(tasks)
                        .where(tasks.c.task_id == task.task_id)
                        .values(stretch=tasks.c.stretch + 1, boot_id=self._boot_id, worker=None)
                    )
                taken.append(task)
            return taken

        taken = await self._db.run(take)
        for task in taken:
            self._life.begin(task)
            self._delivery.touch(task.task_id)
        if taken:
            log.info("tasks_taken_back", tasks=len(taken))

    def _mend_times(self, conn: sa.Connection, task: Task, kernel: str) -> None:
        """The machine was booted: its monotonic clock began anew, wall time is what both lives share."""
        now_ms, now_ns = self._clock.now_ms(), self._clock.monotonic_ns()
        shift_ns = now_ns - (now_ms - task.clock_wall_ms) * 1_000_000 - task.clock_mono_ns
        task.clock_mono_ns += shift_ns
        task.created_ns += shift_ns
        values = {
            "clock_mono_ns": task.clock_mono_ns,
            "created_ns": task.created_ns,
            "kernel_boot_id": kernel,
        }
        if task.stop is not None:
            task.stop = type(task.stop)(task.stop.at_ns + shift_ns, task.stop.leave_code)
            values["stop_at_ns"] = task.stop.at_ns
        conn.execute(sa.update(tasks).where(tasks.c.task_id == task.task_id).values(**values))

    def _forget_task(self, task_id: str) -> None:
        self._life.tasks.pop(task_id, None)
        for waiter in self._gone_waiters.pop(task_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    def gone(self, task_id: str) -> asyncio.Future[None]:
        """Done when the task is gone: all delivered or given up, and seen as Exited for long enough."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if task_id in self._life.tasks:
            self._gone_waiters.setdefault(task_id, []).append(waiter)
        else:
            waiter.set_result(None)
        return waiter

    # --- what lifecycle tells ---------------------------------------------------------------------

    def touch(self, task_id: str) -> None:
        task = self._life.tasks.get(task_id)
        if task is not None and task.state == "exited":
            self._finalising.look()
        self._delivery.touch(task_id)

    def committed(self, task: Task, upload: Upload | None) -> None:
        if upload is not None:
            self._uploads.offer(upload)
        if not task.running:
            self.touch(task.task_id)

    def file_said(self, index: int, task: Task, message: FileReady | Finalised) -> None:
        self._finalising.said(index, task, message)

    def _file_made(self, task_id: str, upload: Upload | None) -> None:
        if upload is not None:
            self._uploads.offer(upload)
        self._delivery.touch(task_id)

    def jobs_orphaned(self, keys: Iterable[str]) -> None:
        self._finalising.orphaned(keys)

    def worker_ready(self) -> None:
        self._finalising.look()

    # --- the verbs --------------------------------------------------------------------------------

    async def create(self, spec: RecordingSpec) -> str:
        """Start a recorder in a room; returns its TaskId at once.

        Raises:
            UnknownApp, BadUserSig, TicketRefused: who asks, for whom, into which room.
            FeatureOff, OptionNotSupported, NoCapacity, TooManyTasks: what this server or application allows.
        """
        app = await self._access.app(spec.sdk_app_id)
        if app is None:
            raise UnknownApp(spec.sdk_app_id)
        await self._access.verify_user(spec.sdk_app_id, spec.robot, spec.user_sig)
        await self._access.verify_ticket(
            spec.sdk_app_id, spec.robot, spec.room_type, spec.room_id, spec.private_map_key
        )
        if not app.recording_enabled:
            raise FeatureOff("Recording is switched off for this application.")
        self._check_supported(spec)
        self._check_room_on_disk()
        spec = _as_stored(spec)
        task = self._new_task(spec)
        sealed = self._sealed(task, spec)

        def write(conn: sa.Connection) -> list[After | None]:
            self._check_count(conn, spec.sdk_app_id)
            # By rows, not by what runs here: a twin may be in this very commit.
            same = conn.scalars(
                sa.select(tasks.c.task_id).where(
                    tasks.c.sdk_app_id == spec.sdk_app_id,
                    tasks.c.room_type == spec.room_type,
                    tasks.c.room_id == spec.room_id,
                    tasks.c.status.in_(("idle", "in_progress")),
                    tasks.c.robot_user_id == spec.robot,
                    tasks.c.kind == "recording",
                )
            ).all()
            cause = "the same robot entered again"
            afters = [self._life.order_stop(conn, former, LeaveCode.SAME_USER, cause) for former in same]
            self._insert(conn, task, spec, sealed)
            replay.remember(conn, task_id=task.task_id)
            return afters

        for after in await self._db.run(write):
            if after is not None:
                after()
        self._rooms.robot_enters(task.room, spec.robot)
        self._life.begin(task)
        log.info("task_created", task_id=task.task_id, room=task.room.key, robot=spec.robot)
        if self._probing is not None:
            self._probing.begin(task)
        return task.task_id

    async def set_automatic(self, spec: RecordingSpec) -> None:
        """Record every room of the application that is made from now on, in the way of `spec`.

        Raises:
            UnknownApp: no such application.
            OptionNotSupported: this server cannot record that way.
        """
        self._check_supported(spec)
        if spec.mode != SINGLE_STREAM:
            raise OptionNotSupported("Automatic recording is single-stream only (RecordMode 1).")
        row, secrets = to_keep(spec)
        await self._access.set_auto_record(spec.sdk_app_id, row, secrets)

    async def no_automatic(self, sdk_app_id: int) -> None:
        """Begin no further recording by itself; those that run go on. Raises UnknownApp."""
        await self._access.set_auto_record(sdk_app_id, None, b"")

    async def describe(self, sdk_app_id: int, task_id: str) -> RecordingView:
        """State and playlists of a task. Raises UnknownApp, TaskNotFound."""
        if await self._access.app(sdk_app_id) is None:
            raise UnknownApp(sdk_app_id)
        held = self.describe_held(sdk_app_id, task_id)
        if held is not None:
            return held
        playlists = await self._playlists.of(task_id)
        return RecordingView(task_id, _status(self._callable(sdk_app_id, task_id)), playlists)

    def describe_held(self, sdk_app_id: int, task_id: str) -> RecordingView | None:
        """What `describe` answers of an application that exists; None while it has to ask the database.

        Raises TaskNotFound.
        """
        task = self._callable(sdk_app_id, task_id)
        if task.vod is not None:
            return RecordingView(task_id, _status(task))  # the page: always empty for a VOD task
        playlists = self._playlists.held(task_id)
        return None if playlists is None else RecordingView(task_id, _status(task), playlists)

    async def modify(self, sdk_app_id: int, task_id: str, lists: SubscribeLists) -> str:
        """Replace whom the task records. Raises TaskNotFound, TaskExited."""
        task = self._callable(sdk_app_id, task_id)
        if _status(task) == "Exited":
            raise TaskExited("The recorder has left the room.")

        def write(conn: sa.Connection) -> None:
            conn.execute(
                sa.update(tasks).where(tasks.c.task_id == task_id).values(subscription=lists_to_row(lists))
            )
            replay.remember(conn, task_id=task_id)

        await self._db.run(write)
        task.lists = lists
        self._life.modify(task)
        return task_id

    async def stop(self, sdk_app_id: int, task_id: str) -> str:
        """Make the recorder leave; legal in every state, the files go on. Raises UnknownApp, TaskNotFound."""
        if await self._access.app(sdk_app_id) is None:
            raise UnknownApp(sdk_app_id)
        self._callable(sdk_app_id, task_id)

        def write(conn: sa.Connection) -> After | None:
            replay.remember(conn, task_id=task_id)
            return self._life.order_stop(conn, task_id, LeaveCode.STOPPED, "stopped by the API")

        after = await self._db.run(write)
        if after is not None:
            after()
        return task_id

    def count(self) -> int:
        """How many tasks are not gone."""
        return len(self._life.tasks)

    def paused(self) -> int:
        """How many tasks write nothing because the disk is nearly full."""
        return sum(task.paused for task in self._life.tasks.values())

    def hint(self, task_id: str) -> str:
        """Why an idle task may wait for ever (its room of the other type has the anchors); else empty."""
        task = self._life.tasks.get(task_id)
        return self._life.hint(task) if task is not None else ""

    # --- for the operator -------------------------------------------------------------------------

    async def list_tasks(self, sdk_app_id: int | None = None) -> list[RecordingDetail]:
        """Every task that is not gone, oldest first."""
        found = [t for t in self._life.tasks.values() if sdk_app_id in (None, t.sdk_app_id)]
        return [await self.detail(task.task_id) for task in sorted(found, key=lambda t: t.created_ms)]

    async def detail(self, task_id: str) -> RecordingDetail:
        """One task with what only the operator may see. Raises TaskNotFound."""
        task = self._life.tasks.get(task_id)
        if task is None:
            raise TaskNotFound("There is no such task.")
        row, playlists, made, unproven = await self._db.ask(
            lambda conn: (
                conn.execute(sa.select(tasks).where(tasks.c.task_id == task_id)).one(),
                read_playlists(conn, task_id),
                conn.scalar(
                    sa.select(sa.func.count()).select_from(pieces).where(pieces.c.task_id == task_id)
                ),
                conn.scalar(
                    sa.select(sa.func.count())
                    .select_from(uploads)
                    .where(uploads.c.task_id == task_id, uploads.c.state != "proven")
                ),
            )
        )
        return RecordingDetail(
            task_id=task_id,
            sdk_app_id=task.sdk_app_id,
            room_type=task.room.type,
            room_id=task.room.room_id,
            robot=task.spec.robot,
            status=_status(task),
            worker=self._workers.holder(task_id),
            created_ms=task.created_ms,
            stopped_ms=row.exited_ms,
            leave_code=row.leave_code,
            files=playlists,
            pieces=made or 0,
            unproven=unproven or 0,
            hint=self._life.hint(task),
        )

    # --- what begins by itself --------------------------------------------------------------------

    def _records_itself(self, name: RoomName) -> bool:
        return any(task.spec.automatic and task.stop is None for task in self._life.of_room(name))

    async def _begin_automatic(self, spec: RecordingSpec, room: Room, at_ns: int | None) -> str | None:
        """Record a room from the instant of its first upstream; None when somebody ended that here before.

        Raises NoCapacity, DatabaseUnavailable.
        """
        self._check_room_on_disk()
        spec = _as_stored(spec)
        task = self._new_task(spec, at_ns)
        sealed = self._sealed(task, spec)

        def write(conn: sa.Connection) -> bool:
            ended_by_hand = conn.scalar(
                sa.select(tasks.c.task_id)
                .where(
                    tasks.c.automatic,
                    tasks.c.sdk_app_id == spec.sdk_app_id,
                    tasks.c.room_type == spec.room_type,
                    tasks.c.room_id == spec.room_id,
                    tasks.c.created_ms >= room.created_ms,
                    tasks.c.leave_code.in_((LeaveCode.STOPPED, LeaveCode.ROBOT_REMOVED)),
                )
                .limit(1)
            )
            if ended_by_hand is None:
                self._insert(conn, task, spec, sealed)
            return ended_by_hand is None

        if not await self._db.run(write):
            return None
        self._life.begin(task)
        log.info("task_created", task_id=task.task_id, room=task.room.key, robot=spec.robot, automatic=True)
        return task.task_id

    # --- checks -----------------------------------------------------------------------------------

    def _callable(self, sdk_app_id: int, task_id: str) -> Task:
        task = self._life.tasks.get(task_id)
        if task is None or task.sdk_app_id != sdk_app_id or self._clock.now_ms() >= task.expires_ms:
            raise TaskNotFound("There is no such task, or the time in which it can be called is over.")
        return task

    def _check_supported(self, spec: RecordingSpec) -> None:
        if spec.mode != SINGLE_STREAM:
            raise OptionNotSupported("RecordMode 2 (mixed) is not available on this server.")

    def _check_room_on_disk(self) -> None:
        self._spool.root.mkdir(parents=True, exist_ok=True)
        if not self.disk.admits():
            raise NoCapacity("The node has too little free disk for one more recording.")

    def _check_count(self, conn: sa.Connection, sdk_app_id: int) -> None:
        count = conn.scalar(
            sa.select(sa.func.count())
            .select_from(tasks)
            .where(
                tasks.c.sdk_app_id == sdk_app_id,
                tasks.c.kind == "recording",
                ~tasks.c.automatic,
                tasks.c.status.in_(("idle", "in_progress")),
                tasks.c.stop_requested_ms.is_(None),
            )
        )
        if (count or 0) >= self._settings.max_tasks_per_app:
            raise TooManyTasks(f"The application already runs {count} recording tasks, as many as it may.")

    # --- rows -------------------------------------------------------------------------------------

    def _new_task(self, spec: RecordingSpec, at_ns: int | None = None) -> Task:
        """A task that begins now, or at an instant of the core's clock that has just passed."""
        now_ms, now_ns = self._clock.now_ms(), self._clock.monotonic_ns()
        if at_ns is not None:
            now_ms, now_ns = now_ms - max(now_ns - at_ns, 0) // 1_000_000, min(at_ns, now_ns)
        return Task(
            task_id=new_task_id(),
            spec=without_secrets(spec),
            room=RoomName(spec.sdk_app_id, spec.room_type, spec.room_id),
            lists=spec.lists,
            created_ms=now_ms,
            created_ns=now_ns,
            expires_ms=now_ms + spec.expired_hours * HOUR_MS,
            clock_mono_ns=now_ns,
            clock_wall_ms=now_ms,
            epoch=0,
        )

    def _sealed(self, task: Task, spec: RecordingSpec) -> bytes:
        return self._sealer.seal(secrets_of(spec), f"task/{task.task_id}")

    def _insert(self, conn: sa.Connection, task: Task, spec: RecordingSpec, sealed: bytes) -> None:
        node_id, boot_id = origin(conn)
        conn.execute(
            sa.insert(tasks).values(
                task_id=task.task_id,
                sdk_app_id=spec.sdk_app_id,
                kind="recording",
                room_type=spec.room_type,
                room_id=spec.room_id,
                robot_user_id=spec.robot,
                automatic=spec.automatic,
                spec=spec_to_row(spec),
                subscription=lists_to_row(spec.lists),
                secrets_sealed=sealed,
                created_ms=task.created_ms,
                created_ns=task.created_ns,
                status_ms=task.created_ms,
                expires_at_ms=task.expires_ms,
                clock_mono_ns=task.clock_mono_ns,
                clock_wall_ms=task.clock_wall_ms,
                kernel_boot_id=kernel_boot_id(),
                node_id=node_id,
                boot_id=boot_id,
            )
        )


def kernel_boot_id() -> str:
    """Which boot of the machine this is: monotonic times compare only inside one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _as_stored(spec: RecordingSpec) -> RecordingSpec:
    """In the library MediaType says what is made, and OutputFormat means nothing."""
    if not isinstance(spec.storage, VodSpec):
        return spec
    return replace(spec, output_format=FORMAT_OF_MEDIA_TYPE[spec.storage.media_type])


def _status(task: Task) -> Status:
    return "Exited" if task.stop is not None else _STATUS.get(task.state, "Exited")
