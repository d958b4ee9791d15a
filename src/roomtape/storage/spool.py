"""The working files of tasks: where they lie, and when they go.

One directory per task: journals, `pieces/`, `files/` (MP4, AAC), `index/` (playlists). Workers write the
first three, the server writes `index/`. Names that start with `.tmp-` are unfinished.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

BROKEN = "broken"  # of a task: journals of pieces that could not be made; for an operator, who deletes it
LONGEST_NAME = 230  # bytes; file systems take 255, and unfinished files have something before theirs


def fitting(name: str) -> str:
    """A name as the file system can have it: one that is too long is told by a digest of the whole."""
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{hashlib.sha256(name.encode()).hexdigest()[:32]}{Path(name).suffix}"


@dataclass(frozen=True, slots=True)
class DiskLevels:
    """Free space of the spool's file system against the three levels of `disk.*`."""

    free_bytes: int
    warn: bool
    refuse: bool
    pause: bool


@dataclass(frozen=True, slots=True)
class Spool:
    """The spool of this node."""

    root: Path

    def task_dir(self, task_id: str) -> Path:
        return self.root / task_id

    def make(self, task_id: str) -> Path:
        """The directories of a new task."""
        base = self.task_dir(task_id)
        for part in ("pieces", "files", "index"):
            (base / part).mkdir(parents=True, exist_ok=True)
        return base

    def piece(self, task_id: str, name: str) -> Path:
        return self.task_dir(task_id) / "pieces" / name

    def file(self, task_id: str, name: str) -> Path:
        return self.task_dir(task_id) / "files" / name

    def index(self, task_id: str, name: str) -> Path:
        return self.task_dir(task_id) / "index" / fitting(name)

    def write_index(self, task_id: str, name: str, text: str) -> Path:
        """Write a playlist so that a reader sees the old one or the new one, never a part."""
        path = self.index(task_id, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".tmp-{path.name}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
        return path

    def drop_task(self, task_id: str) -> None:
        """Remove everything of a task that is over, but what was set aside as broken."""
        base = self.task_dir(task_id)
        if not (base / BROKEN).is_dir():
            shutil.rmtree(base, ignore_errors=True)
            return
        for entry in base.iterdir():
            if entry.is_dir() and entry.name != BROKEN:
                shutil.rmtree(entry, ignore_errors=True)
            elif not entry.is_dir():
                entry.unlink(missing_ok=True)

    def tasks(self) -> list[str]:
        """All tasks that still have a directory."""
        if not self.root.is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())

    def levels(
        self,
        *,
        warn: tuple[float, float] = (0.0, 0.0),
        refuse: tuple[float, float] = (0.0, 0.0),
        pause: tuple[float, float] = (0.0, 0.0),
    ) -> DiskLevels:
        """Measure the disk; each limit is (percent free, GB free), the smaller of the two counts."""
        usage = shutil.disk_usage(self.root)

        def below(limit: tuple[float, float]) -> bool:
            return usage.free < min(usage.total * limit[0] / 100, limit[1] * 1e9)

        return DiskLevels(usage.free, below(warn), below(refuse), below(pause))
