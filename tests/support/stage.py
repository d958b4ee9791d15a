"""The server's recording side on a real database and a manual clock, without HTTP and without processes.

`Stage` builds what the composition root builds; `ScriptedWorker` is a worker whose every word the test
speaks. Nothing here waits for time: a test waits for a message, a commit or an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from roomtape.access import usersig
from roomtape.access.service import Access
from roomtape.clock import ManualClock
from roomtape.control.channel import Unpacker, pack
from roomtape.control.messages import (
    Assign,
    FileReady,
    Finalise,
    Finalised,
    Flow,
    Hello,
    PieceReady,
    Started,
    Stopped,
    ToServer,
    ToWorker,
)
from roomtape.fetching.guard import Guard
from roomtape.fetching.proxy import EgressProxy
from roomtape.library.service import Library
from roomtape.library.store import LibraryStore
from roomtape.recording.disk import DiskRules
from roomtape.recording.service import RecordingService, UploadRules
from roomtape.recording.spec import CloudStorageSpec, RecordingSpec
from roomtape.recording.task import TaskSettings
from roomtape.rooms.names import RoomName
from roomtape.rooms.service import Rooms
from roomtape.secret import Secret
from roomtape.state.database import Database
from roomtape.state.ledger import Ledger
from roomtape.state.schema import events
from roomtape.state.sealing import Sealer
from roomtape.storage.s3 import S3Rules, S3Stores
from roomtape.storage.spool import Spool
from roomtape.storage.stores import LocalBucket, LocalBuckets, LocalStore
from roomtape.tasks.workers import Worker, Workers
from tests.support.coretwin import CoreTwin

M = TypeVar("M")
LINK_S = 7200.0  # of the library's links
PATIENCE_S = 20.0  # a wait that takes longer has failed; no test waits for it to pass
NO_DISK_LIMITS = DiskRules(refuse=(0, 0), warn=(0, 0), pause=(0, 0), task_reserve_mb=0)


class ScriptedWorker:
    """One worker in the pool; it says what the test tells it to say."""

    def __init__(self, pool: Workers | None, index: int = 0, pid: int = 4711) -> None:
        self._arrived: list[ToWorker] = []
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False
        if pool is not None:
            self._pool = pool
            self.worker: Worker = pool.joined(Hello(index=index, pid=pid), self)

    def send(self, message: ToWorker) -> None:
        self._arrived.append(message)
        note = asyncio.ensure_future(self._note())
        self._tasks.add(note)
        note.add_done_callback(self._tasks.discard)

    async def _note(self) -> None:
        async with self._news:
            self._news.notify_all()

    def close(self) -> None:
        self.closed = True

    def die(self) -> None:
        self._pool.left(self.worker)

    def say(self, message: ToServer) -> None:
        self._pool.heard(self.worker, message)

    async def told(self, kind: type[M]) -> M:
        """The next message of that kind; takes it away, and waits for it when it has not come."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            while True:
                for message in self._arrived:
                    if isinstance(message, kind):
                        self._arrived.remove(message)
                        return message
                await self._news.wait()

    def waiting(self, kind: type[M]) -> list[M]:
        """Messages of that kind that have come and were not taken."""
        return [message for message in self._arrived if isinstance(message, kind)]

    # --- a recorder's usual words -------------------------------------------------------------------

    async def take(self, *, flowing: bool = True) -> Assign:
        """Take the next task and enter its room."""
        assign = await self.told(Assign)
        self.say(Started(task_id=assign.task_id, epoch=assign.epoch))
        if flowing:
            self.say(Flow(task_id=assign.task_id, epoch=assign.epoch, flowing=True))
        return assign

    def piece(self, assign: Assign, number: int, *, user: str = "amy", type: str = "audio") -> PieceReady:
        """Write a piece into the spool and say so; its bytes are its name."""
        name = f"{user}_main_{type}_{number:04d}.ts"
        content = name.encode() * 47
        path = Path(assign.spool_dir) / "pieces" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        ready = PieceReady(
            task_id=assign.task_id,
            epoch=assign.epoch,
            output=f"{user}\x1fmain\x1f{type}",
            user=user,
            media="main",
            type=type,
            piece_no=number,
            name=name,
            size=len(content),
            md5=hashlib.md5(content).hexdigest(),
            sha256=hashlib.sha256(content).hexdigest(),
            start_ms=assign.plan.clock_wall_ms + number * 10_000,
            start_ns=number * 10_000_000_000,
            end_ns=(number + 1) * 10_000_000_000,
            duration_us=10_000_000,
            counters={256: (number * 7) % 16},
            channels=2,
            sample_rate=48_000,
        )
        self.say(ready)
        return ready

    def stopped(self, assign: Assign) -> None:
        self.say(Stopped(task_id=assign.task_id, epoch=assign.epoch))

    def finish(self, job: Finalise, content: bytes = b"a film") -> FileReady:
        """Make the job's one file and say so."""
        name = f"{job.base_name}.{job.kind}"
        path = Path(job.out_dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        ready = FileReady(
            task_id=job.task_id,
            epoch=job.epoch,
            job=job.job,
            user=job.user,
            media=job.media,
            track_type="audio_video" if job.kind == "mp4" else "audio",
            name=name,
            index=0,
            size=len(content),
            md5=hashlib.md5(content).hexdigest(),
            sha256=hashlib.sha256(content).hexdigest(),
            start_ms=job.pieces[0].start_ms,
            end_ms=job.pieces[-1].start_ms + job.pieces[-1].duration_us // 1000,
        )
        self.say(ready)
        self.say(Finalised(task_id=job.task_id, epoch=job.epoch, job=job.job))
        return ready


class SocketWorker(ScriptedWorker):
    """The same over the control socket, as a process of its own would be."""

    def __init__(self) -> None:
        super().__init__(None)

    @classmethod
    async def connect(cls, path: Path, index: int = 0) -> SocketWorker:
        worker = cls()
        reader, worker._writer = await asyncio.open_unix_connection(str(path))
        worker.say(Hello(index=index, pid=4711))
        worker._reading = asyncio.create_task(worker._read(reader))
        return worker

    def say(self, message: ToServer) -> None:
        self._writer.write(pack(message))

    async def end(self) -> None:
        """Close the connection, as the process's end does."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()
        await self._writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        unpacker = Unpacker.at_worker()
        while chunk := await reader.read(65536):
            for message in unpacker.feed(chunk):
                self.send(message)

    _writer: asyncio.StreamWriter
    _reading: asyncio.Task[None]


@dataclass
class Stage:
    """All services of one server life."""

    db: Database
    clock: ManualClock
    root: Path
    sealer: Sealer
    access: Access
    core: CoreTwin
    rooms: Rooms
    rooms_ledger: Ledger
    workers: Workers
    recording: RecordingService
    buckets: LocalBuckets
    library: Library
    sdk_app_id: int
    app_key: Secret
    _committed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def bucket(self) -> Path:
        return self.root / "bucket"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    def sig(self, user: str) -> Secret:
        return Secret(
            usersig.issue(self.app_key.reveal(), self.sdk_app_id, user, time_s=self.clock.now_ms() // 1000)
        )

    def spec(self, **changes: Any) -> RecordingSpec:
        """A recording of everyone in string room class, to the local bucket."""
        spec = RecordingSpec(
            sdk_app_id=self.sdk_app_id,
            room_type="s",
            room_id="class",
            robot="robot",
            user_sig=self.sig(changes.get("robot", "robot")),
            storage=CloudStorageSpec(1, "eu", "recordings", Secret("AK"), Secret("SK"), ("school", "2026")),
        )
        return replace(spec, **changes)

    def room(self, type_: str = "s", room_id: str = "class") -> RoomName:
        return RoomName(self.sdk_app_id, "s" if type_ == "s" else "i", room_id)

    def stored(self) -> dict[str, bytes]:
        """What lies in the bucket, by the last part of its key."""
        found = {}
        for path in self.bucket.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # unfinished ones get their names meanwhile
                if path.is_file() and not path.name.startswith(".tmp-"):
                    found[path.name] = path.read_bytes()
        return found

    async def events(self, *, task_id: str | None = None, group: int | None = None) -> list[Any]:
        query = sa.select(events).order_by(events.c.id)
        if task_id is not None:
            query = query.where(events.c.task_id == task_id)
        if group is not None:
            query = query.where(events.c.group_id == group)
        async with self.db.read() as conn:
            return list((await conn.execute(query)).all())

    async def types(self, task_id: str | None = None) -> list[int]:
        return [row.type for row in await self.events(task_id=task_id)]

    async def event(
        self, type_: int, *, task_id: str | None = None, advancing: bool = False, **payload: Any
    ) -> Any:
        """Wait for an event of that type whose payload holds what is given.

        `advancing`: move the clock to the next wake-up whenever somebody sleeps on it.
        """
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self._committed.clear()
                for row in await self.events(task_id=task_id):
                    held = row.fact.get("payload", {})
                    if row.type == type_ and all(held.get(key) == value for key, value in payload.items()):
                        return row
                if not advancing:
                    await self._committed.wait()
                elif await self._sleeping_before(self._committed.wait()):
                    await self.clock.advance_to_next()

    async def gone(self, task_id: str) -> None:
        """Move the clock on until the task is gone."""
        waiting = self.recording.gone(task_id)
        async with asyncio.timeout(PATIENCE_S):
            while not waiting.done():
                if await self._sleeping_before(asyncio.shield(waiting)):
                    await self.clock.advance_to_next()

    async def dropped(self, task_id: str) -> None:
        """Wait until the spool has nothing of the task any more."""
        await self.when(lambda: not (self.spool / task_id).exists())

    async def when(self, ready: Callable[[], bool]) -> None:
        """Wait for what nobody tells of."""
        async with asyncio.timeout(PATIENCE_S):
            while not ready():
                await asyncio.sleep(0.01)

    async def _sleeping_before(self, other: Awaitable[Any]) -> bool:
        """Wait for somebody to sleep on the clock, or for `other`; True when it was a sleeper."""
        sleeping = asyncio.ensure_future(self.clock.sleepers())
        done = asyncio.ensure_future(other)
        try:
            await asyncio.wait({sleeping, done}, return_when=asyncio.FIRST_COMPLETED)
            return not done.done()
        finally:
            sleeping.cancel()
            done.cancel()

    async def count(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
        async with self.db.read() as conn:
            return int(await conn.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0)


@asynccontextmanager
async def stage(
    db: Database,
    clock: ManualClock,
    root: Path,
    *,
    settings: TaskSettings | None = None,
    max_bytes: int = 0,
    library_bytes: int = 0,
    upload: UploadRules | None = None,
    disk: DiskRules = NO_DISK_LIMITS,
    boot_id: str = "boot-1",
    app: tuple[int, Secret] | None = None,
    s3: S3Rules | None = None,
) -> AsyncIterator[Stage]:
    """Start a server life on the database and directory; `app` names the application of an earlier one."""
    sealer = Sealer.load(root / "master.key", {})
    access = Access(db, sealer, clock)
    if app is None:
        account = await access.create_account("owner")
        made, key = await access.create_app("school", uin=account.uin)
        urls = dict.fromkeys(("room", "media", "record"), "http://callbacks.example/")
        await access.set_callbacks(made.sdk_app_id, urls)
        app = (made.sdk_app_id, key)
    db.set_origin("node-1", boot_id)
    core = CoreTwin(clock)
    ledger = Ledger(db, clock, "rooms")
    rooms = Rooms(ledger, clock)
    rooms.attach(core)
    workers = Workers()
    spool = Spool(root / "spool")
    buckets = LocalBuckets({"recordings": LocalBucket(LocalStore(root / "bucket", max_bytes))})
    egress = EgressProxy(Guard(allow_loopback=True))
    await egress.start()
    library = Library(
        db,
        clock,
        sealer,
        LibraryStore(root / "library", library_bytes),
        public_url="https://rooms.example",
        link_s=LINK_S,
    )
    recording = RecordingService(
        db=db,
        clock=clock,
        access=access,
        sealer=sealer,
        rooms=rooms,
        workers=workers,
        spool=spool,
        buckets=buckets,
        node_id="node-1",
        boot_id=boot_id,
        settings=settings or TaskSettings(),
        disk=disk,
        upload=upload or UploadRules(),
        remote=S3Stores(egress, s3),
        library=library,
    )
    await library.open()
    await recording.start()
    sweeping = asyncio.create_task(library.run())
    writing = asyncio.create_task(ledger.run())
    made_stage = Stage(
        db, clock, root, sealer, access, core, rooms, ledger, workers, recording, buckets, library, *app
    )
    db.on_commit("deliveries", made_stage._committed.set)
    try:
        yield made_stage
    finally:
        rooms.close()
        await recording.close()
        library.end()
        await sweeping
        await egress.close()
        ledger.end()
        await writing
        core.stop()
