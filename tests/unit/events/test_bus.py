"""The in-process bus: subjects as NATS has them, and a slow reader that harms nobody."""

from __future__ import annotations

import asyncio

import pytest

from roomtape.events.bus import QUEUE_LIMIT, InProcessBus, matches


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a", False),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a.b", True),
    ],
)
def test_subjects(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) is expected


async def test_every_subscriber_gets_what_fits_in_order() -> None:
    bus = InProcessBus()
    first, second = bus.subscribe("room.>"), bus.subscribe("room.*.closed")
    for subject in ("room.1.opened", "room.1.closed", "task.1"):
        bus.publish(subject, subject.encode())
    first.close()
    second.close()
    assert [message.subject async for message in first] == ["room.1.opened", "room.1.closed"]
    assert [message.payload async for message in second] == [b"room.1.closed"]


async def test_a_waiting_reader_is_woken() -> None:
    bus = InProcessBus()
    subscription = bus.subscribe("x")
    reader = asyncio.ensure_future(anext(aiter(subscription)))
    await asyncio.sleep(0)
    bus.publish("x", b"1")
    assert (await reader).payload == b"1"


async def test_a_slow_reader_loses_the_oldest_and_knows_how_many() -> None:
    bus = InProcessBus()
    slow = bus.subscribe("x")
    for number in range(QUEUE_LIMIT + 5):
        bus.publish("x", str(number).encode())
    slow.close()
    got = [int(message.payload) async for message in slow]
    assert got == list(range(5, QUEUE_LIMIT + 5))
    assert slow.dropped == 5


async def test_a_closed_subscription_gets_nothing_more() -> None:
    bus = InProcessBus()
    subscription = bus.subscribe("x")
    subscription.close()
    bus.publish("x")
    assert [message async for message in subscription] == []
