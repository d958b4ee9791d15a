"""The wall clock is set while recordings run (F-9): only what is shown as a time of day moves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roomtape.clock import ManualClock
from roomtape.control.messages import Assign, Stop, StoppedCommitted
from roomtape.rooms.model import Session
from roomtape.state.database import Database
from roomtape.state.schema import uploads
from tests.support.stage import PATIENCE_S, ScriptedWorker, Stage, stage

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
STEPS = [-HOUR_MS, -5 * MINUTE_MS, 5 * MINUTE_MS, HOUR_MS]

pytestmark = pytest.mark.parametrize("step_ms", STEPS)


async def recording(server: Stage) -> tuple[ScriptedWorker, Assign]:
    """A task whose room has an anchor: nobody waits but for what the test is about."""
    worker = ScriptedWorker(server.workers)
    server.rooms.enter(server.room(), "amy", Session("main", "whip", handle=1))
    await server.recording.create(server.spec())
    return worker, await worker.take()


async def test_f9_a_recording_ends_and_is_gone_after_the_same_time(server: Stage, step_ms: int) -> None:
    worker, assign = await recording(server)
    worker.piece(assign, 0)
    await server.event(304)
    server.clock.shift_wall(step_ms)
    await server.recording.stop(server.sdk_app_id, assign.task_id)
    assert (await worker.told(Stop)).at_ns == server.clock.monotonic_ns()
    worker.piece(assign, 1)
    worker.stopped(assign)
    await worker.told(StoppedCommitted)
    began_ns = server.clock.monotonic_ns()
    server.clock.shift_wall(-2 * step_ms)
    await server.recording.settled()  # a thread stores: the clock must not run away from it
    await server.event(305, advancing=True, status=0)
    await server.gone(assign.task_id)
    assert 60 <= (server.clock.monotonic_ns() - began_ns) / 1e9 < 75


async def test_f9_a_playlist_goes_on_growing_every_ten_seconds(server: Stage, step_ms: int) -> None:
    worker, assign = await recording(server)
    worker.piece(assign, 0)
    await server.event(304)
    server.clock.shift_wall(step_ms)
    began_ns = server.clock.monotonic_ns()
    piece = worker.piece(assign, 1)
    await server.recording.settled()
    name = next(n for n in server.stored() if n.endswith(".m3u8"))
    async with asyncio.timeout(PATIENCE_S):
        while piece.name.encode() not in server.stored()[name]:
            if server.clock.sleeping():
                await server.clock.advance(1)
            await server.count(uploads)  # time for others: the upload is a thread's
    assert (server.clock.monotonic_ns() - began_ns) / 1e9 <= 15


async def test_f9_a_failed_upload_is_tried_again_as_soon_as_without(
    db: Database, clock: ManualClock, tmp_path: Path, step_ms: int
) -> None:
    async with stage(db, clock, tmp_path, max_bytes=1) as server:
        worker, assign = await recording(server)
        piece = worker.piece(assign, 0)
        await server.recording.settled()
        for _ in range(3):
            await clock.advance_to_next()
        clock.shift_wall(step_ms)
        server.buckets.by_name["recordings"].store.max_bytes = 0
        began_ns = clock.monotonic_ns()
        await server.event(304, advancing=True)
        assert piece.name in server.stored()
        assert (clock.monotonic_ns() - began_ns) / 1e9 <= 24


async def test_f9_a_store_that_fails_is_told_after_ten_minutes_whatever_the_clock_is_set_to(
    db: Database, clock: ManualClock, tmp_path: Path, step_ms: int
) -> None:
    async with stage(db, clock, tmp_path, max_bytes=1) as server:
        worker, assign = await recording(server)
        began_ns = clock.monotonic_ns()
        worker.piece(assign, 0)
        await server.recording.settled()
        for _ in range(3):
            await clock.advance_to_next()
        clock.shift_wall(step_ms)
        await server.event(308, advancing=True)
        assert 600 <= (clock.monotonic_ns() - began_ns) / 1e9 < 600 + 301


async def test_f9_pieces_name_their_times_by_the_clock_of_the_beginning(server: Stage, step_ms: int) -> None:
    worker, assign = await recording(server)
    first = worker.piece(assign, 0)
    server.clock.shift_wall(step_ms)
    worker.die()
    successor = ScriptedWorker(server.workers, index=1)
    again = await successor.take()
    assert (again.plan.clock_wall_ms, again.plan.clock_mono_ns) == (
        assign.plan.clock_wall_ms, assign.plan.clock_mono_ns,
    )  # fmt: skip
    assert successor.piece(again, 1).start_ms - first.start_ms == 10_000


async def test_f9_idle_time_is_real_time(server: Stage, step_ms: int) -> None:
    worker = ScriptedWorker(server.workers)
    await server.recording.create(server.spec(max_idle_s=30))
    assign = await worker.take(flowing=False)
    await server.clock.advance(20)
    server.clock.shift_wall(step_ms)
    await server.clock.advance(9)
    await server.recording.settled()
    assert worker.waiting(Stop) == []
    await server.clock.advance(2)
    assert (await worker.told(Stop)).task_id == assign.task_id
