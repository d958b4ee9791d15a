"""F-16: the stored answer of a mutating request is one commit with what the request did."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from roomtape.clock import ManualClock
from roomtape.state import replay
from roomtape.state.database import Database
from roomtape.state.replay import KEEP_MS, Replay, Twins, recall, remember
from roomtape.state.schema import replays


async def _act(db: Database, key: str, **result: object) -> None:
    token = replay.current.set(Replay(key, "CreateCloudRecording", db.clock.now_ms(), 7))
    try:
        async with db.write() as conn:
            await conn.run_sync(remember, **result)
    finally:
        replay.current.reset(token)


async def test_a_success_is_recalled_for_ten_minutes(db: Database, clock: ManualClock) -> None:
    await _act(db, "k", task_id="T", size=3)
    assert await recall(db, "k") == {"task_id": "T", "size": 3}
    assert await recall(db, "another") is None
    await clock.advance(KEEP_MS / 1000 - 0.001)
    assert await recall(db, "k") is not None
    await clock.advance(0.001)
    assert await recall(db, "k") is None
    await _act(db, "k", task_id="later")  # an expired answer is no obstacle
    assert await recall(db, "k") == {"task_id": "later"}


async def test_a_failed_action_leaves_no_answer(db: Database) -> None:
    async def fail() -> None:
        async with db.write() as conn:
            token = replay.current.set(Replay("k", "A", db.clock.now_ms()))
            await conn.run_sync(remember, task_id="T")
            replay.current.reset(token)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await recall(db, "k") is None


async def test_outside_a_request_nothing_is_stored(db: Database) -> None:
    async with db.write() as conn:
        await conn.run_sync(remember, task_id="T")
    async with db.read() as conn:
        assert await conn.scalar(sa.select(sa.func.count()).select_from(replays)) == 0


async def test_expired_answers_are_pruned(db: Database, clock: ManualClock) -> None:
    await _act(db, "old")
    await clock.advance(300)
    await _act(db, "new")
    await clock.advance(300)
    async with db.write() as conn:
        await conn.run_sync(replay.prune, clock.now_ms())
    async with db.read() as conn:
        assert list(await conn.scalars(sa.select(replays.c.key))) == ["new"]


async def test_a_hundred_concurrent_twins_act_once(db: Database) -> None:
    twins, done = Twins(), 0

    async def request() -> dict[str, object] | None:
        nonlocal done
        async with twins.turn("k"):
            found = await recall(db, "k")
            if found is None:
                done += 1
                await _act(db, "k", number=done)
            return found or await recall(db, "k")

    answers = await asyncio.gather(*(request() for _ in range(100)))
    assert done == 1
    assert answers == [{"number": 1}] * 100
    assert twins._running == {}
