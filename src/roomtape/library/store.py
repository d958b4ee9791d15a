"""Where the library's bytes lie: a directory, one folder per task, objects by their names."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

from roomtape.storage.spool import fitting
from roomtape.storage.stores import LocalStore


class LibraryStore(LocalStore):
    """The object store of the library; keys are `<task ID>/<name>`, and a name may be of any length."""

    __slots__ = ()

    def _path(self, key: str) -> Path:
        folder, _, name = key.rpartition("/")
        return LocalStore._path(self, f"{folder}/{fitting(name)}" if folder else key)

    def path(self, key: str) -> Path:
        """Where the object of that key lies. Raises StoreError when it is no key."""
        return self._path(key)

    def playlist_of(self, key: str) -> list[str]:
        """The lines of a stored playlist; none when it is not there."""
        path = self._path(key)
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []

    def measure(self) -> tuple[int, int]:
        """Bytes that lie in it, and bytes free on its disk. Reads the directory: for a thread."""
        used = sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())
        where = self.root
        while not where.exists():
            where = where.parent
        return used, shutil.disk_usage(where).free

    async def clear(self, task_id: str, keep: set[str]) -> int:
        """Delete a task's objects but those of these names; returns how many. Raises OSError, StoreError."""
        kept = {self._path(f"{task_id}/{name}").name for name in keep}
        names = await asyncio.to_thread(self._names, task_id)
        gone = [name for name in names if name not in kept]
        for name in gone:
            await self.delete(f"{task_id}/{name}")
        await asyncio.to_thread(self.drop_folder, task_id)
        return len(gone)

    def _names(self, task_id: str) -> list[str]:
        folder = self._path(task_id)
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def drop_folder(self, task_id: str) -> None:
        """Remove a task's folder if nothing is left in it."""
        folder = self._path(task_id)
        with suppress(FileNotFoundError):
            if not any(folder.iterdir()):
                folder.rmdir()


def segments(lines: list[str]) -> list[str]:
    """The names a playlist lists."""
    return [line for line in lines if line and not line.startswith("#")]
