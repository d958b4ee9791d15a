"""The beginning of the schedule in real time; the whole minute is an acceptance test."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from roomtape.callbacks.dispatcher import CallbackSettings, Dispatcher
from roomtape.callbacks.poster import HttpPoster
from roomtape.clock import SystemClock
from roomtape.fetching.guard import Guard
from roomtape.state.database import Database
from tests.integration.callbacks.test_http import Receiver, answer, receiving
from tests.support.callbacks import KEY, make_app, room_event, sealer
from tests.support.receiver import CallbackReceiver, Received

LATE_S = 0.5  # a busy machine


@pytest.fixture
async def dispatcher(db: Database) -> AsyncIterator[Dispatcher]:
    db.clock = clock = SystemClock()
    poster = HttpPoster(clock, Guard(allow_loopback=True).connector())
    made = Dispatcher(db, clock, poster, sealer(), CallbackSettings(60))
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await poster.close()


async def _starts(db: Database, receiver: Receiver, count: int) -> list[float]:
    """Seconds of each attempt's arrival after the first one's."""
    times: list[float] = []
    inner = receiver._handle
    full = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(time.monotonic())
        if len(times) >= count:
            full.set()
        await inner(reader, writer)

    receiver._handle = handle
    await make_app(db, room_url=receiver.url)
    await room_event(db, "alice")
    await full.wait()
    return [at - times[0] for at in times]


async def test_a_refused_event_is_sent_again_at_once(db: Database, dispatcher: Dispatcher) -> None:
    async with receiving(answer("500 No")) as receiver:
        starts = await _starts(db, receiver, 2)
    assert starts == pytest.approx([0, 0], abs=LATE_S)
    bodies = {request.partition(b"\r\n\r\n")[2] for request in receiver.requests}
    assert len(bodies) == 1


async def test_g_10_a_first_attempt_comes_within_a_second_and_is_signed(
    db: Database, dispatcher: Dispatcher
) -> None:
    arrived: list[tuple[Received, float]] = []
    receiver = CallbackReceiver(lambda received: arrived.append((received, time.monotonic())) or 200)  # type: ignore[func-returns-value]
    try:
        await make_app(db, room_url=receiver.url)
        emitted: list[float] = []
        for number in range(20):
            emitted.append(time.monotonic())
            await room_event(db, str(number))
        await dispatcher.drained()
    finally:
        receiver.close()
    delays = [at - began for (_, at), began in zip(arrived, emitted, strict=True)]
    assert max(delays) < 1
    assert [json.loads(received.raw)["EventInfo"]["UserId"] for received, _ in arrived] == [
        str(number) for number in range(20)
    ]
    assert all(received.signed_with(KEY.reveal()) for received, _ in arrived)
