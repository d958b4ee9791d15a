"""The one source of time of the server: injected everywhere, so that tests own it.

Two readings that must never be mixed: wall time (`now_ms`, what callbacks and files show; it may jump)
and monotonic time (`monotonic_ns`, the same clock as the media core's; leases, timers and media).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, final

T = TypeVar("T")

NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Reads and waits for time."""

    def now_ms(self) -> int:
        """Wall time in Unix milliseconds."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of monotonic time; a value of 0 or less only yields."""
        ...


@final
class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    monotonic_ns = staticmethod(time.monotonic_ns)  # as it is: a request reads it seven times

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0))


@final
class ManualClock:
    """A clock that moves only when told to; the full twin of SystemClock for tests.

    Work that goes through a thread or a socket (a database, a receiver) is not finished by yielding to
    the event loop. So a test never guesses: it waits with `sleepers` until the code under test sleeps
    on this clock, and then moves it.
    """

    def __init__(self, now_ms: int = 1_700_000_000_000, monotonic_ns: int = 1_000 * NS_PER_S) -> None:
        self._wall_ns = now_ms * 1_000_000
        self._mono_ns = monotonic_ns
        self._order = itertools.count()
        self._heap: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waiters: set[asyncio.Event] = set()

    def now_ms(self) -> int:
        return self._wall_ns // 1_000_000

    def monotonic_ns(self) -> int:
        return self._mono_ns

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wake_ns = self._mono_ns + round(seconds * NS_PER_S)
        heapq.heappush(self._heap, (wake_ns, next(self._order), wake))
        self.poke()
        await wake

    def shift_wall(self, ms: int) -> None:
        """Move wall time alone, as an operator or NTP does."""
        self._wall_ns += ms * 1_000_000

    def sleeping(self) -> int:
        """How many sleeps are waiting now."""
        self._forget_cancelled()
        return len(self._heap)

    async def sleepers(self, count: int = 1) -> None:
        """Wait (in real time) until at least `count` sleeps wait on this clock."""
        await self.until(lambda: self.sleeping() >= count)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready()` holds; it is asked at every new sleep and at every `poke`."""
        again = asyncio.Event()
        self._waiters.add(again)
        try:
            while not ready():
                await again.wait()
                again.clear()
        finally:
            self._waiters.discard(again)

    def poke(self) -> None:
        """Make those who wait in `until` ask again."""
        for again in self._waiters:
            again.set()

    def next_wake_s(self) -> float | None:
        """Seconds until the earliest sleep ends; None when nobody sleeps."""
        self._forget_cancelled()
        return (self._heap[0][0] - self._mono_ns) / NS_PER_S if self._heap else None

    async def advance(self, seconds: float) -> None:
        """Move both readings forward, waking sleeps in their order, each at its own instant.

        Between two wake-ups the event loop runs, so that pure coroutine code may sleep again inside
        the span.
        """
        target = self._mono_ns + round(seconds * NS_PER_S)
        await self._run_loop()
        while True:
            self._forget_cancelled()
            if not self._heap or self._heap[0][0] > target:
                break
            wake_ns, _, wake = heapq.heappop(self._heap)
            self._move_to(wake_ns)
            wake.set_result(None)
            await self._run_loop()
        self._move_to(target)
        await self._run_loop()

    async def advance_to_next(self) -> float:
        """Wait for a sleep, move to the earliest end of one, and return the seconds moved."""
        await self.sleepers()
        step = self.next_wake_s()
        assert step is not None  # sleepers() returned
        await self.advance(step)
        return step

    def _move_to(self, mono_ns: int) -> None:
        step = max(mono_ns - self._mono_ns, 0)
        self._mono_ns += step
        self._wall_ns += step

    def _forget_cancelled(self) -> None:
        while self._heap and self._heap[0][2].done():
            heapq.heappop(self._heap)
        if any(entry[2].done() for entry in self._heap):
            self._heap = [entry for entry in self._heap if not entry[2].done()]
            heapq.heapify(self._heap)

    @staticmethod
    async def _run_loop() -> None:
        for _ in range(20):  # enough turns for a chain of tasks to reach its next sleep
            await asyncio.sleep(0)


async def within(clock: Clock, seconds: float, work: Awaitable[T]) -> T:
    """Await `work` for at most `seconds` of the given clock.

    Raises TimeoutError when the time is over; `work` is then cancelled and has ended.
    """
    task = asyncio.ensure_future(work)
    timer: asyncio.Future[None] | None = None
    try:
        await asyncio.sleep(0)  # what ends in its first step needs no timer
        if task.done():
            return task.result()
        timer = asyncio.ensure_future(clock.sleep(seconds))
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise TimeoutError(f"not finished in {seconds} s")
    finally:
        pending = [future for future in (task, timer) if future is not None and not future.done()]
        for future in pending:
            future.cancel()
        if pending:
            await asyncio.gather(*pending, return_exceptions=True)


async def sleep_unless(clock: Clock, seconds: float | None, event: asyncio.Event) -> None:
    """Sleep so long on the given clock (None: without end), but no longer than until the event is set."""
    waits: list[asyncio.Future[object]] = [asyncio.ensure_future(event.wait())]
    if seconds is not None:
        waits.append(asyncio.ensure_future(clock.sleep(seconds)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
