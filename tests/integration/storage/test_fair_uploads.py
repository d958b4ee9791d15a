"""A store that hangs holds its own recordings up, and nobody else's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roomtape.clock import ManualClock
from roomtape.control.messages import PieceCommitted
from roomtape.recording.service import UploadRules
from roomtape.recording.spec import CloudStorageSpec
from roomtape.secret import Secret
from roomtape.state.database import Database
from tests.integration.storage.test_upload_faults import LONG_S, SERVER_FAULT, Job
from tests.support.faulty_s3 import FaultyS3, Slow
from tests.support.s3 import ACCESS_KEY, SECRET_KEY
from tests.support.stage import PATIENCE_S, ScriptedWorker, Stage, stage

PLACES = 8
PIECES = 6  # of each hanging task
FOREVER = Slow(600)


async def hanging_task(server: Stage, worker: ScriptedWorker, faulty: FaultyS3, bucket: str, robot: str) -> Job:
    place = CloudStorageSpec(1, "us-east-1", bucket, Secret(ACCESS_KEY), Secret(SECRET_KEY), (), faulty.endpoint)
    await server.recording.create(server.spec(storage=place, robot=robot, max_idle_s=86_400))
    job = Job(server, worker, await worker.take(), faulty, bucket)
    for number in range(PIECES):
        worker.piece(job.assign, number)
        await worker.told(PieceCommitted)
    return job


@pytest.mark.parametrize("hanging", [1, PLACES - 1])
async def test_a_store_that_never_answers_holds_nobody_else_up(
    db: Database, clock: ManualClock, tmp_path: Path, faulty: FaultyS3, bucket: str, hanging: int
) -> None:
    async with stage(db, clock, tmp_path, upload=UploadRules(concurrency=PLACES)) as server:
        worker = ScriptedWorker(server.workers)
        faulty.fault = lambda _request: FOREVER
        for number in range(hanging):
            await hanging_task(server, worker, faulty, bucket, f"hanging{number}")
        healthy = await server.recording.create(server.spec(robot="healthy"))
        assign = await worker.take()
        for number in range(20):
            worker.piece(assign, number, user="bob")
        await server.recording.settled()
        await server.recording.stop(server.sdk_app_id, healthy)
        worker.stopped(assign)
        await server.event(305, task_id=healthy, status=0)
        assert server.recording._uploads.in_flight == hanging
        faulty.ended.set()


async def test_failing_stores_get_a_quarter_of_the_places_and_all_again_when_they_work(
    db: Database, clock: ManualClock, tmp_path: Path, faulty: FaultyS3, bucket: str
) -> None:
    async with stage(db, clock, tmp_path, upload=UploadRules(concurrency=PLACES)) as server:
        worker = ScriptedWorker(server.workers)
        faulty.fault = lambda _request: SERVER_FAULT
        jobs = [await hanging_task(server, worker, faulty, bucket, f"failing{n}") for n in range(3)]
        began_ms = clock.now_ms()
        while clock.now_ms() < began_ms + 20_000:
            server._committed.clear()
            await jobs[0].onward()
        faulty.fault = lambda _request: FOREVER
        known = len(faulty.requests)
        await clock.advance(LONG_S)  # all are due
        async with asyncio.timeout(PATIENCE_S):
            while len(faulty.requests) < known + PLACES // 4:
                await asyncio.sleep(0)
        await server.recording.detail(jobs[0].task_id)  # the queue had its turns at the database
        assert server.recording._uploads.in_flight == len(faulty.requests) - known == PLACES // 4
        faulty.fault = lambda _request: None
        faulty.ended.set()
        for job in jobs:
            await server.recording.stop(server.sdk_app_id, job.task_id)
            worker.stopped(job.assign)
            await job.event(305)
        assert len(faulty.behind.objects(bucket)) == len(jobs) * (PIECES + 1)
