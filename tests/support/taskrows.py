"""Recording verbs over the real tables, without a media core: what the API's own tests need of them.

Tasks are rows, their results are remembered in the same transaction; nothing is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sqlalchemy as sa

from roomtape.access.errors import UnknownApp
from roomtape.access.service import Access
from roomtape.clock import Clock
from roomtape.recording.errors import (
    FeatureOff,
    OptionNotSupported,
    TaskExited,
    TaskNotFound,
    TooManyTasks,
)
from roomtape.recording.spec import MIXED, RecordingSpec, SubscribeLists
from roomtape.state import replay
from roomtape.state.database import Database
from roomtape.state.schema import tasks
from roomtape.tasks.ids import new_task_id

STATUS = {"idle": "Idle", "in_progress": "InProgress", "exited": "Exited"}


@dataclass(frozen=True)
class FileView:
    user_id: str
    file_name: str
    track_type: str
    begin_ms: int


@dataclass(frozen=True)
class TaskView:
    task_id: str
    status: str
    files: list[FileView]


@dataclass
class RecordingRows:
    """`specs` keeps what create was given, so that a test can look at defaults."""

    db: Database
    access: Access
    clock: Clock
    max_tasks: int = 100
    specs: list[RecordingSpec] = field(default_factory=list)
    files: list[FileView] = field(default_factory=list)

    async def create(self, spec: RecordingSpec) -> str:
        app = await self.access.app(spec.sdk_app_id)
        if app is None:
            raise UnknownApp(spec.sdk_app_id)
        await self.access.verify_user(spec.sdk_app_id, spec.robot, spec.user_sig)
        await self.access.verify_ticket(
            spec.sdk_app_id, spec.robot, spec.room_type, spec.room_id, spec.private_map_key
        )
        if not app.recording_enabled:
            raise FeatureOff("Recording is switched off for this application.")
        if spec.mode == MIXED:
            raise OptionNotSupported("Mixed recording is not supported.")
        async with self.db.write() as conn:
            running = await conn.scalar(
                sa.select(sa.func.count()).where(
                    tasks.c.sdk_app_id == spec.sdk_app_id, tasks.c.status != "exited"
                )
            )
            if (running or 0) >= self.max_tasks:
                raise TooManyTasks("The application runs as many recordings as it may.")
            task_id = new_task_id()
            await conn.execute(
                tasks.insert().values(
                    task_id=task_id,
                    sdk_app_id=spec.sdk_app_id,
                    kind="recording",
                    room_type=spec.room_type,
                    room_id=spec.room_id,
                    robot_user_id=spec.robot,
                    spec={"mode": spec.mode},
                    created_ms=self.clock.now_ms(),
                )
            )
            await conn.run_sync(replay.remember, task_id=task_id)
        self.specs.append(spec)
        return task_id

    async def describe(self, sdk_app_id: int, task_id: str) -> TaskView:
        return TaskView(task_id, STATUS[await self._status(sdk_app_id, task_id)], self.files)

    def describe_held(self, sdk_app_id: int, task_id: str) -> TaskView | None:
        return None  # all is in the database

    async def modify(self, sdk_app_id: int, task_id: str, lists: SubscribeLists) -> str:
        if await self._status(sdk_app_id, task_id) == "exited":
            raise TaskExited("The recorder has left.")
        async with self.db.write() as conn:
            await conn.execute(
                tasks.update()
                .where(tasks.c.task_id == task_id)
                .values(subscription={"audio_allow": list(lists.audio_allow)})
            )
            await conn.run_sync(replay.remember, task_id=task_id)
        return task_id

    async def stop(self, sdk_app_id: int, task_id: str) -> str:
        await self._status(sdk_app_id, task_id)
        async with self.db.write() as conn:
            await conn.execute(tasks.update().where(tasks.c.task_id == task_id).values(status="exited"))
            await conn.run_sync(replay.remember, task_id=task_id)
        return task_id

    async def _status(self, sdk_app_id: int, task_id: str) -> str:
        async with self.db.read() as conn:
            status = await conn.scalar(
                sa.select(tasks.c.status).where(tasks.c.task_id == task_id, tasks.c.sdk_app_id == sdk_app_id)
            )
        if status is None:
            raise TaskNotFound("There is no such task.")
        return str(status)

    async def count(self) -> int:
        async with self.db.read() as conn:
            return int(await conn.scalar(sa.select(sa.func.count()).select_from(tasks)) or 0)
