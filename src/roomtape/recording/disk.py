"""What happens as the spool's disk fills: say so, admit nothing new, let the youngest tasks wait.

No task is ended by a full disk. At the third level the younger half of those that write is told to close
its pieces, so that they can be uploaded and leave, and to write nothing more. If space shrinks to half of
that, the younger half of the rest follows, and all of them at a quarter: what remains is for the database
and the logs. They go on by themselves once the second level is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from roomtape.clock import Clock
from roomtape.recording.lifecycle import Lifecycle
from roomtape.recording.task import Task
from roomtape.storage.spool import DiskLevels

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class DiskRules:
    """Free space below the smaller of percent and GB reaches a level; the reserve is asked for by Create."""

    warn: tuple[float, float] = (15.0, 20.0)
    refuse: tuple[float, float] = (8.0, 10.0)
    pause: tuple[float, float] = (3.0, 2.0)
    task_reserve_mb: int = 128


class DiskGuard:
    """`look` decides; `run` looks each second. `measure` reads the disk."""

    def __init__(
        self, clock: Clock, life: Lifecycle, measure: Callable[[], DiskLevels], rules: DiskRules
    ) -> None:
        self.measure = measure
        self._clock = clock
        self._life = life
        self._rules = rules
        self._level = "enough"
        self._began_bytes = 0  # free space when pausing began
        self._next_bytes: int | None = None  # more tasks wait when free space has shrunk to this

    @property
    def level(self) -> str:
        """Which level was reached when it was last looked: enough, warn, refuse or pause."""
        return self._level

    def admits(self) -> bool:
        """Whether one more recording may begin."""
        levels = self.measure()
        return not levels.refuse and levels.free_bytes >= self._rules.task_reserve_mb * MB

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Measure once and act."""
        try:
            levels = self.measure()
        except OSError as error:
            if self._level != "unknown":
                log.error("disk_not_measured", reason=str(error))
            self._level = "unknown"
            return
        self._say(levels)
        if levels.pause:
            self._hold_back(levels.free_bytes)
        elif not levels.refuse:
            self._next_bytes = None
            for task in self._life.tasks.values():
                if task.paused:
                    self._life.resume(task)

    def _say(self, levels: DiskLevels) -> None:
        level = (
            "pause" if levels.pause else "refuse" if levels.refuse else "warn" if levels.warn else "enough"
        )
        if level != self._level:
            say = log.info if level == "enough" else log.warning
            say("disk_level", level=level, free_bytes=levels.free_bytes)
        self._level = level

    def _hold_back(self, free_bytes: int) -> None:
        if self._next_bytes is None:
            self._began_bytes = free_bytes
        elif free_bytes > self._next_bytes:
            return
        self._next_bytes = free_bytes // 2
        writing = sorted(self._writing(), key=lambda task: task.created_ns)
        keep = (len(writing) + 1) // 2 if free_bytes > self._began_bytes // 4 else 0
        for task in writing[keep:]:
            self._life.pause(task, free_bytes)

    def _writing(self) -> list[Task]:
        return [
            task
            for task in self._life.tasks.values()
            if task.running and task.stop is None and not task.paused
        ]
