"""The manual clock keeps the promises that tests lean on."""

from __future__ import annotations

import asyncio

import pytest

from roomtape.clock import ManualClock, SystemClock, within


async def test_sleeps_end_in_order_each_at_its_own_instant() -> None:
    clock = ManualClock()
    began_ns = clock.monotonic_ns()
    ended: list[tuple[str, float]] = []

    async def sleep(name: str, *spans_s: float) -> None:
        for span_s in spans_s:
            await clock.sleep(span_s)
            ended.append((name, (clock.monotonic_ns() - began_ns) / 1e9))

    tasks = [asyncio.create_task(sleep("b", 2)), asyncio.create_task(sleep("a", 1, 0.5, 3))]
    await clock.advance(10)
    await asyncio.gather(*tasks)
    assert ended == [("a", 1), ("a", 1.5), ("b", 2), ("a", 4.5)]
    assert clock.monotonic_ns() - began_ns == 10_000_000_000


async def test_wall_time_goes_with_it_and_can_be_shifted_alone() -> None:
    clock = ManualClock(now_ms=1000)
    await clock.advance(1.5)
    assert clock.now_ms() == 2500
    mono_ns = clock.monotonic_ns()
    clock.shift_wall(-2000)
    assert (clock.now_ms(), clock.monotonic_ns()) == (500, mono_ns)


async def test_a_cancelled_sleep_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(5))
    await clock.sleepers(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.sleeping() == 0
    assert clock.next_wake_s() is None


async def test_advance_to_next_waits_for_a_sleeper() -> None:
    clock = ManualClock()
    moved = asyncio.create_task(clock.advance_to_next())
    await clock.sleep(7)
    assert await moved == 7


@pytest.mark.parametrize("seconds", [0, -1])
async def test_no_time_is_only_a_yield(seconds: float) -> None:
    await ManualClock().sleep(seconds)
    await SystemClock().sleep(seconds)


async def test_within_returns_raises_and_times_out() -> None:
    clock = ManualClock()

    async def value() -> int:
        return 7

    async def failure() -> int:
        raise KeyError("x")

    assert await within(clock, 1, value()) == 7
    with pytest.raises(KeyError):
        await within(clock, 1, failure())
    cancelled = asyncio.Event()

    async def stuck() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    waiting = asyncio.create_task(within(clock, 5, stuck()))
    await clock.sleepers(1)
    await clock.advance(5)
    with pytest.raises(TimeoutError):
        await waiting
    assert cancelled.is_set()


async def test_within_cancelled_from_outside_ends_its_work() -> None:
    clock = ManualClock()
    ended = asyncio.Event()

    async def stuck() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    waiting = asyncio.create_task(within(clock, 5, stuck()))
    await clock.sleepers(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
    assert clock.sleeping() == 0


def test_the_system_clock_reads_the_machines_clocks() -> None:
    clock = SystemClock()
    first, second = clock.monotonic_ns(), clock.monotonic_ns()
    assert second >= first
    assert clock.now_ms() > 1_700_000_000_000
