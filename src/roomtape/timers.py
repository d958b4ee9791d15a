"""Named deadlines on the injected clock: setting one again moves it, cancelling a gone one is no error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

import structlog

from roomtape.clock import Clock

log = structlog.get_logger(__name__)


class Timers:
    """Deadlines by key. The action of one is a quick plain function, called on the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    def set(self, key: Hashable, seconds: float, action: Callable[[], object]) -> None:
        """Call `action` in so many seconds, unless the key is set again or cancelled before."""
        self.cancel(key)
        self._tasks[key] = asyncio.create_task(self._wait(key, seconds, action))

    def cancel(self, key: Hashable) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._tasks

    def close(self) -> None:
        """Cancel all of them."""
        for key in list(self._tasks):
            self.cancel(key)

    async def _wait(self, key: Hashable, seconds: float, action: Callable[[], object]) -> None:
        await self._clock.sleep(seconds)
        if self._tasks.get(key) is asyncio.current_task():
            del self._tasks[key]
            try:
                action()
            except Exception:
                log.exception("timer_broke", key=str(key))
