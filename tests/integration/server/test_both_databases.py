"""Rooms and recordings keep their record in SQLite and in PostgreSQL alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roomtape.clock import ManualClock
from roomtape.control.messages import Finalise, PieceCommitted, Stop
from roomtape.recording import spec as formats
from roomtape.recording.spec import VodSpec
from roomtape.rooms import record
from roomtape.rooms.model import Session
from roomtape.secret import Secret
from roomtape.state.database import Database
from roomtape.state.schema import tasks
from tests.support.databases import database_url, postgres_cluster
from tests.support.stage import ScriptedWorker, stage

__all__ = ["database_url", "postgres_cluster"]


@pytest.fixture
async def db(database_url: str, clock: ManualClock) -> AsyncIterator[Database]:
    database = await Database.open(database_url, clock)
    await database.migrate()
    yield database
    await database.close()


async def test_a_room_and_its_recording_across_a_restart(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with stage(db, clock, tmp_path) as before:
        before.rooms.enter(before.room(), "amy", Session("main", "whip", 1))
        before.rooms.enter(before.room(), "eve", Session("play", "whep", 2, watches="amy"))
        task_id = await before.recording.create(before.spec(output_format=formats.HLS_MP4))
        worker = ScriptedWorker(before.workers)
        first = await worker.take()
        for type_ in ("audio", "video"):
            worker.piece(first, 0, type=type_)
            await worker.told(PieceCommitted)
        await before.rooms_ledger.settled()
        app = (before.sdk_app_id, before.app_key)
    async with stage(db, clock, tmp_path, boot_id="boot-2", app=app) as after:
        assert await record.take_back(db, after.rooms, clock, "node-1") == 1
        assert after.rooms.anchors(after.room()) == ["amy"]
        worker = ScriptedWorker(after.workers)
        second = await worker.take()
        assert (second.epoch, second.new_stretch, len(second.committed)) == (2, True, 2)
        worker.piece(second, 1)
        await worker.told(PieceCommitted)
        await after.recording.stop(after.sdk_app_id, task_id)
        await worker.told(Stop)
        worker.stopped(second)
        job = await worker.told(Finalise)
        assert sorted((piece.type, piece.piece_no) for piece in job.pieces) == [
            ("audio", 0),
            ("audio", 1),
            ("video", 0),
        ]
        worker.finish(job)
        await after.event(310, status=0)
        await after.gone(task_id)
        assert await after.count(tasks, tasks.c.status == "gone", tasks.c.final_event == "310:0") == 1
        detail = await after.types(task_id)
        assert sorted(detail) == [301, 302, 303, 304, 304, 305, 307, 307, 310]


async def test_an_automatic_recording_across_a_restart(
    db: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with stage(db, clock, tmp_path) as before:
        await before.recording.set_automatic(before.spec(storage=VodSpec(media_type=1), user_sig=Secret("")))
        before.rooms.enter(before.room(), "amy", Session("main", "whip", 1))
        worker = ScriptedWorker(before.workers)
        before.rooms.track_started(1, before.room(), "amy", "audio", "opus", clock.monotonic_ns())
        task_id = (await worker.take()).task_id
        await before.rooms_ledger.settled()
        app = (before.sdk_app_id, before.app_key)
    async with stage(db, clock, tmp_path, boot_id="boot-2", app=app) as after:
        await record.take_back(db, after.rooms, clock, "node-1")
        worker = ScriptedWorker(after.workers)
        assign = await worker.take()
        assert assign.task_id == task_id
        worker.piece(assign, 0)
        await worker.told(PieceCommitted)
        await after.recording.stop(after.sdk_app_id, task_id)
        await worker.told(Stop)
        worker.stopped(assign)
        await after.event(312, status=0)
        after.rooms.track_started(2, after.room(), "amy", "audio", "opus", clock.monotonic_ns())
        await after.recording.create(after.spec(room_id="marker"))
        assert (await worker.take()).plan.room.endswith("/marker")  # stopped by hand: not begun again
        assert await after.count(tasks, tasks.c.automatic) == 1
        assert await after.types(task_id) == [301, 302, 311, 312]
